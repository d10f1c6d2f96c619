"""Queues, as the JSON contract has them."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from msgspec import Struct

from taskflow.task import DailyStats, GroupInfo, QueueInfo


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


class QueueDetails(QueueBody, frozen=True, kw_only=True):
    """A queue, and about how many bytes of Redis memory it takes: estimated by samples of its tasks."""

    memory_bytes: int


class DayBody(Struct, frozen=True):
    """What a queue did on a UTC day: attempts processed, those that failed too, and how many of them failed."""

    date: date
    processed: int
    failed: int


class GroupBody(Struct, frozen=True):
    """A group of a queue: how many tasks wait in it to be aggregated."""

    group: str
    size: int


class QueueDeleted(Struct, frozen=True):
    """A queue that was removed, and how many tasks were in it."""

    message: str
    tasks: int


def queue(info: QueueInfo) -> QueueBody:
    """A queue."""
    return QueueBody(**_common(info))


def details(info: QueueInfo, memory: int) -> QueueDetails:
    """A queue, and about how much memory (bytes) it takes."""
    return QueueDetails(**_common(info), memory_bytes=memory)


def day(stats: DailyStats) -> DayBody:
    """What a queue did on a day."""
    return DayBody(stats.day, stats.processed, stats.failed)


def group(info: GroupInfo) -> GroupBody:
    """A group of a queue."""
    return GroupBody(info.name, info.size)


def _common(info: QueueInfo) -> dict[str, Any]:
    return {
        "queue": info.queue,
        "pending": info.pending,
        "active": info.active,
        "scheduled": info.scheduled,
        "retry": info.retry,
        "archived": info.archived,
        "completed": info.completed,
        "aggregating": info.aggregating,
        "size": info.size,
        "processed": info.processed,
        "failed": info.failed,
        "processed_total": info.processed_total,
        "failed_total": info.failed_total,
        "paused": info.paused,
        "latency_ms": info.latency // timedelta(milliseconds=1),
    }
