"""QueueSet: which queues a worker serves, with which weights. Queues that are named, and all that a pattern means."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache

from taskflow.errors import ConfigError, InvalidQueue
from taskflow.task import check_queue

MOST_FOUND = 5_000
"""How many queues patterns may bring: their names are strangers' text, and each costs the sweeps a script."""


def check_queues(queues: Mapping[str, int]) -> None:
    """Raise `ConfigError` or `InvalidQueue` unless a worker can serve these queues, names or patterns to weights."""
    if not queues:
        raise ConfigError("queues: name at least one queue, e.g. {'default': 1}, or a pattern: {'tenant-*': 1}")
    for queue, weight in queues.items():
        check_queue(queue)
        if weight < 1:
            raise ConfigError(f"queues: the weight of {queue!r} must be at least 1, not {weight}")


def is_pattern(queue: str) -> bool:
    """Whether a name means all queues that match it: a `*` in it stands for any text, also for none."""
    return "*" in queue


@lru_cache(maxsize=256)
def _matcher(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)


class QueueSet(Mapping[str, int]):
    """The queues that are served now, to their weights, the heaviest first; it changes while it is in use.

    A queue that is named has the weight it is named with, also if patterns match it; of several patterns the longest decides.

    Args:
        queues: Names and patterns, to weights.

    """

    def __init__(self, queues: Mapping[str, int]) -> None:
        self._asked = dict(queues)
        self._left: set[str] = set()
        self._seen: frozenset[bytes] = frozenset()
        self._found: dict[str, None] = {}
        self._weights: dict[str, int] = {}
        self.on_change: Callable[[], None] = lambda: None
        """Called when others may be served than before."""
        self._work_out()

    def __getitem__(self, queue: str) -> int:
        return self._weights[queue]

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)

    @property
    def patterns(self) -> list[str]:
        """The patterns, the one that decides first first."""
        return sorted(filter(is_pattern, self._asked), key=lambda pattern: (-len(pattern), pattern))

    def means(self, queue: str) -> bool:
        """Whether a pattern matches a queue."""
        return any(_matcher(pattern).fullmatch(queue) for pattern in self.patterns)

    def find(self, names: Iterable[bytes]) -> None:
        """Take note of all queues that there are."""
        seen = frozenset(names)
        if seen == self._seen:
            return
        self._seen = seen
        known = set(filter(None, map(_usable, seen)))
        stay = [queue for queue in self._found if queue in known]
        # New ones come last, so that those of equal weight stay where they are.
        self._found = dict.fromkeys([*stay, *sorted(known.difference(stay))])
        self._work_out()

    def serve(self, queue: str, weight: int = 1) -> None:
        """Serve a queue too, or with a `*` in it all queues whose names match; call it in the worker's event loop.

        Raises:
            InvalidQueue: It cannot be a queue's name.
            ConfigError: The weight is less than 1.

        """
        check_queues({queue: weight})
        self._asked[queue] = weight
        self._left.discard(queue)
        self._work_out()

    def leave(self, queue: str) -> None:
        """Serve a queue no longer, whether it was named or is meant by a pattern, or a pattern.

        What runs of it goes on; what is just being taken goes back to it.
        """
        self._asked.pop(queue, None)
        if not is_pattern(queue):
            self._left.add(queue)
        self._work_out()

    def _work_out(self) -> None:
        weights = {queue: weight for queue, weight in self._asked.items() if not is_pattern(queue)}
        matchers = [(_matcher(pattern), self._asked[pattern]) for pattern in self.patterns]
        for queue in self._found if matchers else ():
            if queue not in weights and queue not in self._left and len(weights) < MOST_FOUND:
                weight = next((weight for matcher, weight in matchers if matcher.fullmatch(queue)), None)
                if weight is not None:
                    weights[queue] = weight
        self._weights = dict(sorted(weights.items(), key=lambda item: -item[1]))
        self.on_change()


def _usable(name: bytes) -> str | None:
    """Return a name that anybody may have written, None if it cannot be a queue's."""
    try:
        queue = name.decode()
        check_queue(queue)
    except (UnicodeDecodeError, InvalidQueue):
        return None
    return queue
