"""Tasks, as the JSON contract has them: what comes in and what goes out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from taskflow.api.schemas.progress import ProgressBody, progress
from taskflow.api.schemas.unique import UniqueBody
from taskflow.api.schemas.values import (
    Encoding,
    MaxRetries,
    Retention,
    Span,
    State,
    Time,
    Timeout,
    span,
)
from taskflow.broker.progress import ProgressEntry
from taskflow.durations import format_duration
from taskflow.task import TaskInfo, TaskState
from taskflow.wire.payload import json_or_base64


class CreateTaskBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A task to create. What is left out has the default of its type, or of the server's settings."""

    type: Annotated[str, Meta(description="The task type; a worker must have published it.", examples=["demo"])]
    payload: Annotated[Raw, Meta(description="Any JSON that fits the type.")]
    queue: Annotated[
        str | None,
        Meta(
            description="1 to 128 bytes, no braces, spaces or control characters. Default: what its type says, else "
            "`queues.default`."
        ),
    ] = None
    max_retries: MaxRetries = None
    timeout: Timeout = None
    deadline: Annotated[Time | None, Meta(description="When the task must have ended. Default: never.")] = None
    process_at: Annotated[
        Time | None, Meta(description="When the task falls due. Default: now. Not with `process_in`.")
    ] = None
    process_in: Annotated[Span | None, Meta(description="How long from now the task falls due.")] = None
    unique: Annotated[
        Span | UniqueBody | None,
        Meta(
            description="For how long (1s or more; 0s is none) no task of the same type and payload may be created; or a lock. "
            "Default: what its type says, else none."
        ),
    ] = None
    metadata: Annotated[dict[str, str] | None, Meta(description="Text pairs that travel in the task's headers.")] = None
    task_id: Annotated[str | None, Meta(description="1 to 256 bytes, new in its queue. Default: a random UUID.")] = None
    retention: Retention = None
    group: Annotated[str | None, Meta(description="Collect the task in this group. Default: none.")] = None
    callback_url: Annotated[
        str | None,
        Meta(
            description="The http or https URL where a webhook tells of its end; `webhooks.allow_hosts` must allow the host. "
            "Default: what its type says, else nowhere."
        ),
    ] = None


class EditTaskBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to change of a scheduled or retry task; what is left out stays."""

    payload: Annotated[Raw | UnsetType, Meta(description="Any JSON that fits the type.")] = UNSET
    process_at: Annotated[Time | None, Meta(description="When the task falls due; a time in the past: now.")] = None


class BatchBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Tasks to create. Each is looked at by itself: one that cannot be used does not stop the others."""

    tasks: Annotated[
        list[CreateTaskBody | Any],
        Meta(
            description="Up to 10,000 (`server.http.batch_limit`), each as in `POST /tasks`; another one fails alone."
        ),
    ]


class RawBatch(Struct, frozen=True, forbid_unknown_fields=True):
    """A batch whose tasks have not been read yet."""

    tasks: list[Raw]


class Created(Struct, frozen=True):
    """A task that was created, or the one that holds its unique lock; `status` is its state."""

    task_id: str
    queue: str
    status: State


class BatchResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one task of a batch: `task_id`, `queue` and `status`, or `error`, `code` and `details`.

    `existing` is true of a task that was there and holds the unique lock.
    """

    task_id: str | UnsetType = UNSET
    queue: str | UnsetType = UNSET
    status: State | UnsetType = UNSET
    existing: bool = False
    error: str | UnsetType = UNSET
    code: str | UnsetType = UNSET
    details: dict[str, Any] | UnsetType = UNSET


class BatchCreated(Struct, frozen=True):
    """What became of a batch; `results` are in its order. Tasks that were there already count as neither."""

    created: int
    failed: int
    results: list[BatchResult]


class SteeredBody(Struct, frozen=True):
    """To how many tasks something was done.

    Not `complete`: the time was up before all were. Go on with the same request and `cursor=` the `next_cursor`.
    """

    count: int
    complete: bool
    next_cursor: str | None


class TaskSummary(Struct, frozen=True, kw_only=True):
    """A task in a list."""

    id: str
    queue: str
    type: str
    state: State
    max_retry: int
    retried: int
    last_err: str | UnsetType = UNSET
    next_process_at: datetime | UnsetType = UNSET
    metadata: Mapping[str, str]
    timeout: Span | None
    deadline: datetime | None
    retention: Span
    group: str | None
    callback_url: str | None
    pending_since: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    archived_at: datetime | None
    last_failed_at: datetime | None
    cancelled: bool
    worker: str | None
    orphaned: bool


class AttemptBody(Struct, frozen=True):
    """One failed attempt at a task."""

    at: datetime
    worker: str
    error: str
    traceback: str | None


class TaskBody(TaskSummary, frozen=True, kw_only=True):
    """All that is known of a task. `worker` is the id of the server that runs it; `orphaned`: that server is gone."""

    payload: Any
    payload_encoding: Encoding
    result: Any
    result_encoding: Encoding
    attempts: list[AttemptBody]
    progress: ProgressBody | None


class ResultBody(Struct, frozen=True, kw_only=True):
    """A task's state, and the result of one that has ended."""

    task_id: str
    state: State
    result: Any = None
    result_encoding: Encoding = "json"
    error: str | UnsetType = UNSET


def created(info: TaskInfo) -> Created:
    """A task that was just created."""
    return Created(info.id, info.queue, info.state.value)


def summary(info: TaskInfo) -> TaskSummary:
    """A task in a list."""
    return TaskSummary(**_common(info))


def task(info: TaskInfo, entry: ProgressEntry | None) -> TaskBody:
    """All that is known of a task."""
    payload, payload_encoding = json_or_base64(info.payload)
    result, result_encoding = json_or_base64(info.result)
    attempts = [AttemptBody(each.at, each.worker, each.error, each.traceback) for each in info.attempts]
    return TaskBody(
        **_common(info),
        payload=payload,
        payload_encoding=payload_encoding,
        result=result,
        result_encoding=result_encoding,
        attempts=attempts,
        progress=progress(entry) if entry else None,
    )


def result(info: TaskInfo) -> ResultBody:
    """What a task that has ended left."""
    value, encoding = json_or_base64(info.result)
    failed = info.state is TaskState.ARCHIVED
    error = (info.last_error or "the task was archived") if failed else UNSET
    return ResultBody(task_id=info.id, state=info.state.value, result=value, result_encoding=encoding, error=error)


def _common(info: TaskInfo) -> dict[str, Any]:
    return {
        "id": info.id,
        "queue": info.queue,
        "type": info.type,
        "state": info.state.value,
        "max_retry": info.max_retries,
        "retried": info.retried,
        "last_err": info.last_error or UNSET,
        "next_process_at": info.next_process_at or UNSET,
        "metadata": info.headers,
        "timeout": span(info.timeout),
        "deadline": info.deadline,
        "retention": format_duration(info.retention),
        "group": info.group,
        "callback_url": info.callback_url,
        "pending_since": info.pending_since,
        "started_at": info.started_at,
        "completed_at": info.completed_at,
        "archived_at": info.archived_at,
        "last_failed_at": info.last_failed_at,
        "cancelled": info.cancelled,
        "worker": info.worker,
        "orphaned": info.orphaned,
    }
