"""What is done to tasks of a queue: to those that were selected, or to all that fit, in steps that each take a moment."""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec
from litestar import Response, post
from msgspec import structs

from taskflow.api.tasks import read_state
from taskflow.application.commands import SteerMatching, SteerSelection
from taskflow.application.criteria import Criteria
from taskflow.application.queries import MAX_PAGE_SIZE, ScanTasks, Selection
from taskflow.dashboard import filters
from taskflow.dashboard.messages import Undo
from taskflow.dashboard.offers import Offer, offer_of
from taskflow.dashboard.request import PageRequest
from taskflow.errors import InvalidOption
from taskflow.task import TaskState

MOST = 1000
"""How many tasks can be selected at once."""
STEP_SECONDS = 2.0
"""After which a step answers with how far it has come."""
COUNT_SECONDS = 5.0
"""For how long those that fit are counted before it is asked whether it is meant."""
_IDS = msgspec.json.Decoder(list[str])


# -- some -----------------------------------------------------------------------------------------------------------------


@post("/queue/tasks", opt={"limited": True})
async def some(request: PageRequest) -> Response[bytes]:
    """Do something to the tasks that were selected, if they still are in the state."""
    queue, offer = request.asked("name"), _offer(request)
    ids = _selected(request)
    if not ids:
        return request.done("Select tasks first: nothing was done.", failed=True)
    if not request.confirmed and (offer.grave or len(ids) > 1):
        return request.ask(offer.question(len(ids)))
    selection = Selection(queue=queue, state=offer.state, group=None, count=len(ids), ids=tuple(ids))
    count = await request.service.steer_selection(SteerSelection(offer.action, selection))
    request.audit(offer.event, queue=queue, state=offer.state.value, count=count, task_ids=ids)
    undo = _undo(offer, queue, ids) if count == len(ids) else None
    return request.done(offer.told(count, len(ids)), failed=not count, undo=undo)


def _selected(request: PageRequest) -> list[str]:
    """Return the ids of the tasks that are meant: the one whose own button was pressed, or those that are ticked."""
    if "only" in request.fields:
        return [request.fields["only"]]
    ids = list(dict.fromkeys(request.lists.get("id", [])))
    if "ids" in request.fields:
        try:
            ids = _IDS.decode(request.fields["ids"])
        except msgspec.DecodeError:
            raise InvalidOption("ids", "must be a JSON list of texts") from None
    if len(ids) > MOST:
        raise InvalidOption("id", f"select at most {MOST:,} tasks at once")
    return ids


def _undo(offer: Offer, queue: str, ids: list[str]) -> Undo | None:
    if offer.undo is None:
        return None
    action, state, label = offer.undo
    return Undo(
        label,
        "/queue/tasks",
        {"name": queue, "state": state.value, "action": action},
        {"ids": msgspec.json.encode(ids).decode(), "confirmed": "yes"},
    )


def _offer(request: PageRequest) -> Offer:
    return offer_of(request.asked("action"), read_state(request.asked("state")))


# -- all that fit ---------------------------------------------------------------------------------------------------------


@post("/queue/matching", opt={"scope": "admin", "limited": True})
async def matching(request: PageRequest) -> Response[bytes]:
    """Do something to all tasks of a state, or of a group, that fit; what takes longer goes on with the next step."""
    queue, offer = request.asked("name"), _offer(request)
    group = request.asked("group", "") or None
    criteria = filters.read_criteria(request.frame)
    if not request.confirmed:
        return await _ask(request, queue, offer, group, criteria)
    command = SteerMatching(
        action=offer.action,
        queue=queue,
        state=offer.state,
        group=group,
        cursor=request.fields.get("cursor", ""),
        **structs.asdict(criteria),
    )
    ends_at, closing = time.monotonic() + STEP_SECONDS, request.around.closing
    step = await request.service.scan.steer(command, lambda: time.monotonic() < ends_at and not closing.is_set())
    wanted = {name: value for name, value in filters.given(request.frame).items() if value}
    request.audit(offer.event, queue=queue, state=offer.state.value, count=step.count, group=group, **wanted)
    total, done = _number(request.fields, "total"), _number(request.fields, "done") + step.count
    if step.next_cursor is None or done >= total > 0:
        return request.done(offer.told(done), failed=not done)
    fields = {"done": str(done), "total": str(total), "cursor": step.next_cursor}
    return request.page(
        "steps.html",
        offer=offer,
        queue=queue,
        done=done,
        total=total,
        fields=fields,
        action=request.frame.same(),
        back=request.back or "/",
    )


async def _ask(
    request: PageRequest, queue: str, offer: Offer, group: str | None, criteria: Criteria
) -> Response[bytes]:
    """Ask whether it is meant, and say how many tasks it would be."""
    if criteria.choosy:
        count, complete = await _count(request, queue, offer.state, group, criteria)
    else:
        count, complete = await _size(request, queue, offer.state, group), True
    if not count and complete:
        return request.done("There is no such task: nothing was done.", failed=True)
    question = offer.question(count, fitting=criteria.choosy)
    if not complete:
        warning = f"So many were found in {COUNT_SECONDS:g} seconds; there may be more, and it is done to those too."
        question = structs.replace(question, detail=f"{warning} {question.detail}")
    return request.ask(question, more={"total": str(count if complete else 0)})


async def _size(request: PageRequest, queue: str, state: TaskState, group: str | None) -> int:
    if group is not None:
        return sum(each.size for each in await request.service.groups(queue) if each.name == group)
    (info,) = await request.service.queue_stats([queue])
    size: int = getattr(info, state)
    return size


async def _count(
    request: PageRequest, queue: str, state: TaskState, group: str | None, criteria: Criteria
) -> tuple[int, bool]:
    """Return how many tasks fit, as far as was looked, and whether all were looked at."""
    if state is TaskState.AGGREGATING and group is None:
        raise InvalidOption("group", "name the group whose tasks are looked for")
    ends_at, count, cursor = time.monotonic() + COUNT_SECONDS, 0, ""
    while True:
        wanted = structs.asdict(criteria)
        scan = ScanTasks(queue=queue, state=state, group=group, size=MAX_PAGE_SIZE, cursor=cursor, brief=True, **wanted)
        chunk = await request.service.scan.find(scan)
        count += len(chunk.tasks)
        if chunk.next_cursor is None:
            return count, True
        if time.monotonic() >= ends_at:
            return count, False
        cursor = chunk.next_cursor


def _number(fields: Mapping[str, str], name: str) -> int:
    text = fields.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0  # noqa: PLR2004 - more than there are


HANDLERS = [some, matching]
