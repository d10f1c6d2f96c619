"""Fetcher: takes as many tasks as there are free slots, and settles in the same round trip what has finished.

No timer adds latency: what gathered while one round trip was under way is the next one's batch. With many slots two
round trips may be under way, each for half of them, so that Redis and this process work at the same time. Empty queues
are watched for a push; while slots abound, the fetch of that task is sent right behind the watch, so that Redis answers
both at once.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import structlog

from taskflow.broker.connection import BLOCK_SECONDS
from taskflow.broker.delivery import Delivery, Exchanged, Requeue, Settled
from taskflow.broker.queue import Broker
from taskflow.errors import BrokerUnavailable, TaskFlowError
from taskflow.worker import loops
from taskflow.worker.completer import Completer, Taken
from taskflow.worker.executor import Executor
from taskflow.worker.lifetime import Lifetime
from taskflow.worker.watches import Watch, Watches

_LOG = structlog.get_logger("taskflow.worker")

MOST_AT_ONCE = 500
"""The most outcomes, and the most tasks, of one round trip."""
OVERLAP_FROM = 32
"""From how many slots on two round trips overlap; below, their halves are too small to be worth it (measured)."""
ARMED_SECONDS = 1.0
"""How long (s) a watch that takes a task at the moment of its push waits before it looks up again."""
OUTAGE_FIRST, OUTAGE_LONGEST = 0.05, 2.0
"""How long (s) to wait before the next try while Redis does not answer."""
AWAY_PAUSE, AWAY_SHARE = 0.5, 3
"""How long (s) to leave a part of a cluster alone that does not answer: at least, and in times of how long the try took."""


def draw(weights: Mapping[str, int], slots: int, *, rand: random.Random) -> dict[str, int]:
    """Return how many tasks to take of each queue: every free slot draws its queue by weight."""
    if len(weights) == 1:
        return dict.fromkeys(weights, slots)
    return Counter(rand.choices(list(weights), list(weights.values()), k=slots))


def heaviest(weights: Mapping[str, int]) -> dict[str, int]:
    """Return those queues whose weight no other exceeds."""
    most = max(weights.values())
    return {queue: weight for queue, weight in weights.items() if weight == most}


class Fetcher:
    """Moves tasks between Redis and the executor.

    Args:
        broker: Where the tasks are.
        queues: Weight of each queue; with `strict`, the heaviest that hold tasks go first. When they change, call `follow`.
        executor: Runs them.
        completer: Has the outcomes to settle.
        leases: Takes the deliveries whose lease the heartbeat keeps.
        server_id: This server's id, the owner of what it takes.
        lifetime: How many more tasks it may take.
        suspect: Takes the deliveries that are to be run alone.

    """

    def __init__(
        self,
        broker: Broker,
        queues: Mapping[str, int],
        executor: Executor,
        completer: Completer,
        leases: set[Delivery],
        *,
        server_id: str,
        lifetime: Lifetime,
        suspect: Callable[[Delivery], None],
        strict: bool = False,
    ) -> None:
        self._broker = broker
        self._strict = strict
        self._executor = executor
        self._completer = completer
        self._leases = leases
        self._server_id = server_id
        self._lifetime = lifetime
        self._suspect = suspect
        self._round_trips = 2 if executor.concurrency >= OVERLAP_FROM else 1
        self._work = asyncio.Event()
        self._fetches = 0
        self._reserved = 0
        self._armed = 0
        self._lost_fetches: list[tuple[str, list[str]]] = []
        self._reclaiming = 0
        self._rand = random.Random()  # noqa: S311 - it shares out slots
        self._outage = OUTAGE_FIRST
        self._held = False
        self.stopping = False
        self._answering = True
        self._queues = queues
        self._away: set[str] = set()
        self._reclaim_at = 0.0
        self._watches = Watches(broker, queues, pushed=self._pushed, news=self.news)
        self._watching: asyncio.Task[None] | None = None

    @property
    def available(self) -> bool:
        """Whether Redis answered last time, for one of the queues at least."""
        return self._answering and not (self._away and self._away.issuperset(self._queues))

    @property
    def fetching(self) -> bool:
        """Whether a round trip is under way that may bring tasks, or may have brought some that are to be put back."""
        return self._reserved + self._armed > 0 or bool(self._lost_fetches) or self._reclaiming > 0

    def news(self) -> None:
        """Wake a round trip: an outcome waits, a slot has become free, or a queue may hold tasks."""
        self._work.set()

    def follow(self) -> None:
        """Serve the queues as they are now."""
        self._away.intersection_update(self._queues)
        self._watches.follow()

    def stop(self) -> None:
        """Take no more tasks; outcomes are settled on, and what a watch may be taking right now is put back."""
        self.stopping = True
        self._watches.stop()
        if self._watching is not None:
            self._watching.cancel()
        self.news()

    def hold(self) -> None:
        """Take no tasks until told to go on; outcomes are settled on."""
        self._held = True

    def go_on(self) -> None:
        """Take tasks again."""
        self._held = False
        self.news()

    @property
    def _free(self) -> int:
        """How many slots are free, and not spoken for by a round trip."""
        return self._executor.free - self._reserved

    @property
    def _resting(self) -> bool:
        return self.stopping or self._held

    async def run(self) -> None:
        """Work until cancelled."""
        self._watching = asyncio.create_task(self._watches.run())
        working = [asyncio.create_task(self._work_on()) for _ in range(self._round_trips)]
        try:
            await asyncio.wait([*working, self._watching], return_when=asyncio.FIRST_EXCEPTION)
            for task in (*working, self._watching):
                if task.done() and not task.cancelled():
                    task.result()
            await asyncio.gather(*working)  # the watches have been stopped
        finally:
            await loops.cancel_all([*working, self._watching])

    async def _work_on(self) -> None:
        self._work.set()
        while True:
            await self._work.wait()
            if not await self.run_once():
                self._work.clear()

    async def run_once(self) -> bool:
        """Make one round trip; return False if there was nothing to do."""
        taken = self._completer.take(MOST_AT_ONCE)
        wants = self._wants()
        began = time.monotonic()
        reclaiming = bool(self._lost_fetches) and began >= self._reclaim_at
        if not taken and not wants and not reclaiming:
            return False
        slots = sum(wants.values())
        self._reserved += slots
        self._fetches += 1
        owner = f"{self._server_id}:{self._fetches}"
        outcomes = [(delivery, outcome) for delivery, outcome, _ in taken]
        try:
            if reclaiming:
                await self._reclaim()
            exchanged = await self._broker.exchange(outcomes, wants, owner=owner)
        except BaseException as error:
            self._completer.put_back(taken)
            if wants:
                self._lost_fetches.append((owner, list(wants)))
            if not isinstance(error, BrokerUnavailable):
                raise
            await self._wait_out(error)
            return True
        finally:
            self._reserved -= slots
            self.news()  # what was reserved may be had again; another round trip that found none left has gone to sleep
        self._answered()
        for refused in exchanged.errors:
            _LOG.error("Redis refused a queue's command; is another kind of value under its key?", error=str(refused))
        pause = max(AWAY_PAUSE, AWAY_SHARE * (time.monotonic() - began))
        self._confirm(taken, exchanged.settled, pause)
        if exchanged.away or self._away:
            self._note_away(wants, exchanged.away, owner, pause)
        self._distribute(wants, exchanged)
        return True

    def _confirm(self, taken: Sequence[Taken], settled: Sequence[Settled | None], pause: float) -> None:
        """Hand on the answers to outcomes; those that a part of a cluster owes are sent again after a pause."""
        if None in settled:
            owed = [each for each, answer in zip(taken, settled, strict=True) if answer is None]
            asyncio.get_running_loop().call_later(pause, self._completer.put_back, owed)
            taken = [each for each, answer in zip(taken, settled, strict=True) if answer is not None]
        self._completer.confirm(taken, [answer for answer in settled if answer is not None])

    def _note_away(self, wants: Mapping[str, int], away: frozenset[str], owner: str, pause: float) -> None:
        """Leave queues alone for a pause that a part of a cluster has, which does not answer, and say so once."""
        if news := sorted(away - self._away):
            _LOG.warning("a part of the cluster does not answer; its queues wait for it", queues=news)
        self._away = (self._away - wants.keys()) | away
        if away:
            self._lost_fetches.append((owner, list(away)))
            self._put_off_reclaim(pause)
        for watch in filter(None, map(self._watches.get, away)):
            watch.blocked(pause)

    def _put_off_reclaim(self, pause: float) -> None:
        self._reclaim_at = time.monotonic() + pause
        asyncio.get_running_loop().call_later(pause, self.news)

    def _wants(self) -> dict[str, int]:
        if self._resting:
            return {}
        slots = self._free
        most = -(-self._executor.concurrency // self._round_trips)
        slots = min(slots, most, MOST_AT_ONCE, self._lifetime.left - self._reserved - self._armed)
        if slots <= 0:
            return {}
        busy = self._watches.busy
        if not busy:
            return {}
        return draw(heaviest(busy) if self._strict else busy, slots, rand=self._rand)

    def _distribute(self, wants: Mapping[str, int], exchanged: Exchanged) -> None:
        deliveries = exchanged.deliveries
        counts = Counter(delivery.queue for delivery in deliveries)
        for queue, wanted in wants.items():
            watch = self._watches.get(queue)
            if watch is None:
                deliveries = self._without(queue, deliveries)
            elif queue in exchanged.paused:
                watch.blocked()
            elif queue not in exchanged.away:
                watch.took(counts[queue], wanted)
        self._start(deliveries)

    def _without(self, queue: str, deliveries: list[Delivery]) -> list[Delivery]:
        """Give back what came of a queue that is served no longer; return the rest."""
        self._give_back([delivery for delivery in deliveries if delivery.queue == queue])
        return [delivery for delivery in deliveries if delivery.queue != queue]

    def _give_back(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            self._leases.add(delivery)
            self._completer.add(delivery, Requeue())

    def _start(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            self._leases.add(delivery)
            if delivery.suspect:
                self._suspect(delivery)
            else:
                self._executor.start(delivery)
        self._lifetime.took(deliveries)

    async def _reclaim(self) -> None:
        """Put back what lost fetches have leased; what is on a part of a cluster that is away is tried again later."""
        began = time.monotonic()
        lost, self._lost_fetches = self._lost_fetches, []
        self._reclaiming += 1
        try:
            while lost:
                owner, queues = lost[-1]
                count, away = await self._broker.reclaim(queues, owner=owner)
                lost.pop()
                if count:
                    _LOG.warning("put back tasks whose delivery was lost on the way", count=count)
                if away:
                    self._lost_fetches.append((owner, away))
                for watch in filter(None, map(self._watches.get, set(queues).difference(away))):
                    watch.wake()
        finally:
            self._reclaiming -= 1
            self._lost_fetches += lost
        if self._lost_fetches:
            self._put_off_reclaim(max(AWAY_PAUSE, AWAY_SHARE * (time.monotonic() - began)))

    def _answered(self) -> None:
        if not self._answering:
            _LOG.info("Redis answers again")
        self._answering = True
        self._outage = OUTAGE_FIRST

    async def _wait_out(self, error: BrokerUnavailable) -> None:
        if self._answering:
            _LOG.warning("Redis does not answer; waiting for it", error=str(error))
        self._answering = False
        await asyncio.sleep(self._outage * self._rand.uniform(0.5, 1.0))
        self._outage = min(self._outage * 2, OUTAGE_LONGEST)

    # -- watching empty queues ----------------------------------------------------------------------------------------

    async def _pushed(self, blocking: Broker, watch: Watch) -> bool:
        """Wait for a push, and take the task if there are slots to spare; return whether the queue may hold tasks."""
        try:
            await blocking.open()
            if self.stopping:  # a cancellation may get lost while the library connects
                return False
            if self._has_slots_to_spare():
                return await self._take_at_push(blocking, watch)
            watch.woken = await blocking.wait_for_push(watch.queue, seconds=BLOCK_SECONDS)
        except TaskFlowError:
            watch.blocked()
            return False
        return watch.woken

    def _has_slots_to_spare(self) -> bool:
        """Whether a watch may take a task by itself: half of all slots must stay free beside those of all such watches."""
        spare = self._free - self._armed - 1
        if self._resting or self._lifetime.left - self._reserved - self._armed <= self._executor.concurrency:
            return False
        return spare >= self._executor.concurrency / 2

    async def _take_at_push(self, blocking: Broker, watch: Watch) -> bool:
        """Take a task at the moment of its push.

        No slot is kept for it, as other queues may need them all meanwhile; then it goes back to the front of its queue.
        """
        self._fetches += 1
        owner = f"{self._server_id}:{self._fetches}"
        self._armed += 1
        try:
            got = await blocking.take_at_push(watch.queue, seconds=ARMED_SECONDS, owner=owner)
        except BaseException:
            self._lost_fetches.append((owner, [watch.queue]))
            raise
        finally:
            self._armed -= 1
            self.news()  # what was lost is to be put back, and what is left of the lifetime is for the other queues
        if got.paused:
            watch.blocked()
        elif got.deliveries:
            watch.pause = 0.0
            gone = self._watches.get(watch.queue) is not watch
            if gone or self._held or self._free <= 0:
                self._give_back(got.deliveries)
            else:
                self._start(got.deliveries)
        elif got.pushed:
            watch.missed()
        return bool(got.deliveries)
