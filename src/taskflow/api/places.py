"""Places: how many event streams may be open, in all and for one client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from taskflow.api.errors import TooManyStreams


class Places:
    """The places for viewers of one API process.

    Args:
        most: How many streams may be open.
        per_client: How many of them may be one client's.

    """

    def __init__(self, most: int, per_client: int) -> None:
        self._most = most
        self._per_client = per_client
        self._taken: Counter[str] = Counter()

    def check(self, client: str) -> None:
        """Refuse a client for whom there is no place. Raises `TooManyStreams`."""
        if self._taken[client] >= self._per_client:
            raise TooManyStreams("api.streams.per_client", self._per_client)
        if self._taken.total() >= self._most:
            raise TooManyStreams("api.streams.max", self._most)

    @contextmanager
    def take(self, client: str) -> Iterator[None]:
        """Take a place for a client, and give it back. Raises `TooManyStreams`."""
        self.check(client)
        self._taken[client] += 1
        try:
            yield
        finally:
            self._taken[client] -= 1
            if not self._taken[client]:
                del self._taken[client]
