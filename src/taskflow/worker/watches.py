"""Watches: which of a worker's queues may hold tasks, and how it learns that an empty one has been pushed to.

Empty queues are not polled but watched, each on a connection of its own: `BLMOVE pending pending` puts the element back
where it was, and answers at the moment of a push. Where there are too many queues for that, the lightest are looked at in
one round trip for all of them, again and again.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

from taskflow.broker.connection import BLOCKING
from taskflow.broker.queue import Broker
from taskflow.errors import TaskFlowError
from taskflow.worker import loops

MOST_WATCHED = 64
"""How many queues have a connection of their own."""
POLL_SHORTEST, POLL_LONGEST = 0.05, 0.5
"""How often (s) to look at the others: after one was found to hold tasks; and at last, doubled each time none was."""
POLL_SHARE, POLL_PAUSE = 10, 1.0
"""A look is followed by a pause of so many times as long, at most of so many seconds: looking must not fill the time."""
SLOW_CHECK = 1.0
"""How often (s) to look into a queue that cannot be watched: it is paused, or Redis refuses."""
FIRST_PAUSE, LONGEST_PAUSE = 0.001, 0.064
"""How long (s) to wait before watching again after waking for nothing: a push wakes every idle worker."""


class Watch:
    """What is known of one queue: whether it may hold tasks, and how long to wait before watching it.

    Args:
        queue: Its name.
        weight: Its weight.
        busy: The queues that may hold tasks, to their weights: it is among them while it is not believed empty.

    """

    __slots__ = ("_busy", "empty", "pause", "queue", "rest_until", "weight", "woken")

    def __init__(self, queue: str, weight: int, busy: dict[str, int]) -> None:
        self.queue = queue
        self.weight = weight
        self._busy = busy
        self.empty = asyncio.Event()
        """Set while the queue is believed empty."""
        self.pause = 0.0
        self.rest_until = 0.0
        """Until when (`time.monotonic()`) a queue without a connection is left alone."""
        self.woken = False
        self.wake()

    def wake(self) -> None:
        """Note that the queue may hold tasks."""
        self.empty.clear()
        self._busy[self.queue] = self.weight

    def sleep(self) -> None:
        """Note that the queue seems to be empty."""
        self.rest_until = time.monotonic() + self.pause
        self._busy.pop(self.queue, None)
        self.empty.set()

    def leave(self) -> None:
        """Note that the queue is served no longer."""
        self._busy.pop(self.queue, None)
        self._busy = {}

    def took(self, count: int, wanted: int) -> None:
        """Note what a round trip took."""
        if count:
            self.pause = 0.0
        elif self.woken:
            self.missed()
        elif self.pause > LONGEST_PAUSE:
            self.pause = 0.0  # it was blocked, and is no longer
        self.woken = False
        if count < wanted:
            self.sleep()

    def missed(self) -> None:
        """Note that another worker was first: of many that wait, only a few shall stay on watch."""
        self.pause = min(LONGEST_PAUSE, max(FIRST_PAUSE, self.pause * 2))

    def blocked(self, seconds: float = SLOW_CHECK) -> None:
        """Note that the queue is not to be looked into for some time: it is paused, or Redis refuses to watch it."""
        self.pause = max(SLOW_CHECK, seconds)
        self.woken = False
        self.sleep()


class Watches:
    """The watches over a worker's queues.

    Args:
        broker: Where the queues are.
        queues: Their weights, the heaviest first. When they change, call `follow`.
        pushed: Waits for a push to a queue, on a connection of its own; returns whether the queue may hold tasks.
        news: Called when a queue may hold tasks.

    """

    def __init__(
        self,
        broker: Broker,
        queues: Mapping[str, int],
        *,
        pushed: Callable[[Broker, Watch], Awaitable[bool]],
        news: Callable[[], None],
    ) -> None:
        self._broker = broker
        self._queues = queues
        self._pushed = pushed
        self._news = news
        self._rand = random.Random()  # noqa: S311 - jitter
        self._all: dict[str, Watch] = {}
        self._polled: Sequence[Watch] = ()
        self._changed = asyncio.Event()
        self._stopping = False
        self.busy: dict[str, int] = {}
        """The weights of the queues that may hold tasks."""
        self.follow()

    def __getitem__(self, queue: str) -> Watch:
        return self._all[queue]

    def get(self, queue: str) -> Watch | None:
        """Return the watch over a queue; None: it is served no longer."""
        return self._all.get(queue)

    def follow(self) -> None:
        """Watch the queues that have come, and no more those that have gone."""
        for queue in self._all.keys() - self._queues.keys():
            self._all.pop(queue).leave()
        for queue, weight in self._queues.items():
            if queue not in self._all:
                self._all[queue] = Watch(queue, weight, self.busy)
            elif self._all[queue].weight != weight:
                self._all[queue].weight = weight
                if queue in self.busy:
                    self.busy[queue] = weight
        self._changed.set()
        self._news()

    def stop(self) -> None:
        """Begin no further wait."""
        self._stopping = True

    async def run(self) -> None:
        """Watch until cancelled."""
        polling = asyncio.create_task(self._poll())
        watching: dict[Watch, asyncio.Task[None]] = {}
        try:
            while not self._stopping:
                self._changed.clear()
                await self._arrange(watching)
                await self._wait_for_change([polling, *watching.values()])
        finally:
            await loops.cancel_all([polling, *watching.values()])

    async def _arrange(self, watching: dict[Watch, asyncio.Task[None]]) -> None:
        """Give the heaviest queues a connection each, and leave the others to polling."""
        watches = [self._all[queue] for queue in self._queues if queue in self._all]
        chosen, self._polled = watches[:MOST_WATCHED], watches[MOST_WATCHED:]
        await loops.cancel_all([watching.pop(watch) for watch in set(watching).difference(chosen)])
        for watch in chosen:
            if watch not in watching:
                watching[watch] = asyncio.create_task(self._watch(watch))

    async def _wait_for_change(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Wait until other queues are served; an error of one of the tasks is raised."""
        changed = asyncio.create_task(self._changed.wait())
        try:
            await asyncio.wait([changed, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done() and not task.cancelled():
                    task.result()
        finally:
            changed.cancel()

    # -- a connection for each ----------------------------------------------------------------------------------------

    async def _watch(self, watch: Watch) -> None:
        broker = self._broker
        # A blocked connection serves nobody else.
        blocking = Broker(broker.url, profile=BLOCKING, clock=broker.clock, lease_seconds=broker.lease_seconds)
        try:
            while not self._stopping:
                await watch.empty.wait()
                if watch.pause:
                    await asyncio.sleep(watch.pause * self._rand.uniform(0.5, 1.0))
                if watch.pause < SLOW_CHECK and not await self._pushed(blocking, watch):
                    continue
                watch.wake()
                self._news()
        finally:
            await blocking.close()

    # -- one look at many ---------------------------------------------------------------------------------------------

    async def _poll(self) -> None:
        pause = POLL_SHORTEST
        while not self._stopping:
            started = time.monotonic()
            found = False
            with suppress(TaskFlowError):  # the fetcher says what is wrong
                found = await self.look()
            pause = POLL_SHORTEST if found else min(POLL_LONGEST, pause * 2)
            took = time.monotonic() - started
            await asyncio.sleep(max(pause, min(POLL_PAUSE, took * POLL_SHARE)) * self._rand.uniform(0.8, 1.0))

    async def look(self) -> bool:
        """Look which of the queues without a connection hold tasks; return whether some do."""
        now = time.monotonic()
        empty = [watch for watch in self._polled if watch.empty.is_set() and now >= watch.rest_until]
        if not empty:
            return False
        lengths = await self._broker.pending([watch.queue for watch in empty])
        full = [watch for watch, length in zip(empty, lengths, strict=True) if length]
        for watch in full:
            watch.woken = True
            watch.wake()
        if full:
            self._news()
        return bool(full)
