"""Every exception of TaskFlow.

```
TaskFlowError
├── InvalidOption            400 INVALID_REQUEST      a task option or payload cannot be used; nothing was sent
│   ├── InvalidTaskType      400 INVALID_TASK_TYPE
│   ├── InvalidPayload       400 INVALID_PAYLOAD
│   ├── PayloadTooLarge      413 PAYLOAD_TOO_LARGE
│   ├── InvalidTimeout       400 INVALID_TIMEOUT
│   ├── InvalidProcessAt     400 INVALID_PROCESS_AT
│   ├── InvalidUnique        400 INVALID_UNIQUE
│   ├── InvalidCallbackUrl   400 INVALID_CALLBACK_URL  it is no URL, or the settings do not allow its host
│   ├── InvalidQueue         400 INVALID_QUEUE
│   ├── InvalidTaskId        400 INVALID_TASK_ID
│   └── InvalidTaskState     400 INVALID_TASK_STATE
├── Forbidden                403 FORBIDDEN            the API key has not the scope, or may not use the queue
├── TaskNotFound             404 TASK_NOT_FOUND
├── QueueNotFound            404 QUEUE_NOT_FOUND
├── ProgressNotFound         404 PROGRESS_NOT_FOUND
├── ScheduleNotFound         404 SCHEDULE_NOT_FOUND
├── TaskConflict             409 TASK_ALREADY_EXISTS
│   ├── TaskIdTaken          409 TASK_ALREADY_EXISTS
│   └── DuplicateTask        409 TASK_ALREADY_EXISTS  another task holds the unique lock
├── TaskActive               409 TASK_ACTIVE
├── TaskFinished             409 TASK_FINISHED
├── TaskPending              409 TASK_PENDING
├── TaskNotScheduled         409 TASK_NOT_SCHEDULED   only a scheduled or retry task can be edited
├── QueueNotEmpty            409 QUEUE_NOT_EMPTY
├── QueueActive              409 QUEUE_ACTIVE         tasks of the queue are running
├── ScheduleExists           409 SCHEDULE_ALREADY_EXISTS
├── ScheduleElsewhere        409 SCHEDULE_ELSEWHERE   the settings, a program or a scheduler in Go has it
├── IdempotencyConflict      409 IDEMPOTENCY_CONFLICT  the key of a request came with another body
├── BrokerUnavailable        503 REDIS_UNAVAILABLE
├── ConfigError              -                        settings that cannot be used
├── UnsupportedServer        -                        the Redis server is too old or set up to lose tasks
├── MessageInvalid           -                        bytes that are not a task message
├── InvalidSignature         -                        `webhooks.verify`: the request is not ours, or too old
├── AggregateFailed          -                        a group could not be aggregated; its tasks go back into it
├── StartFailed              -                        what a worker opens at its start could not be opened
├── NoCurrentTask            -                        `current_context` was called where no task runs
├── TaskFailed               -                        `client.result`: the task was archived
└── ResultTimeout            -                        `client.result` waited in vain

what went wrong with an attempt, as the task's error text names it:
AttemptError
├── AttemptTimedOut                                   it took longer than its timeout or deadline
├── AttemptCancelled                                  a peer asked its worker to stop it
├── HandlerNotFound                                   no handler serves the type
├── WorkerDied                                        its worker is gone, for the last time that is borne
├── AttemptFailed                                     a service in another language said so
├── TargetRefused                                     an HTTP request may not be sent there
├── TargetUnreachable                                 an HTTP request was not answered
├── TargetFailed                                      an HTTP request was answered, but not with success
└── HandlerExit                                       the handler raised SystemExit or KeyboardInterrupt

raised by handlers, to steer what becomes of their task:
HandlerSignal
├── SkipRetry                                         archive the task, without further attempts
├── RevokeTask                                        drop the task
└── Retry(delay)                                      try again after a delay of the handler's choosing
```
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar


class TaskFlowError(Exception):
    """The root of every error that TaskFlow raises.

    `status` is the HTTP status and `code` the machine-readable code the API answers with.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "INTERNAL_ERROR"

    @property
    def details(self) -> dict[str, object]:
        """What a program may want to know of the error: the exception's own data."""
        return {}


class InvalidOption(TaskFlowError, ValueError):
    """A task option cannot be used; nothing was sent. `option` names it."""

    status = 400
    code = "INVALID_REQUEST"

    def __init__(self, option: str, reason: str) -> None:
        super().__init__(f"{option}: {reason}")
        self.option = option
        self.reason = reason

    @property
    def details(self) -> dict[str, object]:
        """The option's name."""
        return {"option": self.option}


class InvalidTaskType(InvalidOption):
    """The task type is empty, or no worker has published it. `close` lists similar known types."""

    code = "INVALID_TASK_TYPE"

    def __init__(self, reason: str, *, close: Sequence[str] = ()) -> None:
        super().__init__("type", reason)
        self.close = tuple(close)

    @property
    def details(self) -> dict[str, object]:
        """The option's name and similar types."""
        return {"option": self.option, "close": list(self.close)}


class InvalidPayload(InvalidOption):
    """The payload does not fit the task type. `path` is the field (`$.to`), `expected` and `got` say why, if known."""

    code = "INVALID_PAYLOAD"

    def __init__(self, reason: str, *, path: str = "$", expected: str | None = None, got: str | None = None) -> None:
        super().__init__("payload", reason)
        self.path = path
        self.expected = expected
        self.got = got

    @property
    def details(self) -> dict[str, object]:
        """Where the payload fails, what was expected there, and what was got."""
        return {"path": self.path, "expected": self.expected, "got": self.got}


class PayloadTooLarge(InvalidOption):
    """The payload has more bytes than the setting `tasks.payload_limit` allows."""

    status = 413
    code = "PAYLOAD_TOO_LARGE"

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            "payload",
            f"has {size} bytes, at most {limit} are taken; send a reference to the data, or raise tasks.payload_limit",
        )
        self.size = size
        self.limit = limit

    @property
    def details(self) -> dict[str, object]:
        """The payload's size and the limit, in bytes."""
        return {"size": self.size, "limit": self.limit}


class InvalidTimeout(InvalidOption):
    """The timeout or deadline is not a usable time."""

    code = "INVALID_TIMEOUT"


class InvalidProcessAt(InvalidOption):
    """`process_at` or `process_in` is not a usable time."""

    code = "INVALID_PROCESS_AT"


class InvalidUnique(InvalidOption):
    """The unique lock cannot be used: its time, or one of its choices."""

    code = "INVALID_UNIQUE"

    def __init__(self, reason: str) -> None:
        super().__init__("unique", reason)


class InvalidCallbackUrl(InvalidOption):
    """The callback URL is none, or the settings do not allow its host."""

    code = "INVALID_CALLBACK_URL"

    def __init__(self, reason: str) -> None:
        super().__init__("callback_url", reason)


class InvalidQueue(InvalidOption):
    """The queue's name is empty, too long, or has a character that Redis keys cannot carry."""

    code = "INVALID_QUEUE"

    def __init__(self, reason: str) -> None:
        super().__init__("queue", reason)


class InvalidTaskId(InvalidOption):
    """The task id is empty or too long."""

    code = "INVALID_TASK_ID"

    def __init__(self, reason: str) -> None:
        super().__init__("task_id", reason)


class InvalidTaskState(InvalidOption):
    """The name is not one of a task's states."""

    code = "INVALID_TASK_STATE"

    def __init__(self, reason: str) -> None:
        super().__init__("status", reason)


class Forbidden(TaskFlowError, PermissionError):
    """The API key has not the scope that this needs, or is limited to other queues. `scope` names the missing one."""

    status = 403
    code = "FORBIDDEN"

    def __init__(self, reason: str, *, scope: str | None = None) -> None:
        super().__init__(f"{reason}; ask whoever runs the API for a key that may")
        self.scope = scope

    @property
    def details(self) -> dict[str, object]:
        """The scope that is missing, if it is one."""
        return {} if self.scope is None else {"scope": self.scope}


class TaskNotFound(TaskFlowError, LookupError):
    """No such task: it never existed, or it ended and its retention is over."""

    status = 404
    code = "TASK_NOT_FOUND"

    def __init__(self, task_id: str, queue: str | None = None) -> None:
        where = f"in queue {queue!r}" if queue else "in any queue"
        super().__init__(f"task {task_id!r} not found {where}; it may have ended and its retention may be over")
        self.task_id = task_id
        self.queue = queue

    @property
    def details(self) -> dict[str, object]:
        """The task and the queue that was searched (null: all)."""
        return {"task_id": self.task_id, "queue": self.queue}


class QueueNotFound(TaskFlowError, LookupError):
    """No task was ever enqueued to this queue."""

    status = 404
    code = "QUEUE_NOT_FOUND"

    def __init__(self, queue: str) -> None:
        super().__init__(f"queue {queue!r} not found; a queue exists from its first task on")
        self.queue = queue

    @property
    def details(self) -> dict[str, object]:
        """The queue."""
        return {"queue": self.queue}


class TaskTypeNotFound(TaskFlowError, LookupError):
    """No worker has published the type."""

    status = 404
    code = "TASK_TYPE_NOT_FOUND"

    def __init__(self, task_type: str, close: Sequence[str] = ()) -> None:
        hint = f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""
        super().__init__(
            f"no worker has published the type {task_type[:100]!r}{hint}; GET /api/v1/task-types and `taskflow types` list those there are"
        )
        self.task_type = task_type
        self.close = list(close)

    @property
    def details(self) -> dict[str, object]:
        """The type that was asked for, and those that look like it."""
        return {"type": self.task_type, "close": self.close}


class ProgressNotFound(TaskFlowError, LookupError):
    """The task has published no progress, or what it published has expired."""

    status = 404
    code = "PROGRESS_NOT_FOUND"

    def __init__(self, task_id: str) -> None:
        super().__init__(f"task {task_id!r} has published no progress (or it has expired)")
        self.task_id = task_id

    @property
    def details(self) -> dict[str, object]:
        """The task."""
        return {"task_id": self.task_id}


class ScheduleNotFound(TaskFlowError, LookupError):
    """No periodic task has this id."""

    status = 404
    code = "SCHEDULE_NOT_FOUND"

    def __init__(self, schedule_id: str) -> None:
        super().__init__(f"schedule {schedule_id!r} not found")
        self.schedule_id = schedule_id

    @property
    def details(self) -> dict[str, object]:
        """The schedule."""
        return {"schedule_id": self.schedule_id}


class TaskConflict(TaskFlowError):
    """The task was not enqueued: its id or its unique lock is taken. `holder` is the id of the task in the way."""

    status = 409
    code = "TASK_ALREADY_EXISTS"

    def __init__(self, message: str, *, task_id: str, queue: str, holder: str) -> None:
        super().__init__(message)
        self.task_id = task_id
        self.queue = queue
        self.holder = holder

    @property
    def details(self) -> dict[str, object]:
        """The task in the way, and its queue."""
        return {"task_id": self.task_id, "queue": self.queue, "holder": self.holder}


class TaskIdTaken(TaskConflict):
    """A task with this id exists in the queue."""

    def __init__(self, task_id: str, queue: str) -> None:
        super().__init__(
            f"a task with the id {task_id!r} exists in queue {queue!r}", task_id=task_id, queue=queue, holder=task_id
        )


class DuplicateTask(TaskConflict):
    """Another task holds the unique lock. `state` says why it could not be replaced, if that was asked for."""

    def __init__(self, task_id: str, queue: str, holder: str, *, state: str | None = None) -> None:
        message = f"task {holder!r} holds the unique lock in queue {queue!r}"
        if state is not None:
            message += f"; it {'is running' if state == 'active' else 'has ended'}, so it cannot be replaced"
        super().__init__(
            message,
            task_id=task_id,
            queue=queue,
            holder=holder,
        )
        self.state = state


class TaskActive(TaskFlowError):
    """The task is running, so it cannot be changed or deleted; cancel it first."""

    status = 409
    code = "TASK_ACTIVE"

    def __init__(self, task_id: str, queue: str) -> None:
        super().__init__(f"task {task_id!r} in queue {queue!r} is running; cancel it first")
        self.task_id = task_id
        self.queue = queue

    @property
    def details(self) -> dict[str, object]:
        """The task and its queue."""
        return {"task_id": self.task_id, "queue": self.queue}


class TaskFinished(TaskFlowError):
    """The task has ended, so it cannot be cancelled, edited or given up. `state` is completed or archived."""

    status = 409
    code = "TASK_FINISHED"

    def __init__(self, task_id: str, queue: str, state: str) -> None:
        super().__init__(f"task {task_id!r} in queue {queue!r} has ended: it is {state}")
        self.task_id = task_id
        self.queue = queue
        self.state = state

    @property
    def details(self) -> dict[str, object]:
        """The task, its queue and its state."""
        return {"task_id": self.task_id, "queue": self.queue, "state": self.state}


class TaskPending(TaskFlowError):
    """The task is pending already, so it cannot be run sooner."""

    status = 409
    code = "TASK_PENDING"

    def __init__(self, task_id: str, queue: str) -> None:
        super().__init__(
            f"task {task_id!r} in queue {queue!r} is pending already; it runs when a worker has a free slot"
        )
        self.task_id = task_id
        self.queue = queue

    @property
    def details(self) -> dict[str, object]:
        """The task and its queue."""
        return {"task_id": self.task_id, "queue": self.queue}


class TaskNotScheduled(TaskFlowError):
    """The task is neither scheduled nor in retry, so it cannot be edited: somebody may take it at any moment."""

    status = 409
    code = "TASK_NOT_SCHEDULED"

    def __init__(self, task_id: str, queue: str, state: str) -> None:
        super().__init__(
            f"task {task_id!r} in queue {queue!r} is {state}; only a scheduled or retry task can be edited"
        )
        self.task_id = task_id
        self.queue = queue
        self.state = state

    @property
    def details(self) -> dict[str, object]:
        """The task, its queue and its state."""
        return {"task_id": self.task_id, "queue": self.queue, "state": self.state}


class QueueNotEmpty(TaskFlowError):
    """The queue holds tasks, so it is not removed unless that is forced. `size` counts them."""

    status = 409
    code = "QUEUE_NOT_EMPTY"

    def __init__(self, queue: str, size: int) -> None:
        super().__init__(f"queue {queue!r} is not empty: {size} in it; delete its tasks, or remove it by force")
        self.queue = queue
        self.size = size

    @property
    def details(self) -> dict[str, object]:
        """The queue and how many tasks it holds."""
        return {"queue": self.queue, "size": self.size}


class QueueActive(TaskFlowError):
    """Tasks of the queue are running, so it is not removed, not even by force. `active` counts them."""

    status = 409
    code = "QUEUE_ACTIVE"

    def __init__(self, queue: str, active: int) -> None:
        super().__init__(f"queue {queue!r} has running tasks: {active}; pause it and wait for them, or cancel them")
        self.queue = queue
        self.active = active

    @property
    def details(self) -> dict[str, object]:
        """The queue and how many of its tasks are running."""
        return {"queue": self.queue, "active": self.active}


class ScheduleExists(TaskFlowError):
    """There is a periodic task of this id already, and it is not to be replaced."""

    status = 409
    code = "SCHEDULE_ALREADY_EXISTS"

    def __init__(self, schedule_id: str) -> None:
        super().__init__(f"there is a schedule {schedule_id!r} already; choose another id, or replace it")
        self.schedule_id = schedule_id

    @property
    def details(self) -> dict[str, object]:
        """The schedule."""
        return {"schedule_id": self.schedule_id}


class ScheduleElsewhere(TaskFlowError):
    """The periodic task is not kept in Redis, so it cannot be changed from here. `home` says where it is."""

    status = 409
    code = "SCHEDULE_ELSEWHERE"

    def __init__(self, schedule_id: str, home: str, reason: str) -> None:
        super().__init__(f"schedule {schedule_id!r} is {reason}")
        self.schedule_id = schedule_id
        self.home = home

    @property
    def details(self) -> dict[str, object]:
        """The schedule, and where it is kept."""
        return {"schedule_id": self.schedule_id, "home": self.home}


class IdempotencyConflict(TaskFlowError):
    """The Idempotency-Key came with another body before."""

    status = 409
    code = "IDEMPOTENCY_CONFLICT"

    def __init__(self, key: str) -> None:
        super().__init__(
            f"Idempotency-Key {key!r} came with another body within the last day; use a new key for a new request"
        )
        self.key = key

    @property
    def details(self) -> dict[str, object]:
        """The key."""
        return {"idempotency_key": self.key}


class BrokerUnavailable(TaskFlowError, ConnectionError):
    """Redis did not answer, or refused to write (memory full, read-only replica); try again later."""

    status = 503
    code = "REDIS_UNAVAILABLE"


class ConfigError(TaskFlowError, ValueError):
    """A setting cannot be used: unknown key, wrong type, or a combination that would be unsafe."""


class UnsupportedServer(TaskFlowError):
    """The Redis server is too old, or set up to lose tasks; the message says what to change."""


class MessageInvalid(TaskFlowError, ValueError):
    """The bytes are not a task message."""


class InvalidSignature(TaskFlowError, ValueError):
    """A webhook's signature does not fit its body and the secret, or it was sent too long ago."""


class AggregateFailed(TaskFlowError):
    """A group's tasks could not be made into one; they go back into the group. The worker logs it."""

    def __init__(self, group: str, reason: str) -> None:
        super().__init__(f"group {group!r}: {reason}")
        self.group = group
        self.reason = reason


class StartFailed(TaskFlowError):
    """What a worker opens at its start raised, so it has not started. `what` failed, and the `reason`."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what} failed at the start: {reason}")
        self.what = what
        self.reason = reason


class NoCurrentTask(TaskFlowError, LookupError):
    """`current_context` was called where no task runs."""

    def __init__(self) -> None:
        super().__init__("no task runs here; current_context() is for what a handler or middleware calls")


class TaskFailed(TaskFlowError):
    """The awaited task was archived: given up (`error` is its last error), or `cancelled`."""

    def __init__(self, task_id: str, error: str, *, cancelled: bool) -> None:
        super().__init__(f"task {task_id!r} was {'cancelled' if cancelled else f'given up: {error}'}")
        self.task_id = task_id
        self.error = error
        self.cancelled = cancelled


class ResultTimeout(TaskFlowError, TimeoutError):
    """The task had not ended when the wait was over. `state` is its state then."""

    def __init__(self, task_id: str, state: str) -> None:
        super().__init__(f"task {task_id!r} has not ended in time: it is {state}")
        self.task_id = task_id
        self.state = state


class AttemptError(TaskFlowError):
    """The root of what goes wrong with an attempt, apart from the handler's own exceptions."""


class AttemptTimedOut(AttemptError, TimeoutError):
    """The attempt took longer than its timeout or deadline."""


class AttemptCancelled(AttemptError):
    """A peer asked the worker to stop the attempt, without cancelling the task for good."""


class HandlerNotFound(AttemptError, LookupError):
    """No handler of this worker serves the type."""


class WorkerDied(AttemptError):
    """The worker died while it ran the task, more often than is borne."""


class TargetRefused(AttemptError, PermissionError):
    """A request may not be sent to the target: its URL cannot be used, or its address is none of the public internet."""

    def __init__(self, target: str, reason: str) -> None:
        super().__init__(f"{target}: {reason}")
        self.target = target


class TargetUnreachable(AttemptError, ConnectionError):
    """The target did not answer a request: there is no such name, nobody listens, it took too long, or it was no HTTP."""

    def __init__(self, target: str, reason: str) -> None:
        super().__init__(f"{target}: {reason}")
        self.target = target


class TargetFailed(AttemptError):
    """The target answered a request with a status that does not say success."""

    def __init__(self, target: str, status: int) -> None:
        super().__init__(f"{target}: answered with the status {status}")
        self.target = target
        self.answer_status = status


class AttemptFailed(AttemptError):
    """The service that carries the task out said that the attempt has failed, and that another may not."""


class HandlerExit(AttemptError):
    """The handler raised `SystemExit` or `KeyboardInterrupt`: its task has failed, the worker goes on."""


class HandlerSignal(Exception):
    """The root of what a handler raises to steer what becomes of its task."""


class SkipRetry(HandlerSignal):
    """Archive the task at once, without further attempts."""


class RevokeTask(HandlerSignal):
    """Drop the task at once: no further attempts, nothing archived."""


class Retry(HandlerSignal):
    """Try again after `delay` (at least zero), instead of after the backoff. It counts as a retry.

    Raises:
        TypeError: The delay is no timedelta.

    """

    def __init__(self, delay: timedelta, reason: str = "the handler asked for another attempt") -> None:
        if not isinstance(delay, timedelta):
            raise TypeError(f"Retry: the delay must be a timedelta, not {delay!r}; write Retry(timedelta(seconds=…))")
        super().__init__(reason)
        self.delay = delay
