"""Discovery: finds the queues that a worker's patterns mean, as they come and go."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection

import structlog

from taskflow.broker.queue import Broker
from taskflow.broker.subscriptions import Listener
from taskflow.errors import BrokerUnavailable, TaskFlowError
from taskflow.worker.queue_set import QueueSet

_LOG = structlog.get_logger("taskflow.worker")

LOOK_EVERY = 1.0
"""How often (s) to look for queues without being told of one: Go's clients announce nothing."""
_MOST_NAMED = 20
"""How many names a log line holds."""


class Discovery:
    """Keeps a set of queues up to date.

    Args:
        broker: Where the queues are.
        queues: The set.
        changed: Called when others are served than before.

    """

    def __init__(self, broker: Broker, queues: QueueSet, *, changed: Callable[[], None]) -> None:
        self._broker = broker
        self._queues = queues
        self._changed = changed
        self._served = dict(queues)
        self._patterns = queues.patterns
        self._listener: Listener | None = None
        queues.on_change = self._compare

    async def look(self) -> None:
        """Look which queues there are. Without a pattern there is nothing to find."""
        if self._queues.patterns:
            self._queues.find(await self._broker.queue_names())

    def _compare(self) -> None:
        before, self._served = self._served, dict(self._queues)
        if self._served != before:
            new, gone = self._served.keys() - before.keys(), before.keys() - self._served.keys()
            _LOG.info("other queues are served", new=_some(new), gone=_some(gone), queues=len(self._served))
            self._changed()
        if self._queues.patterns != self._patterns:
            self._patterns = self._queues.patterns
            if self._listener is not None:
                self._listener.notify()

    async def keep_looking(self, listener: Listener) -> None:
        """Look once a second, and at once when a client names a new queue."""
        self._listener = listener
        while True:
            try:
                await self.look()
            except BrokerUnavailable:
                pass  # the fetcher says so
            except TaskFlowError:
                _LOG.exception(
                    "Redis refused to name the queues; is another kind of value under the key of their names?"
                )
            wait = LOOK_EVERY * random.uniform(0.8, 1.0) if self._queues.patterns else None  # noqa: S311 - jitter
            await self._concerned(listener, wait)

    async def _concerned(self, listener: Listener, wait: float | None) -> None:
        """Return when the time is over, or when one of this set's queues may be new."""
        names = await listener.wait(wait)
        while names and not any(self._queues.means(name.decode(errors="replace")) for name in names):
            names = await listener.wait(wait)


def _some(queues: Collection[str]) -> list[str]:
    return sorted(queues)[:_MOST_NAMED]
