"""History of a queue: how it went in the last hour, day and month, and what it did by day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from litestar import Response, get

from taskflow.dashboard.charts import Chart, Series, counts, line_chart
from taskflow.dashboard.pages.overview import SPANS, charted
from taskflow.dashboard.pages.queue import STATES, memory, queue_info
from taskflow.dashboard.pages.queues import removal_question
from taskflow.dashboard.request import PageRequest
from taskflow.errors import InvalidOption
from taskflow.task import DailyStats

DAYS = (30, 90)
"""Over how many days; the counters are kept for 90."""
_FRESH = 30.0


@get("/queue/history", opt={"limited": True})
async def show(request: PageRequest) -> Response[bytes]:
    """Show how a queue went; `span` and `days` say over which time."""
    queue, span = request.asked("name"), request.asked("span", SPANS[0])
    count = request.asked_number("days", DAYS[0])
    if count not in DAYS:
        raise InvalidOption("days", f"must be one of {', '.join(map(str, DAYS))}")
    info = await queue_info(request, queue)
    days = await request.glance(("history", queue, count), _FRESH, lambda: request.service.history(queue, count))
    charts = await charted(request, queue, span)
    return request.page(
        "queue_history.html",
        info=info,
        memory=await memory(request, queue),
        removal=removal_question(info),
        states=STATES,
        state=None,
        charts=charts.cards,
        span=charts.span,
        spans=SPANS,
        days=count,
        day_choices=DAYS,
        daily=daily_chart(days),
    )


def daily_chart(days: Sequence[DailyStats]) -> Chart:
    """Return the chart of what a queue did by day; `days` begin with today."""
    ascending = list(reversed(days))
    return line_chart(
        "Attempts a day",
        [datetime(each.day.year, each.day.month, each.day.day, tzinfo=UTC) for each in ascending],
        [
            Series("ended", "series-ok", [float(each.processed) for each in ascending]),
            Series("failed", "series-bad", [float(each.failed) for each in ascending]),
        ],
        axis=counts,
    )


HANDLERS = [show]
