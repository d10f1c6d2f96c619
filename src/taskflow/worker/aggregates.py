"""Aggregates: which function makes one task of a group's tasks."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from fnmatch import fnmatchcase

from msgspec import Struct

from taskflow.errors import ConfigError
from taskflow.task import Task, check_queue

AggregateFunction = Callable[[str, list[Task]], Task | Awaitable[Task]]
"""`aggregate(group, tasks) -> task`, `async def` or `def`."""


class Aggregate(Struct, frozen=True):
    """A function, and the groups it serves: a glob, in one queue or (None) in all."""

    function: AggregateFunction
    group: str = "*"
    queue: str | None = None

    def serves(self, queue: str, group: str) -> bool:
        """Whether it is for a group."""
        return self.queue in {None, queue} and fnmatchcase(group, self.group)


class Aggregates:
    """The functions in the order in which they were added; the first that serves a group is its function."""

    def __init__(self) -> None:
        self._all: list[Aggregate] = []

    def __bool__(self) -> bool:
        return bool(self._all)

    def add(self, function: AggregateFunction, *, group: str = "*", queue: str | None = None) -> Aggregate:
        """Let a function serve the groups that a glob describes, of one queue or of all.

        Raises:
            ConfigError: It cannot be called with a group's name and a list of tasks.
            InvalidQueue: The queue's name cannot be one.

        """
        if queue is not None:
            check_queue(queue)
        try:
            inspect.signature(function).bind("group", [])
        except TypeError as error:
            raise ConfigError(
                f"an aggregate function takes the group's name and the list of its tasks: {error}"
            ) from None
        added = Aggregate(function, group, queue)
        self._all.append(added)
        return added

    def find(self, queue: str, group: str) -> Aggregate | None:
        """Return the first that serves a group, None if there is none."""
        return next((one for one in self._all if one.serves(queue, group)), None)
