"""Every exception of TaskFlow, in modules by what they say: options, what is missing, conflicts, failures, attempts.

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
├── TaskTypeNotFound         404 TASK_TYPE_NOT_FOUND
├── ProgressNotFound         404 PROGRESS_NOT_FOUND
├── ScheduleNotFound         404 SCHEDULE_NOT_FOUND
├── ServerNotFound           404 SERVER_NOT_FOUND
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
├── ServerNotDrainable       409 SERVER_NOT_DRAINABLE  a Go worker, or one of an older release
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

from taskflow.errors.attempts import (
    AttemptCancelled,
    AttemptError,
    AttemptFailed,
    AttemptTimedOut,
    HandlerExit,
    HandlerNotFound,
    HandlerSignal,
    Retry,
    RevokeTask,
    SkipRetry,
    TargetFailed,
    TargetRefused,
    TargetUnreachable,
    WorkerDied,
)
from taskflow.errors.conflicts import (
    DuplicateTask,
    IdempotencyConflict,
    QueueActive,
    QueueNotEmpty,
    ScheduleElsewhere,
    ScheduleExists,
    ServerNotDrainable,
    TaskActive,
    TaskConflict,
    TaskFinished,
    TaskIdTaken,
    TaskNotScheduled,
    TaskPending,
)
from taskflow.errors.failures import (
    AggregateFailed,
    BrokerUnavailable,
    ConfigError,
    InvalidSignature,
    MessageInvalid,
    NoCurrentTask,
    ResultTimeout,
    StartFailed,
    TaskFailed,
    UnsupportedServer,
)
from taskflow.errors.missing import (
    Forbidden,
    ProgressNotFound,
    QueueNotFound,
    ScheduleNotFound,
    ServerNotFound,
    TaskNotFound,
    TaskTypeNotFound,
)
from taskflow.errors.options import (
    InvalidCallbackUrl,
    InvalidOption,
    InvalidPayload,
    InvalidProcessAt,
    InvalidQueue,
    InvalidTaskId,
    InvalidTaskState,
    InvalidTaskType,
    InvalidTimeout,
    InvalidUnique,
    PayloadTooLarge,
)
from taskflow.errors.root import TaskFlowError

__all__ = [
    "AggregateFailed",
    "AttemptCancelled",
    "AttemptError",
    "AttemptFailed",
    "AttemptTimedOut",
    "BrokerUnavailable",
    "ConfigError",
    "DuplicateTask",
    "Forbidden",
    "HandlerExit",
    "HandlerNotFound",
    "HandlerSignal",
    "IdempotencyConflict",
    "InvalidCallbackUrl",
    "InvalidOption",
    "InvalidPayload",
    "InvalidProcessAt",
    "InvalidQueue",
    "InvalidSignature",
    "InvalidTaskId",
    "InvalidTaskState",
    "InvalidTaskType",
    "InvalidTimeout",
    "InvalidUnique",
    "MessageInvalid",
    "NoCurrentTask",
    "PayloadTooLarge",
    "ProgressNotFound",
    "QueueActive",
    "QueueNotEmpty",
    "QueueNotFound",
    "ResultTimeout",
    "Retry",
    "RevokeTask",
    "ScheduleElsewhere",
    "ScheduleExists",
    "ScheduleNotFound",
    "ServerNotDrainable",
    "ServerNotFound",
    "SkipRetry",
    "StartFailed",
    "TargetFailed",
    "TargetRefused",
    "TargetUnreachable",
    "TaskActive",
    "TaskConflict",
    "TaskFailed",
    "TaskFinished",
    "TaskFlowError",
    "TaskIdTaken",
    "TaskNotFound",
    "TaskNotScheduled",
    "TaskPending",
    "TaskTypeNotFound",
    "UnsupportedServer",
    "WorkerDied",
]
