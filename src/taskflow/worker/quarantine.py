"""Quarantine: runs tasks that two workers have died with alone, one after the other.

When a worker dies, nobody knows which of its tasks killed it, so the death counts for all that it had begun. At the third
death a task is archived; so that it is the right one, a task that may be it runs without any other. If the worker dies
again, then with this task only.

Suspects are taken like other tasks, but not begun: as long as they wait here, a death of this worker does not count for
them. The worker takes nothing else until what it runs has ended, runs suspects for a while, and then other tasks for as
long as that took, so that it is at most half of the time kept from these. Tasks that run for very long are not waited for:
suspects then run beside them, but still one at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

import structlog

from taskflow.broker.delivery import Begun, Delivery, Requeue
from taskflow.broker.queue import Broker
from taskflow.errors import BrokerUnavailable, TaskFlowError
from taskflow.worker.completer import Completer
from taskflow.worker.executor import Executor
from taskflow.worker.fetcher import Fetcher

_LOG = structlog.get_logger("taskflow.worker")

TURN = 5.0
"""For how long (s) suspects are run before other tasks have their turn; the last one may take longer."""
PATIENCE = 60.0
"""How long (s) to wait for the end of a task, suspect or not, before others are begun beside it."""
LEAST_PAUSE = 0.1
"""The shortest turn (s) of other tasks."""
_OUTAGE = 0.5
"""How long (s) to wait before the next try while Redis does not answer."""
_CHECK = 0.005


class Quarantine:
    """The suspects that this worker holds.

    Args:
        broker: Where they are.
        fetcher: Is told to take nothing.
        executor: Runs them.
        completer: Has the outcomes that are not settled yet.
        leases: The deliveries whose lease the heartbeat keeps; a task is over when its is no longer among them.

    """

    def __init__(
        self, broker: Broker, fetcher: Fetcher, executor: Executor, completer: Completer, leases: set[Delivery]
    ) -> None:
        self._broker = broker
        self._fetcher = fetcher
        self._executor = executor
        self._completer = completer
        self._leases = leases
        self._waiting: deque[Delivery] = deque()
        self._long: set[Delivery] = set()
        """What has been waited for in vain."""
        self._arrived = asyncio.Event()

    def add(self, delivery: Delivery) -> None:
        """Hold a suspect until its turn comes."""
        self._waiting.append(delivery)
        self._arrived.set()

    def put_back(self) -> None:
        """Give back what has not been begun: the worker stops."""
        while self._waiting:
            self._completer.add(self._waiting.popleft(), Requeue())

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._arrived.wait()
            began_at = time.monotonic()
            _LOG.warning("tasks that two workers have died with are run alone", tasks=len(self._waiting))
            self._fetcher.hold()
            try:
                await self._run_turn()
            finally:
                self._fetcher.go_on()
            if not self._waiting:
                self._arrived.clear()
            elif len(self._waiting) < self._executor.concurrency:
                await asyncio.sleep(max(LEAST_PAUSE, time.monotonic() - began_at))

    async def _run_turn(self) -> None:
        """Wait until nothing else is under way, and run suspects for a while."""
        await self._wait(lambda: self._fetcher.fetching or bool(self._others()))
        self._long |= self._others()
        until = time.monotonic() + TURN
        while self._waiting:
            await self._run_alone(self._waiting[0])
            if time.monotonic() >= until:
                break

    async def _run_alone(self, delivery: Delivery) -> None:
        try:
            begun = await self._broker.begin(delivery)
        except TaskFlowError as error:
            if not isinstance(error, BrokerUnavailable):
                _LOG.exception("Redis refused a queue's command; is another kind of value under its key?")
            await asyncio.sleep(_OUTAGE)
            return
        if not self._waiting or self._waiting[0] is not delivery:
            return  # put back meanwhile
        self._waiting.popleft()
        if begun is Begun.REFUSED:
            self._leases.discard(delivery)
            return
        delivery.cancelled = begun is Begun.TO_BE_STOPPED
        self._executor.start(delivery)
        await self._wait(lambda: delivery in self._leases)
        if delivery in self._leases:
            self._long.add(delivery)

    def _others(self) -> set[Delivery]:
        """Return what is under way beside the suspects that wait."""
        self._long &= self._leases
        return self._leases - self._long - set(self._waiting)

    @staticmethod
    async def _wait(lasts: Callable[[], bool]) -> None:
        """Wait until a condition is over, or patience is."""
        until = time.monotonic() + PATIENCE
        while lasts() and time.monotonic() < until:  # noqa: ASYNC110 - it is rare
            await asyncio.sleep(_CHECK)
