"""The one clock: Unix time as the Redis server sees it."""

from __future__ import annotations

import time


class Clock:
    """Unix time in seconds, corrected to the Redis server's `TIME` at connect and at each heartbeat.

    So the hosts of a fleet agree on what is due and whose lease is over, however wrong their own clocks are.
    """

    __slots__ = ("offset",)

    def __init__(self, offset: float = 0.0) -> None:
        self.offset = offset
        """Seconds by which the server's clock is ahead of this host's."""

    def now(self) -> float:
        """Return the time in Unix seconds; a float carries microseconds until the year 2255."""
        return round(time.time() + self.offset, 6)

    def now_ns(self) -> int:
        """Return the time in Unix nanoseconds."""
        return time.time_ns() + int(self.offset * 1e9)

    def synchronise(self, server_time: float, *, asked_at: float, answered_at: float) -> None:
        """Take the server's time (Unix s), asked and answered at times of this host (`time.time()`).

        Half of the round trip is the uncertainty, so an offset within it counts as none: clocks that agree stay
        as they are, and times written by one process stay in order.
        """
        offset = server_time - (asked_at + answered_at) / 2
        uncertainty = (answered_at - asked_at) / 2 + 0.001
        if abs(offset - self.offset) > uncertainty:
            self.offset = 0.0 if abs(offset) <= uncertainty else offset
