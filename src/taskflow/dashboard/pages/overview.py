"""Overview: the whole system at a glance: what needs attention, how it goes, and each queue."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from datetime import timedelta

from litestar import Response, get
from markupsafe import Markup
from msgspec import Struct, field

from taskflow import wording
from taskflow.application.findings import Finding
from taskflow.application.overview import Overview
from taskflow.broker.sample_lists import RESOLUTIONS
from taskflow.broker.samples import STEP, Series
from taskflow.dashboard.charts import Chart, counts, line_chart, seconds
from taskflow.dashboard.charts import Series as Drawn
from taskflow.dashboard.rendering import render_part
from taskflow.dashboard.request import PageRequest

FRESH = 1.0
"""For how many seconds what was read for one viewer is shown to others."""
_FINDINGS_FRESH = 5.0
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


class Seen(Struct, frozen=True):
    """The system as it was read for all who look, and its table of queues, made once for all to whom it looks the same."""

    overview: Overview
    tables: dict[Hashable, Markup] = field(default_factory=dict)

    def table(self, request: PageRequest, marks: Mapping[str, str]) -> Markup:
        """Return the table of queues."""
        frame = request.frame
        same = (frame.root, frame.visitor.role, frame.visitor.limited, tuple(marks.items()))
        if same not in self.tables:
            self.tables[same] = render_part("parts/queues.html", "queue_table", frame, self.overview.queues, marks)
        return self.tables[same]


class Charted(Struct, frozen=True):
    """The charts of a span, as they are shown."""

    span: str
    cards: Markup


@get("/", opt={"limited": True})
async def show(request: PageRequest) -> Response[bytes]:
    """Show the system; `span` says over which time the charts are."""
    span = request.asked("span", SPANS[0])
    charts = await charted(request, None, span)
    seen = await see(request)
    overview = seen.overview
    findings = await attention(request, overview)
    return request.page(
        "overview.html",
        overview=overview,
        totals=totals(overview),
        findings=findings,
        queues=seen.table(request, marks(findings)),
        charts=charts.cards,
        span=charts.span,
        spans=SPANS,
    )


async def see(request: PageRequest) -> Seen:
    """Return the system as it stands now."""

    async def read() -> Seen:
        return Seen(await request.service.overview())

    return await request.glance("overview", FRESH, read)


async def attention(request: PageRequest, overview: Overview | None = None) -> Sequence[Finding]:
    """Return what needs attention; whoever has read the overview gives it, so that it is not read again."""
    return await request.glance("findings", _FINDINGS_FRESH, lambda: request.service.findings(overview))


async def charted(request: PageRequest, queue: str | None, span: str) -> Charted:
    """Return the charts of a queue, or of all together, over a span; the newest sample is as old as samples become.

    Raises:
        QueueNotFound: There is no such queue.
        InvalidOption: There are no samples of such a span.

    """

    async def read() -> Charted:
        series = await request.service.samples(queue, span)
        return Charted(series.span, render_part("parts/chart.html", "chart_cards", request.frame, charts(series)))

    return await request.glance(("charts", queue, span), STEP / 2, read)


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
            axis=counts,
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
