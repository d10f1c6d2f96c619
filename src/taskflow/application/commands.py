"""What can be asked of the service: orders that change something. None means "not said", so a default holds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from msgspec import UNSET, Struct, field

from taskflow.application.criteria import Criteria
from taskflow.application.queries import Selection
from taskflow.cron import Missed
from taskflow.task import TaskState
from taskflow.unique import Unique


class CreateTask(Struct, frozen=True, kw_only=True):
    """Create a task.

    Attributes:
        type: The task type: one that a worker has published, or that `api.allow_types` lets through.
        payload: Any value with a JSON form; `msgspec.Raw` is JSON text already, `bytes` travel as they are.
        queue: Default: the type's own, else `queues.default`.
        max_retries: How often a failed task is tried again; 0 means never. Default: the type's own, else `tasks.max_retries`.
        timeout: How long one attempt may take. Default: the type's own, else (without a deadline) `tasks.timeout`.
        deadline: When the task must have ended, whatever attempt it is in.
        process_at: When the task falls due. Not with `process_in`.
        process_in: How long from now the task falls due.
        unique: For how long (at least 1 s) no other task of the same type, payload and queue may be created, or a `Unique`.
            Default: the type's own, else no lock.
        metadata: Text pairs that travel in the task's headers.
        task_id: The task's id; it must be new in its queue. Default: a random UUID.
        retention: How long the task and its result are kept after success. Default: `tasks.retention`.
        group: Collect the task in this group, to be aggregated with others.
        callback_url: Where a webhook tells of its end; the setting `webhooks.allow_hosts` must allow its host. Default: the
            type's own, else nowhere.

    """

    type: str
    payload: Any = None
    queue: str | None = None
    max_retries: int | None = None
    timeout: timedelta | None = None
    deadline: datetime | None = None
    process_at: datetime | None = None
    process_in: timedelta | None = None
    unique: timedelta | Unique | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    task_id: str | None = None
    retention: timedelta | None = None
    group: str | None = None
    callback_url: str | None = None


class RunTask(Struct, frozen=True):
    """Run a task now, whatever it waits for or how it ended; without a queue, every queue is searched for it."""

    task_id: str
    queue: str | None = None


class ArchiveTask(Struct, frozen=True):
    """Give up a task that is not running; without a queue, every queue is searched for it."""

    task_id: str
    queue: str | None = None


class DeleteTask(Struct, frozen=True):
    """Delete a task that is not running; without a queue, every queue is searched for it."""

    task_id: str
    queue: str | None = None


class CancelTask(Struct, frozen=True):
    """Stop a task for good, in whatever live state it is; without a queue, every queue is searched for it."""

    task_id: str
    queue: str | None = None


class EditTask(Struct, frozen=True):
    """Change the payload, the due time, or both, of a scheduled or retry task; what is UNSET or None stays.

    The payload is as in `CreateTask`. Without a queue, every queue is searched for the task.
    """

    task_id: str
    queue: str | None = None
    payload: Any = UNSET
    process_at: datetime | None = None


Action = Literal["run", "archive", "delete", "cancel"]
"""What can be done to many tasks at once; the commands above say what each means."""


class SteerTasks(Struct, frozen=True):
    """Do something to tasks, named by their ids; without a queue, every queue is searched for each."""

    action: Action
    task_ids: tuple[str, ...]
    queue: str | None = None


class SteerSelection(Struct, frozen=True):
    """Do something to the tasks that were selected."""

    action: Action
    selection: Selection


class SteerMatching(Criteria, frozen=True, kw_only=True):
    """Do something to the tasks of a queue in a state that meet the criteria, as long as there is time.

    Attributes:
        action: What.
        queue, state: Where the tasks are.
        group: Only this group, of aggregating tasks. Default: all groups.
        cursor: Where to go on; '' is the beginning.

    """

    action: Action
    queue: str
    state: TaskState
    group: str | None = None
    cursor: str = ""


class RemoveQueue(Struct, frozen=True):
    """Remove a queue with all its keys; one that holds tasks only with `force`."""

    queue: str
    force: bool = False


class PutSchedule(Struct, frozen=True, kw_only=True):
    """Keep a periodic task in Redis.

    Attributes:
        id: Its name, 1 to 128 bytes.
        spec: When: `*/5 * * * *`, `@hourly`, `@every 30s`, `CRON_TZ=Europe/Berlin 0 9 * * *`.
        timezone: Time zone of the spec, unless the spec names one. Default UTC.
        type, payload, queue, max_retries, timeout, unique, metadata, retention: Of each task, as in `CreateTask`.
        missed: What becomes of times at which no scheduler ran: `skip`, `once` (the last) or `all` up to `catch_up`.
        catch_up: How many missed times `all` makes up for at most.
        jitter: Each task falls due up to this much later, at random.

    """

    id: str
    spec: str
    type: str
    payload: Any = None
    timezone: str | None = None
    queue: str | None = None
    max_retries: int | None = None
    timeout: timedelta | None = None
    unique: timedelta | Unique | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    retention: timedelta | None = None
    missed: Missed = "skip"
    catch_up: int = 100
    jitter: timedelta = timedelta(0)
