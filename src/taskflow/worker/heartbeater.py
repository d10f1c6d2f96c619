"""Heartbeater: says that this server lives and keeps its leases, on a thread and a connection of its own.

So a handler that blocks the event loop costs no lease; it is reported instead.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from types import FrameType

import structlog

from taskflow.broker.clock import Clock
from taskflow.broker.connection import HEARTBEAT
from taskflow.broker.delivery import Delivery
from taskflow.broker.orders import DRAIN, ServerOrders
from taskflow.broker.queue import Broker
from taskflow.broker.servers import ServerRecords
from taskflow.broker.subscriptions import Listener
from taskflow.errors import BrokerUnavailable, TaskFlowError
from taskflow.task import RunningTask, ServerInfo, Stall
from taskflow.worker.executor import deadline_of

_LOG = structlog.get_logger("taskflow.worker")
BEAT = 5.0
"""How often (s) the server says that it lives; its record lasts twice as long, as in asynq."""
STALL = 1.0
"""How long (s) the event loop may be blocked before it is reported."""


class Heartbeater:
    """Publishes this server and extends the leases of its tasks.

    Args:
        redis_url: URL of the Redis server.
        clock: The one clock; it is set anew at each beat.
        describe: Returns this server's record.
        leases: The deliveries whose leases to keep.
        lost: Called on the event loop for a delivery whose lease is another's by now.
        drain: Called on the event loop at each beat once this server was told to drain.
        lease_seconds: How long each extension lasts.
        beat: See `BEAT`.

    """

    def __init__(
        self,
        redis_url: str,
        clock: Clock,
        *,
        describe: Callable[[], ServerInfo],
        leases: set[Delivery],
        lost: Callable[[Delivery], None],
        drain: Callable[[], None],
        lease_seconds: float,
        beat: float = BEAT,
    ) -> None:
        self._url = redis_url
        self._clock = clock
        self._describe = describe
        self._leases = leases
        self._lost = lost
        self._drain = drain
        self._lease_seconds = lease_seconds
        self._beat = beat
        self._ttl = max(2, round(2 * beat))
        self._loop = asyncio.get_running_loop()
        self._watched_thread = threading.get_ident()
        self._alive_at = time.monotonic()
        self._stop = threading.Event()
        self._own_loop: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="taskflow heartbeat", daemon=True)
        self.beaten_at = time.monotonic()
        """When Redis last took a beat (`time.monotonic()`); at first, when this was made."""
        self.stalls = 0
        """How often the event loop was blocked."""
        self._stalled = False
        self._stall: Stall | None = None
        """The last one, which Redis is still to be told of."""
        self._where = ""

    def start(self) -> None:
        """Begin to beat."""
        self._loop.call_soon(self._sign_of_life)
        self._thread.start()

    def stop(self) -> None:
        """Stop beating, and withdraw the server's record; blocks for at most some seconds."""
        self._stop.set()
        self.beat_now()
        self._thread.join(timeout=5)

    def beat_now(self) -> None:
        """Do not wait for the time of the next beat."""
        if self._own_loop is not None:
            with suppress(RuntimeError):  # it has ended meanwhile
                self._own_loop.call_soon_threadsafe(self._woken.set)

    async def keep_listening(self, news: Listener) -> None:
        """Beat at once when this server is told to do something, or may have been; until cancelled."""
        own = self._describe().id.encode()
        while True:
            messages = await news.wait()
            if own in messages or not messages:
                self.beat_now()

    def _sign_of_life(self) -> None:
        self._alive_at = time.monotonic()
        if not self._stop.is_set():
            self._loop.call_later(STALL / 4, self._sign_of_life)

    def _run(self) -> None:
        asyncio.run(self._work())

    async def _work(self) -> None:
        self._own_loop = asyncio.get_running_loop()
        broker = Broker(self._url, profile=HEARTBEAT, clock=self._clock, lease_seconds=self._lease_seconds)
        try:
            while not self._stop.is_set():
                await self._try(broker)
                await self._pause()
            info = self._describe()
            await ServerRecords(broker).withdraw(info)
            await ServerOrders(broker).withdraw(info.id)
        except BrokerUnavailable:
            _LOG.warning("could not withdraw this server's record; it expires by itself")
        finally:
            await broker.close()

    async def _try(self, broker: Broker) -> None:
        try:
            await self.beat(broker)
        except BrokerUnavailable as error:
            _LOG.warning("no heartbeat: Redis does not answer", error=str(error))
        except TaskFlowError:
            _LOG.exception("no heartbeat: Redis refused it")

    async def beat(self, broker: Broker) -> None:
        """Extend the leases, publish this server and what it runs, set the clock, and look for orders."""
        leases = list(self._leases)
        if leases:
            await broker.extend(leases)
            for delivery in leases:
                if delivery.lost:
                    self._loop.call_soon_threadsafe(self._lost, delivery)
        running = [_running(delivery) for delivery in leases if delivery.started_at]
        await ServerRecords(broker).publish(self._describe(), running, ttl_seconds=self._ttl)
        await broker.synchronise()
        self.beaten_at = time.monotonic()
        await self._attend(broker)
        await self._tell_stall(broker)

    async def _attend(self, broker: Broker) -> None:
        """Look whether this server was told to drain. Nothing hangs on it but that."""
        with suppress(BrokerUnavailable):
            if await ServerOrders(broker).attend(self._describe().id, ttl_seconds=self._ttl) == DRAIN:
                self._loop.call_soon_threadsafe(self._drain)

    async def _tell_stall(self, broker: Broker) -> None:
        stall, self._stall = self._stall, None
        if stall is not None:
            with suppress(BrokerUnavailable):  # it stands in the log
                await ServerRecords(broker).note_stall(self._describe().id, stall)

    async def _pause(self) -> None:
        """Wait for the next beat, or until woken, with an eye on the event loop."""
        until = time.monotonic() + self._beat
        while not self._woken.is_set() and (left := until - time.monotonic()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, STALL / 4)):
                    await self._woken.wait()
            blocked = time.monotonic() - self._alive_at
            if blocked > STALL:
                self._note_stall(blocked)
            self._stalled = blocked > STALL
        self._woken.clear()

    def _note_stall(self, blocked: float) -> None:
        """Note that the event loop has been blocked (s) up to now; report it when it begins."""
        if not self._stalled:
            self.stalls += 1
            frame = sys._current_frames().get(self._watched_thread)  # noqa: SLF001 - the documented way to another thread's stack
            stack = "".join(traceback.format_stack(frame, limit=12)) if frame else "unknown"
            self._where = _place_of(frame) if frame else "unknown"
            _LOG.error(
                "the event loop is blocked: code on it waits without await", seconds=round(blocked, 1), stack=stack
            )
        at = datetime.fromtimestamp(self._clock.now(), UTC)
        self._stall = Stall(at=at, seconds=round(blocked, 1), count=self.stalls, where=self._where)


def _place_of(frame: FrameType) -> str:
    """Return where code is, in a few words."""
    return f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}, line {frame.f_lineno})"


def _running(delivery: Delivery) -> RunningTask:
    message = delivery.message
    assert message is not None  # noqa: S101 - what cannot be decoded is never started
    deadline = deadline_of(message, delivery.started_at)
    return RunningTask(
        id=delivery.id,
        type=message.type,
        queue=delivery.queue,
        payload=message.payload,
        started_at=datetime.fromtimestamp(delivery.started_at, UTC),
        deadline=None if deadline is None else datetime.fromtimestamp(deadline, UTC),
    )
