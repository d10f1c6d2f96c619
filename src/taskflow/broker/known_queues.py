"""KnownQueues: which queues a client need not name again in `asynq:queues`. No I/O, so both kinds of client share it.

A name is written before a client's first task to a queue, and then remembered. That goes wrong, in asynq too, when the queue
is removed and the client enqueues to it later: the queue is there, and no tool shows it. So a removal leaves a note, which
enqueue.lua hands to whoever enqueues into an empty queue. asynq's tools leave none: so names are not remembered for long.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

from taskflow.broker.scripts import Call
from taskflow.wire.keys import QUEUE_NEWS

NOTE_SECONDS = 60
"""How long the note of a removal lasts: longer than names are remembered."""
REMEMBER_SECONDS = 10.0
"""How long names are remembered, and so how long a queue that asynq's tools have removed may stay unseen, at most."""


def queue_news(queues: Collection[str]) -> list[tuple[str, str, str]]:
    """Return the commands that tell workers of new queues: those that serve queues by pattern."""
    return [("PUBLISH", QUEUE_NEWS, queue) for queue in queues]


class KnownQueues:
    """The names that a client has written, and the notes of removals that it has heeded."""

    __slots__ = ("_ever", "_heeded", "_names", "_until")

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._ever: set[str] = set()
        self._heeded: dict[str, bytes] = {}
        self._until = time.monotonic() + REMEMBER_SECONDS

    def unknown(self, queues: Collection[str]) -> set[str]:
        """Return those queues whose names are to be written."""
        if time.monotonic() > self._until:
            self.forget()
        return set(queues) - self._names

    def learn(self, queues: Collection[str]) -> None:
        """Note that names were written."""
        self._names.update(queues)
        self._ever.update(queues)

    def had(self, queues: Collection[str]) -> bool:
        """Whether the names of all these queues were written once: then a task need not wait until they can be again."""
        return self._ever.issuperset(queues)

    def forget(self) -> None:
        """Know no names any more: what was written last may be gone."""
        self._names.clear()
        self._until = time.monotonic() + REMEMBER_SECONDS

    def notes(self, calls: Sequence[tuple[Call, list[int]]], replies: Sequence[Any]) -> dict[str, bytes]:
        """Take the notes of removals off the replies to `enqueue_calls`; return those not heeded yet, by queue."""
        found = {}
        for (call, positions), reply in zip(calls, replies, strict=True):
            if isinstance(reply, list) and len(reply) > len(positions):
                queue, note = call.args[5], reply.pop()
                if self._heeded.get(queue) != note:
                    found[queue] = note
        return found

    def heed(self, notes: dict[str, bytes]) -> None:
        """Note that the names of removed queues were written again."""
        self._heeded.update(notes)
