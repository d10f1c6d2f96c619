"""Glances: what many viewers look at is read once for all of them, and shown for a moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")
MOST = 1000
"""How many are remembered; the one read longest ago is forgotten."""


class Glances:
    """Values, each with the time at which it was read.

    Args:
        clock: Seconds that only grow.

    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[Hashable, tuple[float, Any]] = {}
        self._reading: dict[Hashable, asyncio.Lock] = {}
        self._changes = 0

    async def get(self, key: Hashable, seconds: float, read: Callable[[], Awaitable[T]]) -> T:
        """Return a value that was read at most so many seconds ago; who asks while it is read waits for it.

        Args:
            key: What it is, and for whom, if not all may see the same.
            seconds: How old it may be.
            read: Reads it. What it raises is raised, and not remembered.

        """
        lock = self._reading.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                known = self._known.get(key)
                if known is None or self._clock() - known[0] >= seconds:
                    known = await self._read(key, read)
                found: T = known[1]
                return found
        finally:
            if not lock.locked() and self._reading.get(key) is lock:
                del self._reading[key]

    def forget(self) -> None:
        """Forget all that is known, since something was changed; what is being read now is not remembered either."""
        self._known.clear()
        self._changes += 1

    async def _read(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> tuple[float, T]:
        changes = self._changes
        value = await read()
        return self._remember(key, value) if changes == self._changes else (self._clock(), value)

    def _remember(self, key: Hashable, value: object) -> tuple[float, Any]:
        self._known.pop(key, None)  # the newest stands last
        self._known[key] = (self._clock(), value)
        if len(self._known) > MOST:
            del self._known[next(iter(self._known))]
        return self._known[key]
