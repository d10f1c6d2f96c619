"""Queue: its tasks by state, found and listed."""

from __future__ import annotations

from litestar import Response, get
from msgspec import Struct, structs

from taskflow.api.tasks import read_state
from taskflow.application.criteria import Criteria
from taskflow.application.queries import ListTasks, ScanTasks
from taskflow.dashboard import filters, values
from taskflow.dashboard.offers import offers
from taskflow.dashboard.pages.queues import removal_question
from taskflow.dashboard.request import PageRequest
from taskflow.errors import InvalidOption
from taskflow.task import GroupInfo, QueueInfo, TaskInfo, TaskState

SIZE = 50
"""How many tasks are on a page."""
STATES = (
    TaskState.PENDING,
    TaskState.ACTIVE,
    TaskState.SCHEDULED,
    TaskState.RETRY,
    TaskState.ARCHIVED,
    TaskState.COMPLETED,
    TaskState.AGGREGATING,
)
"""In the order of the tabs."""
FRESH = 1.0
_MEMORY_FRESH = 60.0


class Listing(Struct, frozen=True, kw_only=True):
    """Tasks as the page lists them.

    Attributes:
        tasks: The tasks.
        total: How many there are in all; None: nobody has counted.
        page: Which page it is, from 0 on.
        begun: Whether there are tasks before these, where there are no numbers of pages.
        cursor: With what to go on there; None: these are the last.

    """

    tasks: list[TaskInfo]
    total: int | None = None
    page: int = 0
    begun: bool = False
    cursor: str | None = None


@get("/queue", opt={"limited": True})
async def show(request: PageRequest) -> Response[bytes]:
    """Show the tasks of a queue in a state, those that fit if something is looked for."""
    queue, state = request.asked("name"), read_state(request.asked("state", TaskState.PENDING))
    group = request.asked("group", "") or None
    info = await queue_info(request, queue)
    problem: InvalidOption | None = None
    criteria = Criteria()
    try:
        criteria = filters.read_criteria(request.frame)
    except InvalidOption as error:
        problem = error
    groups = await _groups(request, queue) if state is TaskState.AGGREGATING and group is None else None
    listing = None
    if groups is None and problem is None and not (request.frame.live and criteria.choosy):
        listing = await _listing(request, queue, state, group, criteria)
    return request.page(
        "queue.html",
        status=422 if problem else 200,
        info=info,
        memory=await memory(request, queue),
        removal=removal_question(info),
        state=state,
        states=STATES,
        group=group,
        groups=groups,
        given=filters.given(request.frame),
        parts=filters.parts_for(request.frame),
        choosy=criteria.choosy,
        problem=problem,
        listing=listing,
        size=SIZE,
        offers=offers(state),
        preview=values.preview,
    )


async def queue_info(request: PageRequest, queue: str) -> QueueInfo:
    """Return how a queue stands: for the live parts, as it was read for one of those who look at it.

    Raises:
        QueueNotFound: There is no such queue.

    """

    async def read() -> QueueInfo:
        (info,) = await request.service.queue_stats([queue])
        return info

    return await request.live_glance(("queue", queue), FRESH, read)


async def memory(request: PageRequest, queue: str) -> int:
    """Return about how much memory a queue takes."""
    return await request.glance(("memory", queue), _MEMORY_FRESH, lambda: request.service.memory(queue))


async def _groups(request: PageRequest, queue: str) -> list[GroupInfo]:
    return await request.live_glance(("groups", queue), FRESH, lambda: request.service.groups(queue))


async def _listing(
    request: PageRequest, queue: str, state: TaskState, group: str | None, criteria: Criteria
) -> Listing:
    """Return the tasks of a page. Pages of what was searched for, and of groups, have no numbers: each names the next."""
    if criteria.choosy or state is TaskState.AGGREGATING:
        cursor = request.asked("cursor", "")
        wanted = structs.asdict(criteria)
        scan = ScanTasks(queue=queue, state=state, group=group, size=SIZE, cursor=cursor, brief=True, **wanted)
        chunk = await request.service.scan.find(scan)
        return Listing(tasks=chunk.tasks, begun=bool(cursor), cursor=chunk.next_cursor)
    number = request.asked_number("page")
    query = ListTasks(queue=queue, state=state, page=number, size=SIZE, brief=True)

    async def read() -> Listing:
        found = await request.service.list(query)
        return Listing(tasks=found.tasks, total=found.total, page=number)

    return await request.live_glance(("tasks", queue, state, number), FRESH, read)


HANDLERS = [show]
