"""Maintenance: the sweeps that keep queues in order. Every worker does them; each move is one script, made once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress

import structlog
from msgspec import Struct

from taskflow.broker.delivery import Archive, Delivery, Expired, Outcome, Requeue, Settled
from taskflow.broker.groups import Groups
from taskflow.broker.queue import Broker
from taskflow.broker.servers import ServerRecords
from taskflow.broker.steering import CANCELLED
from taskflow.broker.subscriptions import Listener
from taskflow.errors import BrokerUnavailable, TaskFlowError
from taskflow.wire.message import UNDECODABLE
from taskflow.worker import outcome as policy

_LOG = structlog.get_logger("taskflow.worker")

FORWARD_AT_LEAST = 1.0
"""How often (s) to look for due tasks without being told of a nearer one: Go's clients announce nothing."""
RECOVER = 5.0
ORPHANS = 60.0
CLEAN = 8.0
RECLAIM = 5.0
"""How often (s) to look for lost tasks, for active ones without a lease, for expired ones, and for abandoned sets."""
SWEPT_AT_ONCE = 200
"""How many queues one round trip of a sweep is for."""
GRACE = 30.0
"""How long (s) after the end of its lease a task is left alone unless its server is known to be gone, as in asynq."""


class Sweep(Struct, frozen=True):
    """A piece of maintenance and how often (s) it is done."""

    name: str
    every: float
    run: Callable[[], Awaitable[object]]


class Maintenance:
    """The sweeps over a worker's queues.

    Args:
        broker: Where the queues are.
        queues: Their names; read anew for each sweep.
        worker: This server's name in the records of given-up tasks.
        settled: Called for each lost task that was settled, with its outcome.
        grace: See `GRACE`.
        recover_every: See `RECOVER`.
        server_id: This server's id: it knows of itself that it lives.
        trust_after: How long (s) Redis must have answered before a server that is not seen counts as gone. After an
            outage every record has expired, and the living need a beat or two to come back.

    """

    def __init__(
        self,
        broker: Broker,
        queues: Collection[str],
        *,
        worker: str,
        settled: Callable[[Delivery, Outcome], None] = lambda *_: None,
        server_id: str = "",
        grace: float = GRACE,
        recover_every: float = RECOVER,
        trust_after: float = 0.0,
    ) -> None:
        self._broker = broker
        self._groups = Groups(broker)
        self._queues = queues
        self._worker = worker
        self._settled = settled
        self._grace = grace
        self._server_id = server_id
        self._trust_after = trust_after
        self._answering_since: float | None = None
        self._nearer_due = asyncio.Event()
        self._next_due = float("inf")
        self.sweeps = (
            Sweep("recover", recover_every, self.recover),
            Sweep("orphans", ORPHANS, self.recover_orphans),
            Sweep("clean", CLEAN, self.clean),
            Sweep("reclaim groups", RECLAIM, self.reclaim_groups),
        )

    def _parts(self) -> list[list[str]]:
        """The queues as they are now, not too many at once: a round trip must keep neither Redis nor the event loop busy."""
        queues = list(self._queues)
        return [queues[first : first + SWEPT_AT_ONCE] for first in range(0, len(queues), SWEPT_AT_ONCE)]

    # -- forward ------------------------------------------------------------------------------------------------------

    def due_at(self, moment: float | None) -> None:
        """Note that a task falls due at a time (Unix s); None if the time is not known."""
        if moment is None or moment < self._next_due:
            self._nearer_due.set()

    async def forward(self) -> None:
        """Make due tasks pending, and note when the next falls due."""
        self._nearer_due.clear()
        nearest = [await self._broker.forward(queues) for queues in self._parts()]
        self._next_due = min(filter(None, nearest), default=float("inf"))

    async def keep_forwarding(self) -> None:
        """Forward whenever a task falls due, without a fixed beat."""
        while True:
            try:
                await self.forward()
            except BrokerUnavailable:
                self._next_due = float("inf")
            except TaskFlowError:
                self._next_due = float("inf")
                _LOG.exception("Redis refused to forward; is another kind of value under a queue's key?")
            wait = min(FORWARD_AT_LEAST, self._next_due - self._broker.clock.now())
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, wait)):
                    await self._nearer_due.wait()

    async def keep_listening(self, listener: Listener) -> None:
        """Forward sooner when a client says that a nearer task has been scheduled."""
        while True:
            named = await listener.wait()
            if not {queue.encode() for queue in self._queues}.isdisjoint(named):
                self.due_at(None)

    # -- recover ------------------------------------------------------------------------------------------------------

    async def recover(self) -> int:
        """Give lost tasks back to their queues: their lease has ended, and their server is gone or silent for the grace.

        Returns how many. A task that three workers have died with is archived; one that was cancelled too.
        """
        try:
            return await self._recover()
        except BrokerUnavailable:
            self._answering_since = None
            raise

    async def _recover(self) -> int:
        now = self._broker.clock.now()
        expired = [task for queues in self._parts() for task in await self._broker.expired(queues, cutoff=now)]
        if self._answering_since is None:
            self._answering_since = now
        if not expired:
            return 0
        alive = {self._server_id, *await ServerRecords(self._broker).alive()}
        trusted = now - self._answering_since >= self._trust_after
        cutoff = now - self._grace
        lost = [task for task in expired if task.delivery.expiry <= cutoff or (trusted and _gone(task, alive))]
        return await self._settle(lost)

    async def recover_orphans(self) -> int:
        """Give active tasks without any lease back to their queues; returns how many."""
        return sum([await self._settle(await self._broker.orphans(queues)) for queues in self._parts()])

    async def _settle(self, lost: Sequence[Expired]) -> int:
        if not lost:
            return 0
        now = self._broker.clock.now()
        outcomes = [(task.delivery, self._outcome(task, now)) for task in lost]
        answers = await self._broker.settle(outcomes)
        cancelled: list[tuple[Delivery, Outcome]] = []
        for (delivery, outcome), answer in zip(outcomes, answers, strict=True):
            if answer is Settled.CANCELLED_MEANWHILE:
                cancelled.append((delivery, Archive(CANCELLED, cancelled=True)))
            elif answer is Settled.SETTLED:
                _LOG.warning(
                    "recovered a lost task", task_id=delivery.id, queue=delivery.queue, outcome=type(outcome).__name__
                )
                self._settled(delivery, outcome)
        if cancelled:
            await self._broker.settle(cancelled)
        return sum(answer is not Settled.REFUSED for answer in answers)

    def _outcome(self, task: Expired, now: float) -> Outcome:
        if task.delivery.message is None:
            return Archive(UNDECODABLE)
        if not task.begun:
            return Requeue()
        return policy.lost(task.deaths + 1, now=now, worker=self._worker)

    # -- clean --------------------------------------------------------------------------------------------------------

    async def clean(self) -> int:
        """Delete what is past its retention; returns how many tasks."""
        return sum([await self._broker.clean(queues) for queues in self._parts()])

    async def reclaim_groups(self) -> int:
        """Put tasks back into their group whose aggregation was abandoned; returns how many."""
        count = sum([await self._groups.reclaim(queues) for queues in self._parts()])
        if count:
            _LOG.warning("put tasks of abandoned aggregations back into their groups", tasks=count)
        return count


def _gone(task: Expired, alive: set[str]) -> bool:
    """Whether a task's server is a Python one that has stopped saying that it lives.

    A lease that ends at a whole second is a Go server's: then the owner in the hash is only the one before.
    """
    ours = bool(task.server_id) and not task.delivery.expiry.is_integer()
    return ours and task.server_id not in alive
