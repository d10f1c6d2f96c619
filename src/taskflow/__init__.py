"""TaskFlow: a distributed task queue on Redis that speaks asynq's format.

This is the public door; everything else may move. Behind it, a module imports only lower floors:
errors, task, durations, config [0] < wire [1] < broker [2] < client, worker [3] < app, application, observability [4]
< api [5] < asgi [7] < cli [8].
"""

from taskflow.app import TaskDefinition, TaskFlow
from taskflow.broker.inspector import Inspector
from taskflow.broker.queue import Broker
from taskflow.client import Client, SyncClient
from taskflow.errors import (
    BrokerUnavailable,
    DuplicateTask,
    InvalidOption,
    InvalidPayload,
    ResultTimeout,
    Retry,
    RevokeTask,
    SkipRetry,
    TaskConflict,
    TaskFailed,
    TaskFlowError,
    TaskIdTaken,
    TaskNotFound,
)
from taskflow.task import Progress, QueueInfo, ServerInfo, Task, TaskInfo, TaskOptions, TaskState
from taskflow.worker.context import TaskContext
from taskflow.worker.registry import Registry
from taskflow.worker.server import Worker, WorkerOptions

__version__ = "0.1.0"

__all__ = [
    "Broker",
    "BrokerUnavailable",
    "Client",
    "DuplicateTask",
    "Inspector",
    "InvalidOption",
    "InvalidPayload",
    "Progress",
    "QueueInfo",
    "Registry",
    "ResultTimeout",
    "Retry",
    "RevokeTask",
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
    "Worker",
    "WorkerOptions",
]
