"""The tasks that are measured: type `noop` with a payload of 40 bytes, as the Go program's."""

from __future__ import annotations

from datetime import timedelta
from itertools import repeat

from bench import processes
from taskflow.client import SyncClient
from taskflow.task import Task, TaskOptions
from taskflow.wire.keys import queue_keys

NOOP = "noop"
PAYLOAD = b"x" * 40
FIELDS = b'{"to":"someone@example.org","n":1234567}'
"""As many bytes, as JSON for a handler with parameters."""
QUEUE = "default"
RETENTION = timedelta(hours=1)


def empty(url: str) -> None:
    """Remove everything from a server."""
    with processes.admin(url) as redis:
        redis.flushall()


def fill(url: str, count: int, *, payload: bytes = PAYLOAD, keep: bool = False, queue: str = QUEUE) -> None:
    """Enqueue tasks; `keep` gives them a retention of an hour."""
    options = TaskOptions(queue=queue, retention=RETENTION) if keep else TaskOptions(queue=queue)
    task = Task(NOOP, payload, options)
    with SyncClient(url) as client:
        client.enqueue_many(repeat(task, count))


def pending(url: str) -> int:
    """Return how many tasks wait."""
    with processes.admin(url) as redis:
        return int(redis.llen(queue_keys(QUEUE).pending))


def processed(url: str) -> int:
    """Return how many tasks were settled as processed."""
    with processes.admin(url) as redis:
        return int(redis.get(queue_keys(QUEUE).processed) or 0)


def check_drained(url: str, count: int) -> None:
    """Check that a drain has settled exactly these tasks and that nothing is left: figures of lost tasks are worthless."""
    keys = queue_keys(QUEUE)
    with processes.admin(url) as redis:
        settled = int(redis.get(keys.processed) or 0)
        left = int(redis.llen(keys.pending)) + int(redis.llen(keys.active)) + int(redis.zcard(keys.lease))
    if settled != count or left:
        raise processes.ChildFailed(f"{settled} tasks were settled, not {count}; {left} entries are left")
