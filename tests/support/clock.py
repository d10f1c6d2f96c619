"""A clock that tests move."""

from __future__ import annotations

from taskflow.broker.clock import Clock


class MovableClock(Clock):
    """The one clock, moved by hand; the server's time does not set it back."""

    __slots__ = ()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.offset += seconds

    def synchronise(self, server_time: float, *, asked_at: float, answered_at: float) -> None:
        """Stay where the test has put it."""
