"""Lifetime: how many tasks a worker process may take, and how much memory it may use, before a fresh one takes its place.

The remedy for what leaks: handlers' own code, or a library's.
"""

from __future__ import annotations

import os
import random
import resource
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from taskflow.broker.delivery import Delivery
from taskflow.errors import ConfigError

_LOG = structlog.get_logger("taskflow.worker")

JITTER = 0.1
"""Processes that were started together get up to a tenth less, at random, so that they do not end together."""
NO_LIMIT = sys.maxsize


class Lifetime:
    """Counts a process's tasks and watches its memory.

    Args:
        max_tasks: The most tasks it may take, 0 for any number.
        max_memory: The most memory (bytes) it may hold, 0 for any amount.
        counts: Whether a delivery counts: those that run in a process of their own do not.
        over: Called once, when a limit has been reached.

    """

    def __init__(
        self,
        max_tasks: int,
        max_memory: int,
        *,
        counts: Callable[[Delivery], bool],
        over: Callable[[], None],
        rand: random.Random | None = None,
    ) -> None:
        self._rand = rand or random.Random()  # noqa: S311 - jitter
        self._counts = counts
        self._over = over
        self._limited = max_tasks > 0
        self._max_tasks = max_tasks - self._rand.randrange(int(max_tasks * JITTER) + 1) if max_tasks else NO_LIMIT
        self._max_memory = max_memory
        self.left = self._max_tasks
        """How many more tasks it may take."""
        self.ended = False
        """Whether a limit has been reached."""

    @property
    def watches_memory(self) -> bool:
        """Whether `check_memory` is to be called from time to time."""
        return self._max_memory > 0

    def took(self, deliveries: Sequence[Delivery]) -> None:
        """Count tasks."""
        if self._limited:
            self.left -= sum(map(self._counts, deliveries))
            if self.left <= 0:
                self._end("tasks")

    def begin(self) -> None:
        """Note the memory before the first task.

        Raises:
            ConfigError: It is as much as the process may ever hold.

        """
        if self._max_memory:
            used = memory_in_use()
            room = self._max_memory - used
            if room <= 0:
                raise ConfigError(
                    f"max_memory: {_megabytes(self._max_memory)} is too little: before its first task this process uses "
                    f"{_megabytes(used)}"
                )
            self._max_memory -= int(room * JITTER * self._rand.random())

    async def check_memory(self) -> None:
        """Look at the memory in use."""
        if memory_in_use() > self._max_memory:
            self._end("memory")

    def _end(self, reason: str) -> None:
        if not self.ended:
            self.ended = True
            tasks = self._max_tasks - self.left if self._limited else None
            _LOG.info(
                "this process has reached a limit; it makes way for a fresh one",
                limit=reason,
                tasks=tasks,
                memory=_megabytes(memory_in_use()),
            )
            self._over()


def memory_in_use() -> int:
    """Return how much memory (bytes) this process holds: its resident set; where that is not told, the most it ever was."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f}MB"
