"""Queues: their state and history, pause and resume, and their removal."""

from __future__ import annotations

from typing import Annotated

from litestar import Router, delete, get, post
from litestar.params import QueryParameter

from taskflow.api.answer import Answer
from taskflow.api.parameters import QueueName
from taskflow.api.request import ApiRequest
from taskflow.api.schemas import queues as schemas
from taskflow.application.commands import RemoveQueue
from taskflow.broker.inspector import MAX_HISTORY_DAYS
from taskflow.errors import InvalidOption, InvalidQueue, QueueActive, QueueNotEmpty, QueueNotFound
from taskflow.task import check_queue

_LOOK_UP = (InvalidQueue, QueueNotFound)


@get("/stats", opt={"errors": _LOOK_UP}, operation_id="queueStats", summary="Read the state of queues")
async def stats(
    request: ApiRequest,
    queue: Annotated[str | None, QueryParameter(description="Only this queue.")] = None,
) -> Answer[list[schemas.QueueBody]]:
    """Return the state of all queues, or of one."""
    infos = await request.service.queue_stats([queue] if queue else None)
    return Answer([schemas.queue(info) for info in infos])


@get("/", operation_id="listQueues", summary="List queues")
async def list_queues(request: ApiRequest) -> Answer[list[schemas.QueueBody]]:
    """Return all queues with their state."""
    return Answer([schemas.queue(info) for info in await request.service.queue_stats()])


@get("/{queue:str}", opt={"errors": _LOOK_UP}, operation_id="getQueue", summary="Read a queue")
async def read(request: ApiRequest, queue: QueueName) -> Answer[schemas.QueueDetails]:
    """Return the state of a queue, and about how much memory it takes."""
    (info,) = await request.service.queue_stats([queue])
    return Answer(schemas.details(info, await request.service.memory(queue)))


@get(
    "/{queue:str}/history",
    opt={"errors": (InvalidOption, *_LOOK_UP)},
    operation_id="getQueueHistory",
    summary="Read what a queue did by day",
)
async def history(
    request: ApiRequest,
    queue: QueueName,
    days: Annotated[
        int,
        QueryParameter(
            description="How many days, 1 to 3,660.", schema_extra={"minimum": 1, "maximum": MAX_HISTORY_DAYS}
        ),
    ] = 30,
) -> Answer[list[schemas.DayBody]]:
    """Return what a queue did on each of the last days (UTC), today first. The counters are kept for 90 days."""
    return Answer([schemas.day(stats) for stats in await request.service.history(queue, days)])


@get("/{queue:str}/groups", opt={"errors": _LOOK_UP}, operation_id="listGroups", summary="List a queue's groups")
async def groups(request: ApiRequest, queue: QueueName) -> Answer[list[schemas.GroupBody]]:
    """Return the groups of a queue with their sizes, by name."""
    return Answer([schemas.group(info) for info in await request.service.groups(queue)])


@delete(
    "/{queue:str}",
    status_code=200,
    opt={"errors": (InvalidOption, *_LOOK_UP, QueueNotEmpty, QueueActive), "scope": "admin"},
    operation_id="deleteQueue",
    summary="Remove a queue",
)
async def remove(
    request: ApiRequest,
    queue: QueueName,
    *,
    force: Annotated[
        bool, QueryParameter(description="Remove it although tasks are in it, and those with it.")
    ] = False,
) -> Answer[schemas.QueueDeleted]:
    """Remove a queue with all its keys, but not while tasks of it run.

    It is empty at once; a large one takes some time to be deleted. That goes on if the client does not wait for it.
    """
    check_queue(queue)
    count = await request.service.remove_queue(RemoveQueue(queue, force))
    request.audit("queue deleted", queue=queue, tasks=count, force=force)
    return Answer(schemas.QueueDeleted("queue deleted", count))


@post(
    "/{queue:str}/pause",
    status_code=200,
    opt={"errors": _LOOK_UP, "scope": "admin"},
    operation_id="pauseQueue",
    summary="Pause a queue",
)
async def pause(request: ApiRequest, queue: QueueName) -> Answer[schemas.QueueBody]:
    """Stop workers from taking tasks of a queue; what runs goes on."""
    await request.service.pause(queue)
    request.audit("queue paused", queue=queue)
    return await _state(request, queue)


@post(
    "/{queue:str}/resume",
    status_code=200,
    opt={"errors": _LOOK_UP, "scope": "admin"},
    operation_id="resumeQueue",
    summary="Resume a queue",
)
async def resume(request: ApiRequest, queue: QueueName) -> Answer[schemas.QueueBody]:
    """Let workers take tasks of a queue again."""
    await request.service.resume(queue)
    request.audit("queue resumed", queue=queue)
    return await _state(request, queue)


async def _state(request: ApiRequest, queue: str) -> Answer[schemas.QueueBody]:
    (info,) = await request.service.queue_stats([queue])
    return Answer(schemas.queue(info))


ROUTER = Router(
    "/queues",
    route_handlers=[stats, list_queues, read, history, groups, remove, pause, resume],
    tags=["queues"],
    opt={"limited": True},
)
