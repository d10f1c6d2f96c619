"""Progress: how far tasks have come, read once or followed as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated

from litestar import Response, Router, get
from litestar.params import HeaderParameter, QueryParameter

from taskflow.api.answer import Answer
from taskflow.api.errors import TooManyStreams, body_of
from taskflow.api.events import EventStream, event
from taskflow.api.parameters import Queue, TaskId
from taskflow.api.request import ApiRequest
from taskflow.api.schemas import progress as schemas
from taskflow.application.progress import ENDED, ProgressEvent, TaskProgress
from taskflow.errors import InvalidOption, InvalidQueue, InvalidTaskId, ProgressNotFound, TaskFlowError, TaskNotFound

MAX_TASKS = 10
"""How many tasks one stream follows at most."""
_WAITING = 100

Events = AsyncGenerator[ProgressEvent, None]
LastEventId = Annotated[
    str | None, HeaderParameter(name="Last-Event-ID", description="Where a viewer that comes back had stopped.")
]


@get(
    "/tasks/{task_id:str}/progress",
    opt={"errors": (InvalidTaskId, InvalidQueue, ProgressNotFound, TaskNotFound)},
    operation_id="getProgress",
    summary="Read a task's progress",
)
async def latest(request: ApiRequest, task_id: TaskId, queue: Queue = None) -> Answer[schemas.ProgressEntryBody]:
    """Return the newest entry of a task's progress."""
    return Answer(schemas.progress_entry(await request.service.progress.latest(task_id, queue or None)))


@get(
    "/tasks/{task_id:str}/progress/history",
    opt={"errors": (InvalidOption, InvalidTaskId, TaskNotFound)},
    operation_id="getProgressHistory",
    summary="Read all progress of a task",
)
async def history(
    request: ApiRequest,
    task_id: TaskId,
    start_id: Annotated[
        str, QueryParameter(description="Begin with the entry of this stream_id; `-`: the oldest.")
    ] = "-",
) -> Answer[schemas.ProgressHistory]:
    """Return what is kept of a task's progress, oldest first; none of a task that nobody knows.

    A key that is limited to some queues is answered 404 unless the task is there, in one of them.
    """
    start = None if start_id in {"", "-"} else start_id
    found = await request.service.progress.history(task_id, start=start)
    entries = [schemas.progress_entry(entry) for entry in found]
    return Answer(schemas.ProgressHistory(task_id, len(entries), entries))


@get(
    "/tasks/{task_id:str}/progress/info",
    opt={"errors": (InvalidTaskId, TaskNotFound)},
    operation_id="getProgressInfo",
    summary="Read how much progress there is",
)
async def info(request: ApiRequest, task_id: TaskId) -> Answer[schemas.ProgressInfoBody]:
    """Return how much progress a task has published; none of a task that nobody knows.

    A key that is limited to some queues is answered 404 unless the task is there, in one of them.
    """
    found = await request.service.progress.info(task_id)
    body = schemas.ProgressInfoBody(
        task_id=task_id,
        has_progress=found.length > 0,
        length=found.length,
        first_entry=found.first.stream_id if found.first else "",
        last_entry=found.last.stream_id if found.last else "",
    )
    return Answer(body)


@get(
    "/tasks/{task_id:str}/progress/stream",
    media_type="text/event-stream",
    opt={"errors": (InvalidOption, InvalidTaskId, InvalidQueue, TaskNotFound, TooManyStreams), "done": True},
    operation_id="followProgress",
    summary="Follow a task's progress",
)
async def stream(
    request: ApiRequest,
    *,
    task_id: TaskId,
    queue: Queue = None,
    with_history: Annotated[
        bool, QueryParameter(name="history", description="Begin with all that was published, as `history` events.")
    ] = False,
    start_id: Annotated[
        str | None,
        QueryParameter(
            description="Begin behind the entry with this stream_id; `0`: with the oldest; `$`: with what is new."
        ),
    ] = None,
    last_event_id: LastEventId = None,
) -> EventStream | Response[bytes]:
    """Send `progress` events as they come, the last one too, then `done` (or `error`), and end.

    Comments keep the connection alive.
    A viewer that comes back although it has had the last entry is told 204: a browser stops coming back then.
    """
    request.check_place()
    progress = request.service.progress
    events = await progress.follow(
        task_id, queue=queue or None, after=last_event_id or start_id or None, history=with_history
    )
    if last_event_id and await progress.has_told_all(task_id, last_event_id):
        return Response(b"", status_code=204)
    return EventStream(request, _encoded(events))


@get(
    "/progress/stream",
    media_type="text/event-stream",
    opt={"errors": (InvalidOption, InvalidTaskId, TaskNotFound, TooManyStreams), "done": True},
    operation_id="followManyProgress",
    summary="Follow the progress of several tasks",
)
async def stream_many(
    request: ApiRequest,
    task_ids: Annotated[str, QueryParameter(description="At most 10 task ids, with commas between.")],
    last_event_id: LastEventId = None,
) -> EventStream | Response[bytes]:
    """Send the events of several tasks, each with its `task_id`; ends when each of them is done.

    The id of an event names the place in each task's progress, so a viewer that comes back misses nothing of any.
    """
    names = list(dict.fromkeys(name for name in task_ids.split(",") if name))
    if not 1 <= len(names) <= MAX_TASKS:
        raise InvalidOption("task_ids", f"must be 1 to {MAX_TASKS} task ids with commas between, not {len(names)}")
    places = dict(zip(names, _read_places(last_event_id, len(names)), strict=True))
    request.check_place()
    found = [await _follow_behind(request.service.progress, name, at) for name, at in places.items()]
    followed = [events for events in found if events is not None]
    if not followed:
        return Response(b"", status_code=204)
    return EventStream(request, _encoded_many(followed, places))


def _read_places(event_id: str | None, count: int) -> list[str]:
    """Return the places that the id of an event of several tasks names; '' where nothing has been told."""
    places = event_id.split(",") if event_id else [""] * count
    if len(places) != count:
        raise InvalidOption("Last-Event-ID", "must be the id of an event of this very stream")
    return places


async def _follow_behind(progress: TaskProgress, task_id: str, at: str) -> Events | None:
    """Return the events of a task behind a place; None if there is nothing to tell any more."""
    try:
        events = await progress.follow(task_id, after=at or None)
    except TaskNotFound:
        if not at:
            raise
        return None if at == ENDED else _gone(task_id)
    return None if at and await progress.has_told_all(task_id, at) else events


async def _gone(task_id: str) -> Events:
    yield ProgressEvent(kind="error", task_id=task_id)


async def _encoded(events: Events) -> AsyncGenerator[bytes, None]:
    async with aclosing(events):
        async for each in events:
            yield _as_events(each)


async def _encoded_many(followed: Sequence[Events], places: dict[str, str]) -> AsyncGenerator[bytes, None]:
    async with aclosing(_merged(followed)) as events:
        async for each in events:
            places[each.task_id] = _place_of(each)
            yield _as_tagged_events(each, ",".join(places.values()))


def _as_events(each: ProgressEvent) -> bytes:
    if each.entry is None:
        return event("error", schemas.error_event(body_of(TaskNotFound(each.task_id))), event_id=ENDED)
    return _with_end(each, schemas.progress_event(each.entry), _place_of(each))


def _as_tagged_events(each: ProgressEvent, event_id: str) -> bytes:
    if each.entry is None:
        error = schemas.error_event(body_of(TaskNotFound(each.task_id)), each.task_id)
        return event("error", error, event_id=event_id)
    return _with_end(each, schemas.tagged_event(each.entry), event_id)


def _with_end(each: ProgressEvent, data: object, event_id: str) -> bytes:
    """Return an event; the last entry is told as progress, too, without its id: who has missed `done` comes back for both."""
    if each.kind != "done":
        return event(each.kind, data, event_id=event_id)
    return event("progress", data) + event("done", data, event_id=event_id)


def _place_of(each: ProgressEvent) -> str:
    """Return the place in a task's progress that an event stands for."""
    return (each.entry.stream_id if each.entry else "") or ENDED


async def _merged(followed: Sequence[Events]) -> Events:
    """Yield the events of several tasks as they come."""
    waiting: asyncio.Queue[ProgressEvent | TaskFlowError | None] = asyncio.Queue(_WAITING)
    forwarders = [asyncio.create_task(_forward(events, waiting)) for events in followed]
    try:
        still_open = len(forwarders)
        while still_open:
            each = await waiting.get()
            if isinstance(each, TaskFlowError):
                raise each
            if each is None:
                still_open -= 1
            else:
                yield each
    finally:
        for forwarder in forwarders:
            forwarder.cancel()
        await asyncio.gather(*forwarders, return_exceptions=True)


async def _forward(events: Events, waiting: asyncio.Queue[ProgressEvent | TaskFlowError | None]) -> None:
    try:
        async with aclosing(events):
            async for each in events:
                await waiting.put(each)
    except TaskFlowError as error:
        await waiting.put(error)
    else:
        await waiting.put(None)


ROUTER = Router(
    "/", route_handlers=[latest, history, info, stream, stream_many], tags=["progress"], opt={"limited": True}
)
