"""Changes: the queues, and the tasks of one, as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from litestar import Router, get
from litestar.params import QueryParameter

from taskflow.api.errors import TooManyStreams
from taskflow.api.events import EventStream, event
from taskflow.api.request import ApiRequest
from taskflow.api.schemas import changes as schemas
from taskflow.application.changes import Changes
from taskflow.errors import InvalidOption, InvalidQueue, QueueNotFound


@get(
    "/events",
    media_type="text/event-stream",
    opt={"errors": (InvalidOption, InvalidQueue, QueueNotFound, TooManyStreams), "limited": True},
    operation_id="followQueues",
    summary="Follow the queues",
)
async def stream(
    request: ApiRequest,
    *,
    queue: Annotated[str | None, QueryParameter(description="Only this queue; without it, all.")] = None,
    tasks: Annotated[
        bool, QueryParameter(description="Send also `task` events: which tasks of the queue have changed their state.")
    ] = False,
) -> EventStream:
    """Send a `queues` event with all queues, then at most one a second with those that have changed, without an end.

    The events have no ids: a viewer that comes back is told how all is now. `task` events come of comparing samples, once a
    second, of the newest 100 tasks of each state (of waiting ones, the next 100): what happens between two is not seen.
    """
    request.check_place()
    changes = await request.service.changes.follow(queue or None, tasks=tasks)
    return EventStream(request, _encoded(changes))


async def _encoded(found: AsyncGenerator[Changes, None]) -> AsyncGenerator[bytes, None]:
    first = True
    async with aclosing(found):
        async for changes in found:
            yield _as_events(changes, first=first)
            first = False


def _as_events(changes: Changes, *, first: bool) -> bytes:
    events = [event("task", schemas.task_event(moved)) for moved in changes.tasks]
    if first or changes.queues or changes.removed:
        events.insert(0, event("queues", schemas.queues_event(changes)))
    return b"".join(events)


ROUTER = Router("/", route_handlers=[stream], tags=["queues"])
