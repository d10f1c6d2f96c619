"""A clock that tests move."""

from __future__ import annotations

import time

from taskflow.broker.clock import Clock


class MovableClock(Clock):
    """The one clock, moved by hand; the server's time does not set it back."""

    __slots__ = ()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.offset += seconds

    def synchronise(self, server_time: float, *, asked_at: float, answered_at: float) -> None:
        """Stay where the test has put it."""


class StandingClock(MovableClock):
    """A clock that stands still between the moves."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self.offset = time.time()

    def now(self) -> float:
        """The time (Unix s)."""
        return self.offset

    def now_ns(self) -> int:
        """The time (Unix ns)."""
        return int(self.offset * 1e9)
