"""The name of every Redis key.

Source: the key table in docs/wire-format.md. A queue's name stands in literal braces, so that all keys of a queue share
one cluster slot. Keys of our own start with `taskflow:`; asynq never touches them.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import lru_cache

ALL_QUEUES = "asynq:queues"
ALL_SERVERS = "asynq:servers"
ALL_WORKERS = "asynq:workers"
ALL_SCHEDULERS = "asynq:schedulers"
CANCEL_CHANNEL = "asynq:cancel"
"""Pub/sub: the id of a task to stop."""
SCHEDULER_KEY = f"{ALL_SCHEDULERS}:{{taskflow}}"
"""LIST: protobuf SchedulerEntry of each periodic task kept in Redis; all schedulers share it."""
CODE_SCHEDULER_PREFIX = f"{ALL_SCHEDULERS}:{{taskflow/"
"""LIST, followed by a digest and `}`: the same of the periodic tasks of a program's code; its replicas share it."""
SCHEDULE_HISTORY = "asynq:scheduler_history:"
"""ZSET, followed by an entry's id: enqueue time (Unix s) -> protobuf SchedulerEnqueueEvent."""
SCHEDULES = "taskflow:schedules"
"""HASH: id -> JSON of a periodic task kept in Redis."""
SCHEDULES_CODE = "taskflow:schedules:code"
"""HASH: id -> JSON of a periodic task of a program's code, and when (Unix s) a scheduler last had it."""
SCHEDULES_FIRED = "taskflow:schedules:fired"
"""HASH: id -> up to when (Unix s) the times of a periodic task are done with, and the last of them."""
SCHEDULES_PAUSED = "taskflow:schedules:paused"
"""SET: ids of periodic tasks that are paused."""
SCHEDULE_NEWS = "taskflow:schedules:news"
"""Pub/sub: the id of a periodic task that was changed."""
TASK_TYPES = "taskflow:types"
"""HASH: `@` and the id of a version of a task type -> JSON of what its workers say of it; with `:seen` behind: when they last
did (Unix s). A task type -> the same JSON, from workers of the release before that."""
SERVED_TYPES = f"{TASK_TYPES}:servers:"
"""STRING, followed by a server's `host:pid:id`: the ids of the versions that it serves, with spaces between, for 3 minutes."""
IDEMPOTENCY = "taskflow:idempotency:"
"""STRING, followed by a digest of a client's Idempotency-Key: digest of the body that came with it first, for a day."""
SAMPLES_TURN = "taskflow:samples:turn"
"""STRING: somebody samples the queues in this step of time; it is gone when the step is over."""
TALLIES = "taskflow:tallies:"
"""HASH, followed by a UTC day or hour (`2026-01-31`, `2026-01-31T23`): how attempts at each type ended, and how long they took."""
STALLS = "taskflow:stalls:"
"""STRING, followed by a server's id: JSON of the last time its event loop was blocked, for ten minutes."""
ORDERS = "taskflow:orders:"
"""STRING, followed by a server's id: what it is told to do (`drain`), or nothing. It is there while the server takes orders."""
ORDER_CHANNEL = "taskflow:orders"
"""Pub/sub: the id of a server that is told to do something."""
QUEUE_NEWS = "taskflow:queues:news"
"""Pub/sub: a queue whose name has just come into `asynq:queues`."""
DUE_CHANNEL = "taskflow:due"
"""Pub/sub: a queue whose next scheduled task has come nearer."""
ENDED_CHANNEL = "taskflow:ended:"
"""Pub/sub, followed by a task's id: its end, as the name of its last state."""
PROGRESS_STREAM = "progress:"
"""STREAM, followed by a task's id: the progress it published."""
PROGRESS_CHANNEL = "taskflow:progress:"
"""Pub/sub, followed by a task's id: a new entry stands in its progress stream."""


class QueueKeys:
    """The keys of one queue, spelled once. Get them from `queue_keys`."""

    __slots__ = (
        "active",
        "aggregation_sets",
        "archived",
        "completed",
        "due",
        "failed",
        "group_prefix",
        "groups",
        "lease",
        "once_prefix",
        "outbox",
        "paused",
        "pending",
        "prefix",
        "processed",
        "queue",
        "removed",
        "removed_prefix",
        "retry",
        "samples_prefix",
        "scheduled",
        "task_prefix",
        "unique_prefix",
    )

    def __init__(self, queue: str) -> None:
        self.queue = queue
        self.prefix = f"asynq:{{{queue}}}:"
        self.task_prefix = self.prefix + "t:"
        self.group_prefix = self.prefix + "g:"
        self.unique_prefix = self.prefix + "unique:"
        self.pending = self.prefix + "pending"
        self.active = self.prefix + "active"
        self.lease = self.prefix + "lease"
        self.scheduled = self.prefix + "scheduled"
        self.retry = self.prefix + "retry"
        self.archived = self.prefix + "archived"
        self.completed = self.prefix + "completed"
        self.paused = self.prefix + "paused"
        self.processed = self.prefix + "processed"
        self.failed = self.prefix + "failed"
        self.groups = self.prefix + "groups"
        self.aggregation_sets = self.prefix + "aggregation_sets"
        self.once_prefix = f"taskflow:{{{queue}}}:once:"
        """STRING, followed by a text: the id of the task that was stored under it, for a day."""
        self.outbox = f"taskflow:{{{queue}}}:outbox"
        """HASH: id -> notice (notice.py) of a task that ended and has a callback URL, until its webhook is enqueued."""
        self.removed = f"taskflow:{{{queue}}}:removed"
        """STRING: a text for each removal of the queue, for a minute."""
        self.removed_prefix = f"{self.removed}:"
        """Followed by `pending`, `scheduled`…: what a removed queue held, while it is being deleted."""
        self.samples_prefix = f"taskflow:{{{queue}}}:samples:"
        """LIST, followed by a span (`1h`): MessagePack of how the queue stood, the newest last."""
        self.due = f"taskflow:{{{queue}}}:due"
        """ZSET: id -> exact due time (Unix s) of scheduled and retry tasks whose time is not a whole second."""

    def task(self, task_id: str) -> str:
        """The hash of a task."""
        return self.task_prefix + task_id

    def processed_on(self, day: str) -> str:
        """The counter of tasks processed on a UTC day (`day_name`)."""
        return f"{self.processed}:{day}"

    def failed_on(self, day: str) -> str:
        """The counter of tasks failed on a UTC day (`day_name`)."""
        return f"{self.failed}:{day}"

    def group(self, group: str) -> str:
        """The members of a group."""
        return self.group_prefix + group

    def unique(self, task_type: str, payload: bytes | None) -> str:
        """The unique lock of a type and payload. As in asynq, no payload and an empty one are two different locks."""
        digest = "" if payload is None else hashlib.md5(payload, usedforsecurity=False).hexdigest()
        return f"{self.unique_prefix}{task_type}:{digest}"


@lru_cache(maxsize=4096)
def queue_keys(queue: str) -> QueueKeys:
    """Return the keys of a queue."""
    return QueueKeys(queue)


def day_name(unix_seconds: float) -> str:
    """Return the UTC day of a time, as asynq's daily counters name it: `2026-01-31`."""
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%d")


def server_key(host: str, pid: int, server_id: str) -> str:
    """The protobuf ServerInfo of a worker server."""
    return f"{ALL_SERVERS}:{{{host}:{pid}:{server_id}}}"


def workers_key(host: str, pid: int, server_id: str) -> str:
    """The hash of what a worker server runs now."""
    return f"{ALL_WORKERS}:{{{host}:{pid}:{server_id}}}"


def served_types_key(host: str, pid: int, server_id: str) -> str:
    """Which versions of task types a worker server serves."""
    return f"{SERVED_TYPES}{host}:{pid}:{server_id}"
