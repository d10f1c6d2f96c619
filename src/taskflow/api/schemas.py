"""The JSON contract: what comes in and what goes out. Durations are Go's text (`30s`), times RFC 3339."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from taskflow.broker.catalog import TaskType
from taskflow.broker.progress import ProgressEntry
from taskflow.durations import format_duration
from taskflow.task import QueueInfo, ServerInfo, TaskInfo, TaskState
from taskflow.unique import OnConflict, Unique, Until

Span = Annotated[str, Meta(description="A duration as Go writes it.", examples=["30s", "1h30m"])]
Time = Annotated[str, Meta(description="A time, RFC 3339 with its zone.", examples=["2030-01-31T12:00:00Z"])]
State = Literal["pending", "active", "scheduled", "retry", "archived", "completed", "aggregating"]
Encoding = Annotated[
    Literal["json", "base64"],
    Meta(description="`base64` where the bytes are no JSON; then the value is text in Base64."),
]


# -- in ---------------------------------------------------------------------------------------------------------------


class UniqueBody(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A unique lock: while a task holds it, the same task is not created again. Locks are those of a queue and task type."""

    ttl: Annotated[Span, Meta(description="How long it lasts at most, 1s or more; with a due time, so long after it.")]
    key: Annotated[
        str | None,
        Meta(description="What makes a task the same, 1 to 256 bytes. Default: its payload.", examples=["user:42"]),
    ] = None
    fields: Annotated[
        list[str] | None,
        Meta(
            description="Fields of the payload that make a task the same; a dot looks into an object. Not with `key`."
        ),
    ] = None
    until: Annotated[
        str,
        Meta(
            extra_json_schema={"enum": get_args(Until)},
            description="`done`: it is freed when the task has ended; `started`: when a worker takes it; `expired`: only by "
            "its time.",
        ),
    ] = "done"
    on_conflict: Annotated[
        str,
        Meta(
            extra_json_schema={"enum": get_args(OnConflict)},
            description="What becomes of the same task: `refuse`: 409; `return`: 200 with the task that holds the lock; "
            "`replace`: it takes the place of that one while it waits, else 409.",
        ),
    ] = "refuse"


class CreateTaskBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A task to create. What is left out has the default of its type, or of the server's settings."""

    type: Annotated[str, Meta(description="The task type; a worker must have published it.", examples=["demo"])]
    payload: Annotated[Raw, Meta(description="Any JSON that fits the type.")]
    queue: Annotated[str | None, Meta(description="1 to 128 bytes, no braces, spaces or control characters.")] = None
    max_retries: Annotated[int | None, Meta(description="How often a failed task is tried again; 0 means never.")] = (
        None
    )
    timeout: Annotated[Span | None, Meta(description="How long one attempt may take.")] = None
    deadline: Annotated[Time | None, Meta(description="When the task must have ended.")] = None
    process_at: Annotated[Time | None, Meta(description="When the task falls due. Not with `process_in`.")] = None
    process_in: Annotated[Span | None, Meta(description="How long from now the task falls due.")] = None
    unique: Annotated[
        Span | UniqueBody | None,
        Meta(description="For how long (1s or more) no task of the same type and payload may be created; or a lock."),
    ] = None
    metadata: Annotated[dict[str, str] | None, Meta(description="Text pairs that travel in the task's headers.")] = None
    task_id: Annotated[str | None, Meta(description="1 to 256 bytes, new in its queue. Default: a random UUID.")] = None
    retention: Annotated[Span | None, Meta(description="How long the task is kept after success.")] = None
    group: Annotated[str | None, Meta(description="Collect the task in this group.")] = None


class BatchBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Tasks to create. Each is looked at by itself: one that cannot be used does not stop the others."""

    tasks: list[CreateTaskBody]


class RawBatch(Struct, frozen=True, forbid_unknown_fields=True):
    """A batch whose tasks have not been read yet."""

    tasks: list[Raw]


# -- out --------------------------------------------------------------------------------------------------------------


class ErrorBody(Struct, frozen=True):
    """What went wrong: for people, for programs, and the facts."""

    error: str
    code: str
    details: dict[str, Any]


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


class Message(Struct, frozen=True):
    """A word of confirmation."""

    message: str


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
    pending_since: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
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


class ProgressBody(Struct, frozen=True, kw_only=True):
    """How far a task has come."""

    task_id: str
    percentage: int | float
    stage: str
    message: str
    timestamp_ms: int
    metadata: Mapping[str, Any] | UnsetType = UNSET


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


class ProgressEntryBody(Struct, frozen=True, kw_only=True):
    """One entry of a progress stream; `status` is set on the last one."""

    progress: ProgressBody
    is_final: bool
    status: Annotated[str, Meta(description="completed, failed or cancelled")] | UnsetType = UNSET
    stream_id: str


class ProgressHistory(Struct, frozen=True):
    """What is kept of a task's progress, oldest first."""

    task_id: str
    count: int
    history: list[ProgressEntryBody]


class ProgressInfoBody(Struct, frozen=True, kw_only=True):
    """How much progress a task has published; the entries are named by their stream ids."""

    task_id: str
    has_progress: bool
    length: int
    first_entry: str | None
    last_entry: str | None


class QueueBody(Struct, frozen=True, kw_only=True):
    """A queue: tasks by state, today's totals, and the age of its oldest pending task."""

    queue: str
    pending: int
    active: int
    scheduled: int
    retry: int
    archived: int
    completed: int
    aggregating: int
    size: int
    processed: int
    failed: int
    processed_total: int
    failed_total: int
    paused: bool
    latency_ms: int


class TaskTypeBody(Struct, frozen=True, kw_only=True):
    """A task type that a worker has published. With `prefix`, it stands for all types that begin so."""

    type: str
    prefix: bool
    schema: dict[str, Any] | None
    doc: str
    queue: str | None
    max_retries: int | None
    timeout: Span | None
    unique: Span | UniqueBody | None
    last_seen: datetime | None


class RunningBody(Struct, frozen=True):
    """A task that a server works on now."""

    id: str
    type: str
    queue: str
    started_at: datetime
    deadline: datetime | None


class ServerBody(Struct, frozen=True, kw_only=True):
    """A worker server that is alive, Python's or Go's."""

    id: str
    host: str
    pid: int
    status: str
    concurrency: int
    queues: Mapping[str, int]
    strict_priority: bool
    started_at: datetime
    active_count: int
    running: list[RunningBody]


class HealthBody(Struct, frozen=True):
    """Whether the server works, and what it needs."""

    status: Literal["healthy", "unhealthy"]
    timestamp: datetime
    services: dict[str, str]


class Ready(Struct, frozen=True):
    """Whether the server can take requests."""

    status: Literal["ready", "not ready"]
    reason: str | UnsetType = UNSET


class Alive(Struct, frozen=True):
    """The process answers."""

    status: Literal["alive"] = "alive"


# -- from the domain --------------------------------------------------------------------------------------------------


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
        "timeout": _span(info.timeout),
        "deadline": info.deadline,
        "retention": format_duration(info.retention),
        "group": info.group,
        "pending_since": info.pending_since,
        "started_at": info.started_at,
        "completed_at": info.completed_at,
        "last_failed_at": info.last_failed_at,
        "cancelled": info.cancelled,
        "worker": info.worker,
        "orphaned": info.orphaned,
    }


def json_or_base64(data: bytes | None) -> tuple[Any, Literal["json", "base64"]]:
    """Return bytes as they can stand in JSON, and how: what is JSON as it is, none as null, the rest as Base64."""
    if not data:
        return None, "json"
    try:
        msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return base64.b64encode(data).decode(), "base64"
    return Raw(data), "json"


def progress(entry: ProgressEntry) -> ProgressBody:
    """How far a task had come; a whole percentage is a whole number, as the clients in Go expect it."""
    found = entry.progress
    whole = float(found.percentage).is_integer()
    return ProgressBody(
        task_id=found.task_id,
        percentage=int(found.percentage) if whole else found.percentage,
        stage=found.stage,
        message=found.message,
        timestamp_ms=found.timestamp_ms,
        metadata=UNSET if found.metadata is None else found.metadata,
    )


def progress_entry(entry: ProgressEntry) -> ProgressEntryBody:
    """One entry of a progress stream."""
    return ProgressEntryBody(
        progress=progress(entry), is_final=entry.is_final, status=entry.status or UNSET, stream_id=entry.stream_id
    )


def queue(info: QueueInfo) -> QueueBody:
    """A queue."""
    return QueueBody(
        queue=info.queue,
        pending=info.pending,
        active=info.active,
        scheduled=info.scheduled,
        retry=info.retry,
        archived=info.archived,
        completed=info.completed,
        aggregating=info.aggregating,
        size=info.size,
        processed=info.processed,
        failed=info.failed,
        processed_total=info.processed_total,
        failed_total=info.failed_total,
        paused=info.paused,
        latency_ms=info.latency // timedelta(milliseconds=1),
    )


def task_type(entry: TaskType) -> TaskTypeBody:
    """A task type."""
    seconds = entry.timeout_seconds
    return TaskTypeBody(
        type=entry.type,
        prefix=entry.prefix,
        schema=entry.schema,
        doc=entry.doc,
        queue=entry.queue,
        max_retries=entry.max_retries,
        timeout=_span(None if seconds is None else timedelta(seconds=seconds)),
        unique=_unique(entry.unique),
        last_seen=entry.last_seen,
    )


def _unique(unique: timedelta | Unique | None) -> str | UniqueBody | None:
    if not isinstance(unique, Unique):
        return _span(unique)
    return UniqueBody(
        ttl=format_duration(unique.ttl),
        key=unique.key,
        fields=list(unique.fields) if unique.fields else None,
        until=unique.until,
        on_conflict=unique.on_conflict,
    )


def server(info: ServerInfo) -> ServerBody:
    """A worker server."""
    return ServerBody(
        id=info.id,
        host=info.host,
        pid=info.pid,
        status=info.status,
        concurrency=info.concurrency,
        queues=info.queues,
        strict_priority=info.strict_priority,
        started_at=info.started_at,
        active_count=info.active_count,
        running=[RunningBody(run.id, run.type, run.queue, run.started_at, run.deadline) for run in info.running],
    )


def _span(duration: timedelta | None) -> str | None:
    return None if duration is None else format_duration(duration)
