"""Drain: how a worker comes to its end. What runs may end, the rest is put back, and Redis takes every outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

import structlog

from taskflow.worker import loops
from taskflow.worker.aggregator import Aggregator
from taskflow.worker.completer import Completer
from taskflow.worker.executor import Executor
from taskflow.worker.fetcher import Fetcher
from taskflow.worker.outcome import Stop
from taskflow.worker.quarantine import Quarantine

_LOG = structlog.get_logger("taskflow.worker")
_SETTLE = 5.0
"""How long (s) to go on trying to settle what has ended."""
_GIVE_BACK = 2.0
"""How long (s) to try to give back the tasks of handlers that no cancellation ends."""
_CHECK = 0.01


class Teller(Protocol):
    """Says something of tasks that have ended."""

    @property
    def busy(self) -> bool:
        """Whether it has more to say."""


class Drain:
    """Brings the parts of a worker to rest.

    Args:
        fetcher: Takes no more tasks.
        executor: Runs what is under way.
        completer: Has the outcomes that are not settled yet.
        aggregator: Closes no more groups.
        quarantine: Has tasks that have not been begun.
        tellers: Are heard out.

    """

    def __init__(
        self,
        fetcher: Fetcher,
        executor: Executor,
        completer: Completer,
        aggregator: Aggregator,
        quarantine: Quarantine,
        *,
        tellers: Sequence[Teller],
    ) -> None:
        self._fetcher = fetcher
        self._executor = executor
        self._completer = completer
        self._aggregator = aggregator
        self._quarantine = quarantine
        self._tellers = tellers

    async def run(self, seconds: float, hurry: asyncio.Event) -> None:
        """Let what runs end for so long, or until there is a hurry, and put back what has not."""
        self._fetcher.stop()
        self._quarantine.put_back()
        self._aggregator.stop()
        _LOG.info("stopping: no more tasks are taken", running=len(self._executor.running))
        await loops.wait_at_most(seconds, self._finish_all(), hurry.wait())
        await loops.wait_at_most(_SETTLE, self._settle_all())
        if self._executor.running:
            for run in self._executor.running:
                self._executor.give_up(run)
            await loops.wait_at_most(_GIVE_BACK, self._settle_all())

    async def _finish_all(self) -> None:
        """Wait until nothing runs, and no round trip is under way that may bring more."""
        while self._fetcher.fetching:  # noqa: ASYNC110 - a round trip or two, once in a worker's life
            await asyncio.sleep(_CHECK)
        await self._executor.drain()
        await self._aggregator.drain()

    async def _settle_all(self) -> None:
        """Put back what still runs or is yet delivered, and wait until Redis has taken every outcome, and all is told."""
        self._quarantine.put_back()
        while self._fetcher.fetching or self._executor.running or self._completer.owed or self._untold:
            for run in self._executor.running:
                self._executor.stop(run, Stop.SHUTDOWN)
            self._fetcher.news()
            await asyncio.sleep(_CHECK)

    @property
    def _untold(self) -> bool:
        return any(teller.busy for teller in self._tellers)
