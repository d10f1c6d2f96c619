"""Queues, as the JSON contract has them."""

from __future__ import annotations

from datetime import timedelta

from msgspec import Struct

from taskflow.task import QueueInfo


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
