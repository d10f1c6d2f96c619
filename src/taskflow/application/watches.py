"""Watches: one reader for all tasks that are followed, whoever follows them.

A task is read once, however many follow it. Its newest entries are kept for all of them; who has fallen behind these reads
the stream himself. So a follower is but a place in the stream: one that stands still costs nothing more.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress

from taskflow.broker.progress import ProgressEntry, ProgressStream, range_command, read_range
from taskflow.broker.queue import Broker
from taskflow.broker.subscriptions import Listener, Subscriptions
from taskflow.errors import TaskFlowError
from taskflow.task import TaskState
from taskflow.wire.keys import ENDED_CHANNEL, PROGRESS_CHANNEL, queue_keys

CHECK_SECONDS = 1.0
"""How often a task is looked at without news of it: a Go worker announces neither progress nor ends."""
LAST_ENTRY_SECONDS = 1.0
"""How long to wait for the last entry of a task that has ended: its worker writes it after the end."""
RECENT = 64
"""How many entries of a task are kept for its followers."""
_TASKS = 200
"""How many tasks are read in one round trip."""
_ENTRY = b""
"""What is announced of an entry that is not the last; all else tells of an end."""
_ENDS = {state.value.encode() for state in TaskState if state.finished}

Place = tuple[int, int]
"""The place of an entry in its stream: its id, taken apart."""
BEGIN: Place = (0, 0)


def place(stream_id: str) -> Place:
    """Return the place that the id of an entry names."""
    milliseconds, _, number = stream_id.partition("-")
    return int(milliseconds), int(number or 0)


class Watch(Listener):
    """What those who follow a task share.

    Attributes:
        task_id: The task.
        queue: Its queue; of one that was gone when the first follower came, any.
        ended: Whether it has ended, and no more entries are waited for.
        failure: Why it cannot be read any more.

    """

    def __init__(self, task_id: str, queue: str, news: asyncio.Event) -> None:
        super().__init__()
        self.task_id = task_id
        self.queue = queue
        self.ended = False
        self.failure: TaskFlowError | None = None
        self.followers: set[asyncio.Event] = set()
        self.look = True
        """Whether there may be entries to read."""
        self.ask = True
        """Whether its state is to be looked up."""
        self._reader_news = news
        self._recent: deque[tuple[Place, ProgressEntry]] = deque()
        self._floor: Place | None = None
        """The entries behind this place are kept; None until a follower has told where it stands."""
        self._cut = False
        """Whether the stream is known to have entries behind the newest that is kept."""
        self._patience: float | None = None
        """Up to when to wait for the last entry of a task that has ended."""

    # -- told by Subscriptions ----------------------------------------------------------------------------------------

    def notify(self, message: bytes | None = None) -> None:
        """Have the task looked at: something was published, or may have been missed."""
        self.look = True
        if message != _ENTRY:
            self.ask = True
        self._reader_news.set()

    # -- for followers ------------------------------------------------------------------------------------------------

    def begin(self, at: Place) -> None:
        """Read from a place on, where a follower stands who has read all before; only the first one's word counts."""
        if self._floor is None:
            self._floor = at
            self.notify()

    def since(self, at: Place, most: int) -> tuple[list[ProgressEntry], bool] | None:
        """Return the next entries behind a place, and whether more are known; None if they are no longer kept."""
        if self._floor is None or at < self._floor:
            return None
        entries = [entry for where, entry in self._recent if where > at]
        return entries[:most], self._cut or len(entries) > most

    # -- for the reader -----------------------------------------------------------------------------------------------

    @property
    def begun(self) -> bool:
        """Whether anybody has told where to begin."""
        return self._floor is not None

    @property
    def after(self) -> str:
        """The id behind which to read."""
        return "{}-{}".format(*self._newest)

    @property
    def _newest(self) -> Place:
        return self._recent[-1][0] if self._recent else self._floor or BEGIN

    def add(self, entries: Sequence[ProgressEntry], *, cut: bool) -> None:
        """Keep entries, the oldest of the kept ones no longer, and wake the followers."""
        self._cut = self.look = cut
        self._recent += [(place(entry.stream_id), entry) for entry in entries]
        while len(self._recent) > RECENT:
            self._floor = self._recent.popleft()[0]
        if entries:
            self.wake()

    def note_end(self, now: float) -> None:
        """Note that the task has ended; it may still be a moment until its last entry comes, if it has published any."""
        if self._patience is None:
            self._patience = now + (LAST_ENTRY_SECONDS if self._newest != BEGIN else 0)
        self.check_patience(now)

    def note_life(self) -> None:
        """Note that the task has not ended, or runs again."""
        self.ended = False
        self._patience = None

    def check_patience(self, now: float) -> float | None:
        """Give the last entry up if it has been waited for long enough; return up to when it is waited for."""
        if self._patience is None or self.ended:
            return None
        if now < self._patience:
            return self._patience
        self.ended = True
        self.wake()
        return None

    def fail(self, error: TaskFlowError) -> None:
        """Note why it cannot be read any more."""
        self.failure = error
        self.wake()

    def wake(self) -> None:
        """Wake the followers."""
        for follower in self.followers:
            follower.set()


class Watches:
    """The tasks that are followed, and their reader, which lives as long as there are any.

    Args:
        broker: Where the tasks are.
        stream: Their progress.
        subscriptions: The one connection that hears what is announced.

    """

    def __init__(self, broker: Broker, stream: ProgressStream, subscriptions: Subscriptions) -> None:
        self._broker = broker
        self._stream = stream
        self._subscriptions = subscriptions
        self._watches: dict[tuple[str, str], Watch] = {}
        self._news = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Stop reading."""
        if self._reader is not None:
            self._reader.cancel()
            with suppress(asyncio.CancelledError):
                await self._reader
            self._reader = None

    @asynccontextmanager
    async def follow(self, task_id: str, queue: str) -> AsyncGenerator[tuple[Watch, asyncio.Event]]:
        """Give the watch of a task to one more follower, with the event that wakes this one."""
        woken = asyncio.Event()
        watch = self._watches.get((task_id, queue))
        if watch is None:
            watch = self._watches[task_id, queue] = Watch(task_id, queue, self._news)
        watch.followers.add(woken)
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read(), name="taskflow progress reader")
        channels = (PROGRESS_CHANNEL + task_id, ENDED_CHANNEL + task_id)
        try:
            async with self._subscriptions.listen(*channels, listener=watch):
                yield watch, woken
        finally:
            watch.followers.discard(woken)
            if not watch.followers:
                self._forget(watch)

    async def _read(self) -> None:
        check_at = time.monotonic() + CHECK_SECONDS
        wait_until = check_at
        while self._watches:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_until - time.monotonic()):
                    await self._news.wait()
            self._news.clear()
            now = time.monotonic()
            if now >= check_at:
                check_at = now + CHECK_SECONDS
                for watch in self._watches.values():
                    watch.look = watch.ask = True
            await self._look([watch for watch in self._watches.values() if watch.begun and (watch.look or watch.ask)])
            patience = [watch.check_patience(time.monotonic()) for watch in self._watches.values()]
            wait_until = min([check_at, *(until for until in patience if until is not None)])

    async def _look(self, watches: Sequence[Watch]) -> None:
        for first in range(0, len(watches), _TASKS):
            some = watches[first : first + _TASKS]
            try:
                await self._look_at(some)
            except TaskFlowError as error:
                for watch in some:
                    self._give_up(watch, error)

    async def _look_at(self, watches: Sequence[Watch]) -> None:
        """Read what is new of tasks in one round trip; states come first, so that none is newer than the entries."""
        asked = [watch for watch in watches if watch.ask]
        for watch in watches:
            watch.look = watch.ask = False
        replies = await self._broker.attempt(
            *(("HGET", queue_keys(watch.queue).task_prefix + watch.task_id, "state") for watch in asked),
            *(range_command(watch.task_id, after=watch.after, count=RECENT + 1) for watch in watches),
        )
        for watch, found in zip(watches, replies[len(asked) :], strict=True):
            if isinstance(found, TaskFlowError):
                self._give_up(watch, found)
                continue
            watch.add(read_range(found[:RECENT]), cut=len(found) > RECENT)
            if watch.look:
                self._news.set()
        for watch, state in zip(asked, replies, strict=False):
            if state is None or state in _ENDS:
                watch.note_end(time.monotonic())
            else:
                watch.note_life()

    def _give_up(self, watch: Watch, error: TaskFlowError) -> None:
        """Let the followers of a task know that it cannot be read; those who come later begin anew."""
        self._forget(watch)
        watch.fail(error)

    def _forget(self, watch: Watch) -> None:
        name = (watch.task_id, watch.queue)
        if self._watches.get(name) is watch:
            del self._watches[name]
        self._news.set()
