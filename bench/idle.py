"""idle: what many idle workers cost Redis, and whether they still pick up at once."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from typing import Any

from bench import processes, tasks
from bench.course import Course
from bench.figures import Line, Report, at_most, percentile
from taskflow.client import SyncClient

TITLE = "Idle: twenty idle workers on four queues, 200 tasks a second"
METHOD = (
    "Two processes with ten workers each; one task every 5 ms into a random queue. Redis's processor time is what it says itself (`INFO cpu`), as "
    "a share of one core, over the same seconds; pick-up is from before the enqueue to the first statement of the handler."
)
_QUEUES = ["critical", "high", "default", "low"]
_PROCESSES, _WORKERS = 2, 10
_RATE = 200
_SECONDS = 10.0
_REST = 2.0
_RUNS = 3


def measure(course: Course) -> Report:
    """Measure rest and load, some times."""
    with processes.server() as url:
        runs = [_run(url, course) for _ in course.rounds("many idle workers", _RUNS)]
    resting, loaded, waits = zip(*runs, strict=True)
    lines = [
        Line("Redis, no tasks", "%", list(resting)),
        Line(f"Redis, {_RATE} tasks a second", "%", list(loaded), at_most(15)),
        Line("pick-up p50", "ms", [percentile(run, 50) for run in waits]),
        Line("pick-up p99", "ms", [percentile(run, 99) for run in waits], at_most(20)),
    ]
    return Report("idle", TITLE, METHOD, lines)


def _run(url: str, course: Course) -> tuple[float, float, list[float]]:
    """Return Redis's share of a core (%) at rest and under load, and each task's wait (ms)."""
    tasks.empty(url)
    spec = {"url": url, "queues": _QUEUES, "workers": _WORKERS}
    with ExitStack() as stack, SyncClient(url) as client:
        redis = stack.enter_context(processes.admin(url))
        children = [stack.enter_context(processes.start_role("listener", spec)) for _ in range(_PROCESSES)]
        for child in children:
            child.read()
        time.sleep(course.seconds(_REST) / 2)
        started = _Meter(redis)
        time.sleep(course.seconds(_REST))
        resting = started.share()
        started = _Meter(redis)
        count = _send(client, course.seconds(_SECONDS))
        loaded = started.share()
        waits = _waits(children)
    if len(waits) != count:
        raise processes.ChildFailed(f"{len(waits)} of {count} tasks were picked up")
    return resting, loaded, waits


class _Meter:
    """Redis's processor time from now on."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self._at = time.perf_counter()
        self._used = self._processor_seconds()

    def share(self) -> float:
        """The share of one core since then, in %."""
        return 100 * (self._processor_seconds() - self._used) / (time.perf_counter() - self._at)

    def _processor_seconds(self) -> float:
        info = self._redis.info("cpu")
        return float(info["used_cpu_sys"]) + float(info["used_cpu_user"])


def _send(client: SyncClient, seconds: float) -> int:
    """Send tasks at a steady rate; return how many."""
    started = time.perf_counter()
    count = round(seconds * _RATE)
    for number in range(count):
        time.sleep(max(0.0, started + number / _RATE - time.perf_counter()))
        client.enqueue(tasks.NOOP, str(time.time_ns()).encode(), queue=random.choice(_QUEUES))
    time.sleep(max(0.0, started + seconds - time.perf_counter()))
    return count


def _waits(children: list[processes.Child]) -> list[float]:
    """Stop the workers, which handle what still waits; return each task's wait in ms."""
    time.sleep(0.2)
    for child in children:
        child.close_input()
    samples = [sample for child in children for sample in child.read()["samples"]]
    return [(started - sent) / 1e6 for _, sent, started in samples]
