"""What can be done to a queue as a whole: pause it, resume it, remove it."""

from __future__ import annotations

from litestar import Response, post

from taskflow.application.commands import RemoveQueue
from taskflow.dashboard.messages import Undo
from taskflow.dashboard.request import PageRequest
from taskflow.wording import many

_STEERING = {"scope": "admin", "limited": True}


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
        return request.ask(removal_question(queue, info.size), label="Remove", detail="This cannot be undone.")
    count = await request.service.remove_queue(RemoveQueue(queue, force=True))
    request.audit("queue deleted", queue=queue, tasks=count, force=True)
    return request.done(f"The queue {queue} is removed, with {many(count, 'task')}.", to="/")


def removal_question(queue: str, size: int) -> str:
    """Return what is asked before a queue is removed."""
    return f"Remove the queue {queue} with {many(size, 'task')}?"


HANDLERS = [pause, resume, remove]
