"""Queues: a list of all, and what can be done to one as a whole: pause it, resume it, remove it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from litestar import Response, get, post

from taskflow.application.commands import RemoveQueue
from taskflow.application.overview import QueueOverview
from taskflow.dashboard.messages import Undo
from taskflow.dashboard.pages.overview import attention, marks, see
from taskflow.dashboard.question import FINAL, Question
from taskflow.dashboard.request import PageRequest
from taskflow.task import QueueInfo
from taskflow.wording import many

_STEERING = {"scope": "admin", "limited": True}
_ORDERS: Mapping[str, Callable[[QueueOverview], Any]] = {
    "most pending": lambda queue: queue.info.pending,
    "oldest waits": lambda queue: queue.info.latency,
    "most tasks": lambda queue: queue.info.size,
    "most archived": lambda queue: queue.info.archived,
    "most failing": lambda queue: queue.failure_rate or 0,
}
"""The largest stands first."""


@get("/queues", opt={"limited": True})
async def show(request: PageRequest) -> Response[bytes]:
    """Show all queues, or those whose name holds `q`, in the order that `by` says."""
    text, by = request.asked("q", ""), request.asked("by", "")
    overview = (await see(request)).overview
    findings = await attention(request, overview)
    found = [queue for queue in overview.queues if text in queue.info.queue]
    if by in _ORDERS:
        found.sort(key=_ORDERS[by], reverse=True)
    return request.page(
        "queues.html",
        queues=found,
        tasks=sum(queue.info.size for queue in found),
        marks=marks(findings),
        text=text,
        by=by,
        orders=list(_ORDERS),
    )


@post("/queue/pause", opt=_STEERING)
async def pause(request: PageRequest) -> Response[bytes]:
    """Stop workers from taking tasks of a queue."""
    queue = request.asked("name")
    await request.service.pause(queue)
    request.audit("queue paused", queue=queue)
    text = f"The queue {queue} is paused: what runs goes on, nothing more is taken."
    return request.done(text, undo=Undo("Resume it", "/queue/resume", {"name": queue}))


@post("/queue/resume", opt=_STEERING)
async def resume(request: PageRequest) -> Response[bytes]:
    """Let workers take tasks of a queue again."""
    queue = request.asked("name")
    await request.service.resume(queue)
    request.audit("queue resumed", queue=queue)
    return request.done(f"The queue {queue} goes on.", undo=Undo("Pause it", "/queue/pause", {"name": queue}))


@post("/queue/remove", opt=_STEERING)
async def remove(request: PageRequest) -> Response[bytes]:
    """Remove a queue with all its tasks, once it is confirmed."""
    queue = request.asked("name")
    if not request.confirmed:
        (info,) = await request.service.queue_stats([queue])
        return request.ask(removal_question(info))
    count = await request.service.remove_queue(RemoveQueue(queue, force=True))
    request.audit("queue deleted", queue=queue, tasks=count, force=True)
    return request.done(f"The queue {queue} is removed, with {many(count, 'task')}.", to="/queues")


def removal_question(info: QueueInfo) -> Question:
    """Return what is asked before a queue is removed."""
    return Question(text=f"Remove the queue {info.queue} with {many(info.size, 'task')}?", yes="Remove", detail=FINAL)


HANDLERS = [show, pause, resume, remove]
