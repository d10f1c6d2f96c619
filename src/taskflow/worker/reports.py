"""Reports: what running handlers say of how far they have come. It must not cost a task its life."""

from __future__ import annotations

import structlog

from taskflow.broker.progress import ProgressStream
from taskflow.errors import BrokerUnavailable
from taskflow.task import Progress

_LOG = structlog.get_logger("taskflow.worker")


class Reports:
    """Publishes progress; what Redis cannot take, because its memory is full or it does not answer, is dropped.

    Args:
        stream: Where it is published.

    """

    def __init__(self, stream: ProgressStream) -> None:
        self._stream = stream
        self._taken = True

    async def publish(self, progress: Progress) -> None:
        """Publish an entry, or drop it; the first of several that are dropped is logged."""
        try:
            await self._stream.publish(progress)
        except BrokerUnavailable as error:
            if self._taken:
                _LOG.warning("progress is dropped: Redis cannot take it", task_id=progress.task_id, error=str(error))
            self._taken = False
        else:
            self._taken = True
