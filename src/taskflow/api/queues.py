"""Queues: their state, and pause and resume."""

from __future__ import annotations

from typing import Annotated

import structlog
from litestar import Router, get, post
from litestar.params import QueryParameter

from taskflow.api.answer import Answer
from taskflow.api.parameters import QueueName
from taskflow.api.request import ApiRequest
from taskflow.api.schemas import queues as schemas

_LOG = structlog.get_logger("taskflow.audit")


@get("/stats", operation_id="queueStats", summary="Read the state of queues")
async def stats(
    request: ApiRequest,
    queue: Annotated[str | None, QueryParameter(description="Only this queue.")] = None,
) -> Answer[list[schemas.QueueBody]]:
    """Return the state of all queues, or of one."""
    infos = await request.service.queue_stats(None if queue is None else [queue])
    return Answer([schemas.queue(info) for info in infos])


@get("/", operation_id="listQueues", summary="List queues")
async def list_queues(request: ApiRequest) -> Answer[list[schemas.QueueBody]]:
    """Return all queues with their state."""
    return Answer([schemas.queue(info) for info in await request.service.queue_stats()])


@get("/{queue:str}", operation_id="getQueue", summary="Read a queue")
async def read(request: ApiRequest, queue: QueueName) -> Answer[schemas.QueueBody]:
    """Return the state of a queue."""
    return await _state(request, queue)


@post("/{queue:str}/pause", status_code=200, operation_id="pauseQueue", summary="Pause a queue")
async def pause(request: ApiRequest, queue: QueueName) -> Answer[schemas.QueueBody]:
    """Stop workers from taking tasks of a queue; what runs goes on."""
    await request.service.pause(queue)
    _LOG.info("queue paused", queue=queue, request_id=request.id)
    return await _state(request, queue)


@post("/{queue:str}/resume", status_code=200, operation_id="resumeQueue", summary="Resume a queue")
async def resume(request: ApiRequest, queue: QueueName) -> Answer[schemas.QueueBody]:
    """Let workers take tasks of a queue again."""
    await request.service.resume(queue)
    _LOG.info("queue resumed", queue=queue, request_id=request.id)
    return await _state(request, queue)


async def _state(request: ApiRequest, queue: str) -> Answer[schemas.QueueBody]:
    (info,) = await request.service.queue_stats([queue])
    return Answer(schemas.queue(info))


ROUTER = Router("/queues", route_handlers=[stats, list_queues, read, pause, resume], tags=["queues"])
