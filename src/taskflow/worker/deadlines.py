"""Deadlines: one timer for all attempts under way, instead of one each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Deadlines(Generic[T]):
    """Calls `passed(item)` for each item whose deadline has come.

    The timer is set for the earliest deadline and left alone while later ones come and go: with equal timeouts, which
    is the rule, starting and ending an attempt costs a dictionary entry.
    """

    def __init__(self, passed: Callable[[T], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._passed = passed
        self._items: dict[T, float] = {}
        self._armed_for = float("inf")
        self._timer: asyncio.TimerHandle | None = None

    def add(self, item: T, seconds: float) -> None:
        """Watch an item: its deadline comes in so many seconds."""
        due = self._loop.time() + seconds
        self._items[item] = due
        if due < self._armed_for:
            self._arm(due)

    def discard(self, item: T) -> None:
        """Watch an item no longer."""
        self._items.pop(item, None)

    def close(self) -> None:
        """Watch nothing any longer."""
        self._items.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed_for = due
        self._timer = self._loop.call_at(due, self._ring)

    def _ring(self) -> None:
        now = self._loop.time() + 0.001  # a timer may ring within the clock's resolution before its time
        self._timer = None
        self._armed_for = float("inf")
        for item in [item for item, due in self._items.items() if due <= now]:
            del self._items[item]
            self._passed(item)
        if self._items:
            self._arm(min(self._items.values()))
