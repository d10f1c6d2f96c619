"""Overview: the whole system at a glance: what needs attention, how it goes, and each queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from litestar import Response, get
from msgspec import Struct

from taskflow import wording
from taskflow.application.findings import Finding
from taskflow.application.overview import Overview
from taskflow.broker.samples import RESOLUTIONS, STEP, Series
from taskflow.dashboard.charts import Chart, line_chart, seconds
from taskflow.dashboard.charts import Series as Drawn
from taskflow.dashboard.request import PageRequest

FRESH = 1.0
"""For how many seconds what was read for one viewer is shown to others."""
FINDINGS_FRESH = 5.0
SPANS = tuple(RESOLUTIONS)


class Totals(Struct, frozen=True, kw_only=True):
    """All queues together. What samples tell is None while there are none."""

    pending: int
    active: int
    slots: int
    throughput: float | None
    failure_rate: float | None
    oldest: timedelta
    """The age of the oldest pending task."""


@get("/", opt={"limited": True})
async def show(request: PageRequest) -> Response[bytes]:
    """Show the system; `span` says over which time the charts are."""
    span = request.asked("span", SPANS[0])
    series = await charted(request, None, span)
    overview = await request.glance("overview", FRESH, request.service.overview)
    findings = await request.glance("findings", FINDINGS_FRESH, lambda: request.service.findings(overview))
    return request.page(
        "overview.html",
        overview=overview,
        totals=totals(overview),
        findings=findings,
        marks=marks(findings),
        charts=charts(series),
        span=series.span,
        spans=SPANS,
    )


async def charted(request: PageRequest, queue: str | None, span: str) -> Series:
    """Return how a queue, or all together, stood over a span; the newest sample is as old as samples become.

    Raises:
        QueueNotFound: There is no such queue.
        InvalidOption: There are no samples of such a span.

    """
    return await request.glance(("samples", queue, span), STEP / 2, lambda: request.service.samples(queue, span))


def totals(overview: Overview) -> Totals:
    """Return how all queues stand together."""
    queues = overview.queues
    rates = [queue.throughput for queue in queues if queue.throughput is not None]
    processed = sum(queue.processed_lately or 0 for queue in queues)
    return Totals(
        pending=sum(queue.info.pending for queue in queues),
        active=sum(queue.info.active for queue in queues),
        slots=sum(server.concurrency for server in overview.servers),
        throughput=sum(rates) if rates else None,
        failure_rate=sum(queue.failed_lately or 0 for queue in queues) / processed if processed else None,
        oldest=max((queue.info.latency for queue in queues), default=timedelta(0)),
    )


def marks(findings: Sequence[Finding]) -> Mapping[str, str]:
    """Return the queues that something is wrong with, each with the worst that is said of it: `error` or `warning`."""
    found: dict[str, str] = {}
    for finding in findings:  # the worst stand first
        if finding.target == "queue" and finding.severity != "info":
            found.setdefault(finding.subject, finding.severity)
    return found


def charts(series: Series) -> Mapping[str, Chart]:
    """Return the four charts of a series, by the ids of their elements."""
    moments = [series.start + series.step * position for position in range(len(series.processed))]
    return {
        "chart-done": line_chart("Attempts a second", moments, [Drawn("ended", "series-ok", series.processed)]),
        "chart-failed": line_chart("Failures a second", moments, [Drawn("failed", "series-bad", series.failed)]),
        "chart-backlog": line_chart(
            "Backlog",
            moments,
            [Drawn("pending", "series-violet", series.pending), Drawn("active", "series-teal", series.active)],
        ),
        "chart-latency": line_chart(
            "Age of the oldest pending task",
            moments,
            [Drawn("oldest", "series-warn", series.latency)],
            _seconds,
            axis=seconds,
        ),
    }


def _seconds(value: float) -> str:
    return wording.span(timedelta(seconds=value)) if value else "0"


HANDLERS = [show]
