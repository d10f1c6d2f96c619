"""Tasks: list, read, and steer one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Annotated, Any

from litestar import Router, delete, get, patch, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter
from msgspec import UNSET, structs

from taskflow.api import creation, links
from taskflow.api.answer import Answer, Tagged, etag, matches
from taskflow.api.bodies import read_body, read_edit, read_span
from taskflow.api.errors import PreconditionFailed
from taskflow.api.parameters import IfMatch, Queue, TaskId
from taskflow.api.request import ApiRequest
from taskflow.api.schemas import tasks as schemas
from taskflow.api.schemas.values import DURATION, Message
from taskflow.application.commands import ArchiveTask, CancelTask, DeleteTask, RunTask
from taskflow.application.queries import MAX_PAGE, MAX_PAGE_SIZE, GetTask, ListTasks, ScanTasks
from taskflow.errors import (
    InvalidOption,
    InvalidPayload,
    InvalidProcessAt,
    InvalidQueue,
    InvalidTaskId,
    InvalidTaskState,
    PayloadTooLarge,
    ProgressNotFound,
    QueueNotFound,
    TaskActive,
    TaskFinished,
    TaskNotFound,
    TaskNotScheduled,
    TaskPending,
)
from taskflow.task import TaskInfo, TaskState

MAX_WAIT = timedelta(seconds=60)
"""The longest a request may wait for a result."""
_STATE = TaskState.ACTIVE.value
_SIZE = 20
_LOOK_UP = (InvalidTaskId, InvalidQueue, TaskNotFound)


@get(
    "/",
    opt={
        "sends": {
            "X-Total-Count": "By pages: how many tasks there are.",
            "X-Next-Cursor": "By cursor: what to send as `cursor` next; missing at the end.",
            "Link": "Other pages (first, prev, next, last), or behind the cursor (next), relative to this URL.",
        },
        "errors": (InvalidOption, InvalidTaskState, InvalidQueue, QueueNotFound),
    },
    operation_id="listTasks",
    summary="List tasks",
)
async def list_tasks(
    request: ApiRequest,
    *,
    queue: Annotated[str | None, QueryParameter(description="Default: the setting queues.default.")] = None,
    status: Annotated[
        str, QueryParameter(description="The state; empty: active.", schema_extra={"enum": ["", *TaskState]})
    ] = _STATE,
    page: Annotated[
        int, QueryParameter(description="Counts from 0.", schema_extra={"minimum": 0, "maximum": MAX_PAGE})
    ] = 0,
    size: Annotated[
        int,
        QueryParameter(
            description="Tasks on a page, 1 to 1,000; 0 is 20.", schema_extra={"minimum": 0, "maximum": MAX_PAGE_SIZE}
        ),
    ] = _SIZE,
    task_type: Annotated[str | None, QueryParameter(name="type", description="Only tasks of this type.")] = None,
    text: Annotated[
        str | None, QueryParameter(name="q", description="Only tasks whose id, last error or payload holds this text.")
    ] = None,
    group: Annotated[str | None, QueryParameter(description="The group, for status=aggregating.")] = None,
    cursor: Annotated[
        str | None,
        QueryParameter(
            description="Instead of `page`: the X-Next-Cursor of the last answer; empty: from the beginning."
        ),
    ] = None,
) -> Answer[list[schemas.TaskSummary]]:
    """Return some of a queue's tasks in a state; the header Link leads to the next ones.

    By pages, X-Total-Count says how many there are; with `type` or `q`, of the first 10,000 tasks. With `cursor`, all can be
    gone through while the queue moves: each answer has looked at up to 10,000, may be short or even empty, and names the next
    cursor until there are no more.
    """
    queue, state, size = queue or None, read_state(status or _STATE), size or _SIZE
    if cursor is None:
        query = ListTasks(
            queue=queue, state=state, page=page, size=size, type=task_type, text=text or None, group=group, brief=True
        )
        found = await request.service.list(query)
        headers = {
            "X-Total-Count": str(found.total),
            **links.pages(request.scope["query_string"], page, size, found.total),
        }
        return Answer([schemas.summary(info) for info in found.tasks], headers=headers)
    if page:
        raise InvalidOption("page", "cannot be used with a cursor")
    scan = ScanTasks(
        queue=queue, state=state, cursor=cursor, size=size, type=task_type, text=text or None, group=group, brief=True
    )
    chunk = await request.service.scan.find(scan)
    return Answer(
        [schemas.summary(info) for info in chunk.tasks],
        headers=links.cursor(request.scope["query_string"], chunk.next_cursor),
    )


def read_state(text: str) -> TaskState:
    """Return the state of a name. Raises `InvalidTaskState`."""
    try:
        return TaskState(text)
    except ValueError:
        raise InvalidTaskState(f"must be one of {', '.join(TaskState)}, not {text[:50]!r}") from None


@get("/{task_id:str}", opt={"errors": _LOOK_UP, "etag": True}, operation_id="getTask", summary="Read a task")
async def read(request: ApiRequest, task_id: TaskId, queue: Queue = None) -> Answer[schemas.TaskBody]:
    """Return all that is known of a task."""
    return Tagged(await _body(request, await request.service.get(GetTask(task_id, queue or None))))


async def _body(request: ApiRequest, info: TaskInfo) -> schemas.TaskBody:
    try:
        entry = await request.service.progress.latest(info.id, info.queue)
    except (ProgressNotFound, TaskNotFound):  # it may have ended, and be gone, since it was read
        entry = None
    return schemas.task(info, entry if entry is not None and entry.stream_id else None)


@get(
    "/{task_id:str}/result",
    opt={"errors": (InvalidOption, *_LOOK_UP)},
    operation_id="getResult",
    summary="Read or await a task's result",
    responses={202: ResponseSpec(schemas.ResultBody, description="The task has not ended; `state` says where it is.")},
)
async def result(
    request: ApiRequest,
    task_id: TaskId,
    queue: Queue = None,
    wait: Annotated[
        str,
        QueryParameter(
            description="How long to wait for the task's end, at most 60s.", schema_extra={"pattern": DURATION}
        ),
    ] = "0s",
) -> Answer[schemas.ResultBody]:
    """Return the result of a task that has ended; 202 while it has not."""
    span = min(read_span("wait", wait), MAX_WAIT)
    query = GetTask(task_id, queue or None)
    info = (
        await _unless_closing(request, request.service.result(query, span))
        if span
        else await request.service.result(query)
    )
    if info is not None:
        return Answer(schemas.result(info))
    state = (await request.service.get(query)).state
    return Answer(schemas.ResultBody(task_id=task_id, state=state.value), 202)


async def _unless_closing(request: ApiRequest, waiting: Coroutine[Any, Any, TaskInfo | None]) -> TaskInfo | None:
    """Wait, but no longer than the server is up: it must not hold up its own end."""
    wait = asyncio.create_task(waiting)
    closing = asyncio.create_task(request.around.closing.wait())
    try:
        await asyncio.wait([wait, closing], return_when=asyncio.FIRST_COMPLETED)
        return wait.result() if wait.done() else None
    finally:
        wait.cancel()
        closing.cancel()


@delete(
    "/{task_id:str}",
    status_code=200,
    opt={"errors": (*_LOOK_UP, TaskActive)},
    operation_id="deleteTask",
    summary="Delete a task",
)
async def remove(request: ApiRequest, task_id: TaskId, queue: Queue = None) -> Answer[Message]:
    """Delete a task that is not running."""
    await request.service.delete(DeleteTask(task_id, queue or None))
    request.audit("task deleted", task_id=task_id)
    return Answer(Message("task deleted"))


@post(
    "/{task_id:str}/cancel",
    status_code=200,
    opt={"errors": (*_LOOK_UP, TaskFinished)},
    operation_id="cancelTask",
    summary="Cancel a task",
)
async def cancel(request: ApiRequest, task_id: TaskId, queue: Queue = None) -> Answer[Message]:
    """Stop a task for good. A running one is told to stop, and is archived when it has."""
    state = await request.service.cancel(CancelTask(task_id, queue or None))
    request.audit("task cancelled", task_id=task_id, state=state.value)
    return Answer(Message("task cancelled"))


@post(
    "/{task_id:str}/run",
    status_code=200,
    opt={"errors": (*_LOOK_UP, TaskPending, TaskActive)},
    operation_id="runTask",
    summary="Run a task now",
)
async def run(request: ApiRequest, task_id: TaskId, queue: Queue = None) -> Answer[schemas.TaskBody]:
    """Make a task pending, whatever it waits for or however it ended; one that was cancelled runs again."""
    info = await request.service.get(GetTask(task_id, queue or None))
    state = await request.service.run(RunTask(info.id, info.queue))
    request.audit("task run", task_id=task_id, queue=info.queue, state=state.value)
    return Tagged(await _body(request, await _then(request, info, TaskState.PENDING)))


@post(
    "/{task_id:str}/archive",
    status_code=200,
    opt={"errors": (*_LOOK_UP, TaskActive, TaskFinished)},
    operation_id="archiveTask",
    summary="Give up a task",
)
async def archive(request: ApiRequest, task_id: TaskId, queue: Queue = None) -> Answer[schemas.TaskBody]:
    """Archive a task that is not running, and free its unique lock."""
    info = await request.service.get(GetTask(task_id, queue or None))
    state = await request.service.archive(ArchiveTask(info.id, info.queue))
    request.audit("task archived", task_id=task_id, queue=info.queue, state=state.value)
    return Tagged(await _body(request, await _then(request, info, TaskState.ARCHIVED)))


async def _then(request: ApiRequest, before: TaskInfo, state: TaskState) -> TaskInfo:
    """Return what is known of a task after it was brought into a state; a worker may have taken and ended it by now."""
    try:
        return await request.service.get(GetTask(before.id, before.queue))
    except TaskNotFound:
        return structs.replace(before, state=state)


@patch(
    "/{task_id:str}",
    opt={
        "body": schemas.EditTaskBody,
        "errors": (
            *_LOOK_UP,
            InvalidPayload,
            InvalidProcessAt,
            PayloadTooLarge,
            TaskNotScheduled,
            TaskActive,
            TaskFinished,
            PreconditionFailed,
        ),
    },
    operation_id="editTask",
    summary="Change a waiting task",
)
async def edit(
    request: ApiRequest,
    task_id: TaskId,
    queue: Queue = None,
    if_match: IfMatch = None,
) -> Answer[schemas.TaskBody]:
    """Change the payload, the due time, or both, of a scheduled or retry task. Its unique lock stays as it was."""
    command = read_edit(await read_body(request), task_id, queue or None)
    if if_match is not None:
        await _check_unchanged(request, await request.service.get(GetTask(task_id, queue or None)), if_match)
    info = await request.service.edit(command)
    request.audit(
        "task edited",
        task_id=task_id,
        queue=info.queue,
        payload=command.payload is not UNSET,
        process_at=command.process_at is not None,
    )
    return Tagged(await _body(request, info))


async def _check_unchanged(request: ApiRequest, info: TaskInfo, if_match: str) -> None:
    tag = etag(await _body(request, info))
    if not matches(if_match.encode(), tag):
        raise PreconditionFailed(tag)


ROUTER = Router(
    "/tasks",
    route_handlers=[
        creation.create,
        creation.create_batch,
        list_tasks,
        read,
        result,
        remove,
        cancel,
        run,
        archive,
        edit,
    ],
    tags=["tasks"],
    opt={"limited": True},
)
