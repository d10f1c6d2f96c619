"""LastWords: the last progress entry of a task, which the worker writes when the task has ended for good."""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from taskflow.broker.clock import Clock
from taskflow.broker.delivery import Archive, Delivery, Outcome, Requeue, Retry
from taskflow.broker.progress import ProgressStream
from taskflow.errors import BrokerUnavailable
from taskflow.task import Progress

_LOG = structlog.get_logger("taskflow.worker")


class LastWords:
    """Writes the last entries, for tasks whose handlers have published progress.

    Args:
        progress: Where they go.
        clock: The one clock.

    """

    def __init__(self, progress: ProgressStream, *, clock: Clock) -> None:
        self._progress = progress
        self._clock = clock
        self._writing: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> bool:
        """Whether an entry is being written."""
        return bool(self._writing)

    def add(self, delivery: Delivery, outcome: Outcome) -> None:
        """Write the last entry of a task that has been settled, if it has ended and has published any."""
        last = delivery.last_progress
        if last is not None and (status := _final_status(outcome)):
            task = asyncio.create_task(self._publish(_last_entry(last, status, self._clock.now()), status))
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)

    async def _publish(self, entry: Progress, status: str) -> None:
        try:
            await self._progress.publish(entry, status=status)
        except BrokerUnavailable as error:
            _LOG.warning("the last progress entry of a task was not written", task_id=entry.task_id, error=str(error))


def _final_status(outcome: Outcome) -> str | None:
    """Return the status of a task's last progress entry; None while it has not ended."""
    match outcome:
        case Archive(cancelled=True):
            return "cancelled"
        case Archive():
            return "failed"
        case Retry() | Requeue():
            return None
    return "completed"


def _last_entry(last: Progress, status: str, now: float) -> Progress:
    percentage = 100.0 if status == "completed" else last.percentage
    return msgspec.structs.replace(last, percentage=percentage, stage=status, timestamp_ms=int(now * 1000))
