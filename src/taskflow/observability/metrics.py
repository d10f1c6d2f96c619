"""ApiMetrics: what Prometheus reads of the API server at /metrics."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from taskflow.task import QueueInfo, TaskState

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class ApiMetrics:
    """The metrics of one API server, in a registry of their own, so that several can live in one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self._requests = Counter("taskflow_http_requests", "HTTP requests", labels, registry=self._registry)
        self._seconds = Histogram(
            "taskflow_http_request_seconds",
            "Time to answer an HTTP request",
            ("method", "route"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._tasks = Gauge(
            "taskflow_queue_tasks", "Tasks in a queue by state", ("queue", "state"), registry=self._registry
        )
        self._latency = Gauge(
            "taskflow_queue_latency_seconds",
            "Age of a queue's oldest pending task",
            ("queue",),
            registry=self._registry,
        )
        self._paused = Gauge("taskflow_queue_paused", "1 while a queue is paused", ("queue",), registry=self._registry)
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered; `route` is the path's template, so that there are few of them."""
        key = (method, route, status)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = (self._requests.labels(*key), self._seconds.labels(method, route))
        found[0].inc()
        found[1].observe(seconds)

    def render(self, queues: Sequence[QueueInfo]) -> bytes:
        """Return all metrics as text, with the state of the queues now."""
        for gauge in (self._tasks, self._latency, self._paused):
            gauge.clear()
        for info in queues:
            for state in TaskState:
                self._tasks.labels(info.queue, state.value).set(getattr(info, state.value))
            self._latency.labels(info.queue).set(info.latency.total_seconds())
            self._paused.labels(info.queue).set(info.paused)
        return generate_latest(self._registry)
