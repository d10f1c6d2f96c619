"""The domain: tasks and what is known of them. Frozen values, no I/O.

Times are timezone-aware `datetime` in UTC, spans are `timedelta`; `None` means "not set" or "not known".
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, TypedDict

from msgspec import Struct, field

from taskflow.checks import check_moment, check_span, check_text, encodable
from taskflow.errors import (
    InvalidCallbackUrl,
    InvalidOption,
    InvalidProcessAt,
    InvalidQueue,
    InvalidTaskId,
    InvalidTaskType,
    InvalidTimeout,
)
from taskflow.unique import Unique
from taskflow.urls import HttpUrl

DEFAULT_QUEUE = "default"
DEFAULT_MAX_RETRIES = 25
"""asynq's own default number of retries."""
DEFAULT_TIMEOUT = timedelta(minutes=30)
"""How long an attempt may take when neither timeout nor deadline is given (asynq's own default)."""
MAX_QUEUE_BYTES = 128
MAX_TASK_ID_BYTES = 256
CALLBACK_HEADER = "taskflow:callback_url"
"""The header in which a task's callback URL travels; the part `tell` of the scripts names it too."""
MAX_VERSION = 100
"""Characters of what the version of a type is called."""
MAX_RETRIES = 2**31 - 1
"""The wire carries the number of retries as int32."""

_LONGEST_COMPARED = 200
"""Types are strangers' text: more of one is not compared with others."""
_FORBIDDEN_IN_QUEUE = frozenset("{} ")
_ZERO = timedelta(0)


def check_task_type(task_type: object) -> None:
    """Raise `InvalidTaskType` unless the type is text that is more than white space and UTF-8 can carry."""
    if not isinstance(task_type, str) or not task_type.strip():
        raise InvalidTaskType(f"must be text such as 'email:send', not {task_type!r}")
    if not task_type.isascii() and not encodable(task_type):
        raise InvalidTaskType("must be text that UTF-8 can carry (it holds a lone surrogate)")


def check_version(version: object) -> None:
    """Raise `InvalidOption` unless the version of a type is printable text of 1 to 100 characters."""
    if not isinstance(version, str) or not 0 < len(version) <= MAX_VERSION or not version.isprintable():
        raise InvalidOption("version", f"must be printable text of 1 to {MAX_VERSION} characters, not {version!r:.200}")


def close_types(task_type: str, known: Iterable[str]) -> list[str]:
    """Return up to three known types that look like one that is not."""
    return difflib.get_close_matches(task_type[:_LONGEST_COMPARED], known, n=3)


def check_queue(queue: object) -> None:
    """Raise `InvalidQueue` unless the name can be part of a Redis key: see `TaskOptions.queue`."""
    if not isinstance(queue, str) or not queue:
        raise InvalidQueue(f"must be a name such as 'default', not {queue!r}")
    if not queue.isprintable() or not _FORBIDDEN_IN_QUEUE.isdisjoint(queue):
        raise InvalidQueue(f"must hold no braces, spaces or control characters: {queue!r}")
    if len(queue.encode()) > MAX_QUEUE_BYTES:
        raise InvalidQueue(f"must be at most {MAX_QUEUE_BYTES} bytes")


def check_task_id(task_id: object) -> None:
    """Raise `InvalidTaskId` unless the id is text of 1 to 256 bytes."""
    if not isinstance(task_id, str) or not task_id.strip():
        raise InvalidTaskId(f"must be non-empty text, not {task_id!r}")
    if not encodable(task_id) or len(task_id.encode()) > MAX_TASK_ID_BYTES:
        raise InvalidTaskId(f"must be UTF-8 text of at most {MAX_TASK_ID_BYTES} bytes")


def _check_group(group: str, callback_url: str | None) -> None:
    check_text("group", group)
    if not group:
        raise InvalidOption("group", "must not be empty; leave it out for a task without a group")
    if callback_url is not None:
        raise InvalidCallbackUrl("a task in a group never ends by itself; give one to the task that takes its place")


def _check_headers(headers: Mapping[str, str], callback_url: str | None) -> None:
    for name, value in headers.items():
        check_text("headers", name)
        check_text("headers", value)
        if name == CALLBACK_HEADER:
            raise InvalidOption("headers", f"must not name {CALLBACK_HEADER!r}; give a callback_url instead")
    if callback_url is not None:
        check_callback_url(callback_url)


def check_callback_url(url: object) -> HttpUrl:
    """Return the parts of a URL that is to hear of a task's end. Raises `InvalidCallbackUrl`."""
    try:
        return HttpUrl.parse(url)
    except ValueError as error:
        raise InvalidCallbackUrl(str(error)) from None


class TaskState(StrEnum):
    """Where a task is in its life; the names are asynq's."""

    PENDING = "pending"
    ACTIVE = "active"
    SCHEDULED = "scheduled"
    RETRY = "retry"
    ARCHIVED = "archived"
    COMPLETED = "completed"
    AGGREGATING = "aggregating"

    @property
    def finished(self) -> bool:
        """Whether a task in this state has ended: completed or archived."""
        return self in {TaskState.COMPLETED, TaskState.ARCHIVED}


class EnqueueOptions(TypedDict, total=False):
    """The options of `enqueue`, as keyword arguments; `TaskOptions` says what each means."""

    queue: str
    max_retries: int
    timeout: timedelta | None
    deadline: datetime | None
    process_at: datetime | None
    process_in: timedelta | None
    unique: timedelta | Unique | None
    task_id: str | None
    retention: timedelta
    group: str | None
    headers: Mapping[str, str]
    callback_url: str | None


class TaskOptions(Struct, frozen=True, kw_only=True):
    """How a task is to be carried out. Checked when made: an unusable option raises the error that names it.

    Attributes:
        queue: Name of the queue: 1 to 128 bytes, no `{`, `}`, spaces or control characters. Default `default`.
        max_retries: How often a failed task is tried again; 0 means never. Default 25.
        timeout: How long one attempt may take, in whole seconds (rounded up). Default: 30 minutes, unless a deadline is given.
        deadline: When the task must have ended, whatever attempt it is in.
        process_at: When the task falls due. Not with `process_in`. A time in the past means now.
        process_in: How long from now the task falls due.
        unique: For how long (at least 1 s) no other task of the same type, payload and queue may be enqueued, unless
            this one ends before; or a `Unique`, for other choices.
        task_id: The task's id, 1 to 256 bytes; it must be new in its queue. Default: a random UUID.
        retention: How long the task and its result are kept after success, in whole seconds (rounded up). Default 0: gone when done.
        group: Collect the task in this group, to be aggregated with others.
        headers: Text pairs that travel with the task.
        callback_url: An http or https URL that a webhook is sent to when the task has ended; its host must be one that the
            workers allow. Not with `group`. Default: none.

    Raises:
        InvalidOption: Or one of its subclasses; `option` names the culprit.

    """

    queue: str = DEFAULT_QUEUE
    max_retries: int = DEFAULT_MAX_RETRIES
    timeout: timedelta | None = None
    deadline: datetime | None = None
    process_at: datetime | None = None
    process_in: timedelta | None = None
    unique: timedelta | Unique | None = None
    task_id: str | None = None
    retention: timedelta = _ZERO
    group: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    callback_url: str | None = None

    def __post_init__(self) -> None:
        check_queue(self.queue)
        if type(self.max_retries) is not int or not 0 <= self.max_retries <= MAX_RETRIES:
            raise InvalidOption(
                "max_retries", f"must be a whole number from 0 to {MAX_RETRIES}, not {self.max_retries!r}"
            )
        if self.timeout is not None:
            check_span(InvalidTimeout, "timeout", self.timeout, least=_ZERO)
        if self.deadline is not None:
            check_moment(InvalidTimeout, "deadline", self.deadline)
        if self.process_at is not None or self.process_in is not None:
            self._check_due()
        if self.unique is not None and not isinstance(self.unique, Unique):
            Unique(self.unique)
        if self.task_id is not None:
            check_task_id(self.task_id)
        if self.retention is not _ZERO:
            check_span(InvalidOption, "retention", self.retention, least=_ZERO)
        if self.group is not None:
            _check_group(self.group, self.callback_url)
        _check_headers(self.headers, self.callback_url)

    def _check_due(self) -> None:
        if self.process_at is not None and self.process_in is not None:
            raise InvalidProcessAt("process_at", "give either process_at or process_in, not both")
        if self.process_at is not None:
            check_moment(InvalidProcessAt, "process_at", self.process_at)
        if self.process_in is not None:
            check_span(InvalidProcessAt, "process_in", self.process_in, least=_ZERO)


class Task(Struct, frozen=True):
    """A task to enqueue: its type, its payload, and how it is to be carried out.

    The payload is JSON made of any value msgspec encodes; `bytes` travel as they are, `None` is an empty payload.
    """

    type: str
    payload: Any = None
    options: TaskOptions = TaskOptions()

    def __post_init__(self) -> None:
        check_task_type(self.type)


class Attempt(Struct, frozen=True, kw_only=True):
    """One failed attempt at a task."""

    at: datetime
    worker: str
    error: str
    traceback: str | None = None


class TaskInfo(Struct, frozen=True, kw_only=True):
    """What is known of a task. `next_process_at` is set while scheduled or in retry, `archived_at` while archived, `result` once written.

    `existing` and `replaced` are told by `enqueue`: whether this task was there and holds the unique lock, and the id of the
    task whose place it took.
    """

    id: str
    queue: str
    type: str
    state: TaskState
    payload: bytes = b""
    max_retries: int = DEFAULT_MAX_RETRIES
    retried: int = 0
    last_error: str | None = None
    last_failed_at: datetime | None = None
    timeout: timedelta | None = None
    deadline: datetime | None = None
    retention: timedelta = _ZERO
    group: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    callback_url: str | None = None
    next_process_at: datetime | None = None
    pending_since: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    archived_at: datetime | None = None
    result: bytes | None = None
    attempts: tuple[Attempt, ...] = ()
    cancelled: bool = False
    worker: str | None = None
    orphaned: bool = False
    """Whether the task is active but its lease has run out: its worker is gone, and it will be recovered."""
    existing: bool = False
    replaced: str | None = None


class QueueInfo(Struct, frozen=True, kw_only=True):
    """The state of a queue: tasks by state, today's and all-time totals, and the age of its oldest pending task."""

    queue: str
    pending: int = 0
    active: int = 0
    scheduled: int = 0
    retry: int = 0
    archived: int = 0
    completed: int = 0
    aggregating: int = 0
    groups: int = 0
    processed: int = 0
    failed: int = 0
    processed_total: int = 0
    failed_total: int = 0
    paused: bool = False
    latency: timedelta = _ZERO

    @property
    def size(self) -> int:
        """How many tasks the queue holds, in all states."""
        states = (
            self.pending,
            self.active,
            self.scheduled,
            self.retry,
            self.archived,
            self.completed,
            self.aggregating,
        )
        return sum(states)


class DailyStats(Struct, frozen=True, kw_only=True):
    """What a queue did on a UTC day: attempts processed (failed ones too), and those of them that failed."""

    queue: str
    day: date
    processed: int
    failed: int


class GroupInfo(Struct, frozen=True, kw_only=True):
    """A group of a queue: how many tasks wait in it to be aggregated."""

    queue: str
    name: str
    size: int


class RunningTask(Struct, frozen=True, kw_only=True):
    """A task that a server works on now."""

    id: str
    type: str
    queue: str
    payload: bytes
    started_at: datetime
    deadline: datetime | None


class ServerInfo(Struct, frozen=True, kw_only=True):
    """A worker server, Python's or Go's. `status` is new, active, stopped or closed; `queues` maps names to weights."""

    id: str
    host: str
    pid: int
    concurrency: int
    queues: Mapping[str, int]
    strict_priority: bool
    status: str
    started_at: datetime
    active_count: int
    running: tuple[RunningTask, ...] = ()


class Stall(Struct, frozen=True, kw_only=True):
    """A server's event loop was blocked, so that no task on it went on: until when, for how long, and by what code.

    `count` is how often that has happened since the server started.
    """

    at: datetime
    seconds: float
    count: int
    where: str


class Progress(Struct, frozen=True, kw_only=True):
    """How far a task has come: `percentage` is 0 to 100, `timestamp_ms` Unix time in milliseconds."""

    task_id: str
    percentage: float
    stage: str = ""
    message: str = ""
    timestamp_ms: int = 0
    metadata: Mapping[str, Any] | None = None
