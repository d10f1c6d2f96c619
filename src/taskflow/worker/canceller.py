"""Canceller: listens for cancellations and stops the tasks they mean."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from taskflow.broker.queue import Broker
from taskflow.broker.subscriptions import Listener
from taskflow.errors import BrokerUnavailable
from taskflow.worker.executor import Executor, Run
from taskflow.worker.outcome import Stop

_PAUSE = 0.5
"""How long (s) to wait before the next try while Redis does not answer."""
_RECHECK = 5.0
"""How often (s) to look for marks whose message was missed: it was published while the connection was down."""


class Canceller:
    """Stops running tasks.

    asynq's message names an id alone, and ids are unique only within a queue. So a task that carries the mark of a
    cancellation is stopped for good; only where no task of that id does, all of them are stopped, as asynq would.
    """

    def __init__(self, broker: Broker, executor: Executor) -> None:
        self._broker = broker
        self._executor = executor

    async def run(self, listener: Listener) -> None:
        """Work until cancelled."""
        while True:
            messages = await listener.wait(_RECHECK)
            try:
                await self.stop_marked({message.decode(errors="replace") for message in messages})
            except BrokerUnavailable:
                await asyncio.sleep(_PAUSE)
                listener.notify()

    async def stop_marked(self, named: set[str]) -> None:
        """Stop what carries a mark, and what was named by a message and carries none."""
        running = self._executor.running
        if not running:
            return
        marks = await self._broker.cancelled([run.delivery for run in running])
        marked = [run for run, mark in zip(running, marks, strict=True) if mark]
        self._stop(marked, Stop.CANCELLED)
        meant = named - {run.delivery.id for run in marked}
        self._stop([run for run in running if run.delivery.id in meant], Stop.SIGNALLED)

    def _stop(self, runs: Sequence[Run], why: Stop) -> None:
        for run in runs:
            self._executor.stop(run, why)
