"""Subscriptions: one pub/sub connection for any number of listeners."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import redis
import redis.asyncio

from taskflow.broker import connection

_FIRST_WAIT = 0.1
_LONGEST_WAIT = 5.0
"""How long (s) to wait before connecting again, at first and at most."""
_POLL = 1.0
"""How long (s) one read waits; a new subscription does not have to wait for it."""


class Listener:
    """What one listener has not read yet."""

    def __init__(self) -> None:
        self._messages: deque[bytes] = deque(maxlen=10_000)
        self._news = asyncio.Event()

    def notify(self, message: bytes | None = None) -> None:
        """Wake the listener: with a message, or because some may have been missed."""
        if message is not None:
            self._messages.append(message)
        self._news.set()

    async def wait(self, timeout: float | None = None) -> list[bytes]:
        """Return the messages since the last call, after waiting for one.

        It may return none: after `timeout` seconds, or when the connection was lost and some may have been missed.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._news.wait()
        self._news.clear()
        messages = list(self._messages)
        self._messages.clear()
        return messages


class Subscriptions:
    """Listens to channels of a Redis server; connects with the first listener, and again after each outage."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: redis.asyncio.Redis | None = None
        self._pubsub: redis.asyncio.client.PubSub | None = None
        self._listeners: dict[str, list[Listener]] = {}
        self._reader: asyncio.Task[None] | None = None
        self._closed = False
        self._exchanges: set[asyncio.Task[None]] = set()
        """What is being said to the server; it is not broken off when who wants it said is cancelled."""
        self._talking = asyncio.Lock()
        """Held while a command is sent: two at once would each open a connection, and one of them would be lost."""
        self._stale = False
        """Whether channels may be missing from the connection: it was lost, or could not be made."""

    async def close(self) -> None:
        """Stop listening and close the connection."""
        self._closed = True
        if self._reader is not None:
            self._reader.cancel()
            with suppress(asyncio.CancelledError):
                await self._reader
            self._reader = None
        await asyncio.gather(*self._exchanges, return_exceptions=True)
        await self._hang_up()

    async def _hang_up(self) -> None:
        if self._pubsub is not None:
            await self._pubsub.aclose()  # type: ignore[no-untyped-call]
            self._pubsub = None
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    @asynccontextmanager
    async def listen(self, *channels: str, listener: Listener | None = None) -> AsyncIterator[Listener]:
        """Give a listener (a new one by default) to what is published on channels from now on.

        While Redis cannot be reached the listener hears nothing; it is woken once it can be again.
        """
        listener = listener or Listener()
        for channel in channels:
            self._listeners.setdefault(channel, []).append(listener)
        try:
            await self._say(self._subscribe(*channels))
            yield listener
        finally:
            await self._say(self._forget(listener, channels))

    async def _say(self, exchange: Coroutine[Any, Any, None]) -> None:
        """Have something said to the server, to its end even if the caller is cancelled.

        A cancellation in the midst of connecting was seen to get lost in the library, and a connection with it.
        """
        task = asyncio.create_task(exchange)
        self._exchanges.add(task)
        task.add_done_callback(self._exchanges.discard)
        await asyncio.shield(task)

    async def _subscribe(self, *channels: str) -> None:
        async with self._talking:
            try:
                if self._pubsub is None:
                    await self._renew()
                elif not self._stale:
                    await self._pubsub.subscribe(*channels)
            except (redis.RedisError, OSError):
                self._stale = True
        if self._reader is None and not self._closed:
            self._reader = asyncio.create_task(self._read(), name="taskflow subscriptions")

    async def _renew(self) -> None:
        """Connect, to another node perhaps, and subscribe to all channels that have listeners."""
        await self._hang_up()
        self._client = await connection.connect(self._url, connection.PUBSUB)
        self._pubsub = self._client.pubsub(ignore_subscribe_messages=True)
        await self._pubsub.subscribe(*self._listeners)

    async def _forget(self, listener: Listener, channels: tuple[str, ...]) -> None:
        for channel in channels:
            members = self._listeners[channel]
            members.remove(listener)
            if not members:
                del self._listeners[channel]
                if self._pubsub is not None:
                    with suppress(redis.RedisError, OSError):
                        async with self._talking:
                            await self._pubsub.unsubscribe(channel)

    async def _read(self) -> None:
        wait = _FIRST_WAIT
        while not self._closed:
            try:
                pubsub = await self._subscribed()
                message = await pubsub.get_message(timeout=_POLL) if pubsub is not None else None
            except (redis.RedisError, OSError):
                self._stale = True
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                wait = min(wait * 2, _LONGEST_WAIT)
                continue
            wait = _FIRST_WAIT
            if message is not None and message["type"] == "message":
                for listener in self._listeners.get(message["channel"].decode(errors="replace"), ()):
                    listener.notify(message["data"])

    async def _subscribed(self) -> redis.asyncio.client.PubSub | None:
        """Return the connection, subscribed to all channels that have listeners; None while there are none."""
        if self._sound():
            return self._pubsub
        if not self._listeners:
            await asyncio.sleep(_FIRST_WAIT)
            return None
        async with self._talking:
            if not self._sound():  # a listener that has just come may have connected meanwhile
                await self._renew()
                self._stale = False
                self._wake_all()
        return self._pubsub

    def _sound(self) -> bool:
        return self._pubsub is not None and self._pubsub.subscribed and not self._stale

    def _wake_all(self) -> None:
        for members in self._listeners.values():
            for listener in members:
                listener.notify()
