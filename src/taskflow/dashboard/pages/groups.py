"""Groups: tasks that gather, to be aggregated into one."""

from __future__ import annotations

from litestar import Response, get

from taskflow.dashboard.offers import offers
from taskflow.dashboard.request import PageRequest
from taskflow.task import GroupInfo, TaskState

SIZE = 100
"""How many groups are on a page."""
_FRESH = 1.0


@get("/groups", opt={"limited": True})
async def show(request: PageRequest) -> Response[bytes]:
    """Show the groups of all queues, or of one (`queue`), with their sizes; those whose name holds `q`, if it is given."""
    queue, text = request.asked("queue", ""), request.asked("q", "")

    async def read() -> list[GroupInfo]:
        return await _groups(request, queue)

    found = await request.live_glance(("groups", queue), _FRESH, read)
    fitting = [group for group in found if text in group.name]
    number = request.asked_number("page")
    first = number * SIZE
    return request.page(
        "groups.html",
        groups=fitting[first : first + SIZE],
        total=len(fitting),
        tasks=sum(group.size for group in fitting),
        queue=queue,
        text=text,
        number=number,
        size=SIZE,
        offers=offers(TaskState.AGGREGATING),
    )


async def _groups(request: PageRequest, queue: str) -> list[GroupInfo]:
    if queue:
        return await request.service.groups(queue)
    found: list[GroupInfo] = []
    for info in await request.service.queue_stats():
        if info.groups:
            found += await request.service.groups(info.queue)
    return found


HANDLERS = [show]
