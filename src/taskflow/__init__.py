"""TaskFlow: a distributed task queue on Redis that speaks asynq's format.

This is the public door; everything else may move. Behind it, a module imports only lower floors:
errors, checks, durations, signals, urls, webhooks, unique, task, cron, config [0] < wire [1] < broker [2] < client, worker [3] < application,
observability, scheduler [4] < app, testing, api [5] < asgi [7] < cli [8].

The names are imported when first used: a program that only wants to print its help does not wait for a Redis client.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskflow.app import TaskFlow
    from taskflow.broker.inspector import Inspector
    from taskflow.broker.queue import Broker
    from taskflow.broker.schedule_entry import ScheduleEntry
    from taskflow.broker.schedules import ScheduleStore
    from taskflow.client import Client, SyncClient
    from taskflow.definition import TaskDefinition
    from taskflow.errors import (
        BrokerUnavailable,
        DuplicateTask,
        InvalidOption,
        InvalidPayload,
        ResultTimeout,
        Retry,
        RevokeTask,
        ScheduleElsewhere,
        ScheduleExists,
        ScheduleNotFound,
        SkipRetry,
        TaskConflict,
        TaskFailed,
        TaskFlowError,
        TaskIdTaken,
        TaskNotFound,
    )
    from taskflow.scheduler import Scheduler
    from taskflow.task import (
        DailyStats,
        GroupInfo,
        Progress,
        QueueInfo,
        ServerInfo,
        Task,
        TaskInfo,
        TaskOptions,
        TaskState,
    )
    from taskflow.unique import Unique
    from taskflow.worker.backoff import exponential
    from taskflow.worker.context import TaskContext, current_context
    from taskflow.worker.dependencies import Depends
    from taskflow.worker.options import WorkerOptions
    from taskflow.worker.registry import Registry
    from taskflow.worker.retry_policy import RetryPolicy
    from taskflow.worker.server import Worker

__version__ = "0.1.0"

_HOMES = {
    "Broker": "taskflow.broker.queue",
    "BrokerUnavailable": "taskflow.errors",
    "Client": "taskflow.client",
    "DailyStats": "taskflow.task",
    "Depends": "taskflow.worker.dependencies",
    "DuplicateTask": "taskflow.errors",
    "GroupInfo": "taskflow.task",
    "Inspector": "taskflow.broker.inspector",
    "InvalidOption": "taskflow.errors",
    "InvalidPayload": "taskflow.errors",
    "Progress": "taskflow.task",
    "QueueInfo": "taskflow.task",
    "Registry": "taskflow.worker.registry",
    "ResultTimeout": "taskflow.errors",
    "Retry": "taskflow.errors",
    "RetryPolicy": "taskflow.worker.retry_policy",
    "RevokeTask": "taskflow.errors",
    "ScheduleElsewhere": "taskflow.errors",
    "ScheduleEntry": "taskflow.broker.schedule_entry",
    "ScheduleExists": "taskflow.errors",
    "ScheduleNotFound": "taskflow.errors",
    "ScheduleStore": "taskflow.broker.schedules",
    "Scheduler": "taskflow.scheduler",
    "ServerInfo": "taskflow.task",
    "SkipRetry": "taskflow.errors",
    "SyncClient": "taskflow.client",
    "Task": "taskflow.task",
    "TaskConflict": "taskflow.errors",
    "TaskContext": "taskflow.worker.context",
    "TaskDefinition": "taskflow.definition",
    "TaskFailed": "taskflow.errors",
    "TaskFlow": "taskflow.app",
    "TaskFlowError": "taskflow.errors",
    "TaskIdTaken": "taskflow.errors",
    "TaskInfo": "taskflow.task",
    "TaskNotFound": "taskflow.errors",
    "TaskOptions": "taskflow.task",
    "TaskState": "taskflow.task",
    "Unique": "taskflow.unique",
    "Worker": "taskflow.worker.server",
    "WorkerOptions": "taskflow.worker.options",
    "current_context": "taskflow.worker.context",
    "exponential": "taskflow.worker.backoff",
}
"""Where each public name lives."""


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'taskflow' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted({*globals(), *__all__})


__all__ = [
    "Broker",
    "BrokerUnavailable",
    "Client",
    "DailyStats",
    "Depends",
    "DuplicateTask",
    "GroupInfo",
    "Inspector",
    "InvalidOption",
    "InvalidPayload",
    "Progress",
    "QueueInfo",
    "Registry",
    "ResultTimeout",
    "Retry",
    "RetryPolicy",
    "RevokeTask",
    "ScheduleElsewhere",
    "ScheduleEntry",
    "ScheduleExists",
    "ScheduleNotFound",
    "ScheduleStore",
    "Scheduler",
    "ServerInfo",
    "SkipRetry",
    "SyncClient",
    "Task",
    "TaskConflict",
    "TaskContext",
    "TaskDefinition",
    "TaskFailed",
    "TaskFlow",
    "TaskFlowError",
    "TaskIdTaken",
    "TaskInfo",
    "TaskNotFound",
    "TaskOptions",
    "TaskState",
    "Unique",
    "Worker",
    "WorkerOptions",
    "current_context",
    "exponential",
]
