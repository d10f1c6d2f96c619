"""Rate: how often somebody may ask, as token buckets in the memory of this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Self

MAX_NAMES = 10_000
"""How many buckets there are at most; the one used longest ago is forgotten, that is: full again."""
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


class Buckets:
    """A bucket for each name: it holds `burst` tokens, and `rate` new ones a second.

    A bucket is one number, the time at which it will be full again (the generic cell rate algorithm of ATM networks).

    Args:
        rate: Tokens a second.
        burst: How many there are at most.
        clock: Seconds that only grow.

    """

    def __init__(self, rate: float, burst: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._step = 1 / rate
        self._depth = self._step * (burst - 1)
        self._clock = clock
        self._full_at: dict[str, float] = {}

    @classmethod
    def of(cls, rate: str, burst: int = 0) -> Self | None:
        """Return buckets for a rate such as `100/s`; None for ''. A burst of 0 is the number in the rate."""
        if not rate:
            return None
        count, _, unit = rate.partition("/")
        return cls(int(count) / _SECONDS[unit], burst or int(count))

    def __len__(self) -> int:
        return len(self._full_at)

    def wait(self, name: str) -> float:
        """Return for how many seconds a bucket has no token; 0: it has one."""
        return max(0.0, self._full_at.get(name, 0.0) - self._clock() - self._depth)

    def take(self, name: str) -> float:
        """Take a token; return 0, or for how many seconds there is none: then nothing is taken."""
        now = self._clock()
        full_at = max(self._full_at.get(name, now), now)
        wait = full_at - now - self._depth
        if wait > 0:
            return wait
        self._full_at.pop(name, None)  # the newest stands last
        self._full_at[name] = full_at + self._step
        if len(self._full_at) > MAX_NAMES:
            del self._full_at[next(iter(self._full_at))]
        return 0.0
