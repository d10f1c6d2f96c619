"""Placements: new tasks on their way into a queue, as calls of enqueue.lua. No I/O, so both kinds of client share it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from taskflow.broker.scripts import Call, Script
from taskflow.task import TaskState
from taskflow.wire.keys import DUE_CHANNEL, queue_keys

ENQUEUE = Script("enqueue")
CHUNK = 500
"""The most tasks one call of a script handles, so that none holds up the server for more than some milliseconds."""

ONCE_SECONDS = 24 * 3600
"""For how long what is to be stored once is remembered."""


class Placement(Struct, frozen=True):
    """A task to store: its message's bytes, and where it goes.

    `due` is Unix s (None: now), `lock_seconds` the lifetime of the unique lock under `lock` (a whole Redis key, '' = none).
    Of placements with the same `once` text, one is stored within a day, even if its task is gone by then.
    """

    queue: str
    id: str
    message: bytes
    due: float | None = None
    group: str = ""
    lock: str = ""
    lock_seconds: int = 0
    once: str = ""

    @property
    def state(self) -> TaskState:
        """The state in which the task is stored."""
        if self.due is not None:
            return TaskState.SCHEDULED
        return TaskState.AGGREGATING if self.group else TaskState.PENDING


class Placed(Struct, frozen=True):
    """What became of a placement: stored, stored before (a repeat), or refused because of the task `holder`."""

    stored: bool
    repeat: bool = False
    holder: str | None = None


STORED = Placed(stored=True)
REPEAT = Placed(stored=True, repeat=True)
ID_TAKEN = Placed(stored=False)
_CODES = {0: ID_TAKEN, 1: STORED, 2: REPEAT, 3: REPEAT}


def enqueue_calls(placements: Sequence[Placement], *, now_ns: int) -> list[tuple[Call, list[int]]]:
    """Return the calls that store the placements, each with the positions of its tasks in `placements`."""
    by_queue: dict[str, list[int]] = {}
    for position, placement in enumerate(placements):
        by_queue.setdefault(placement.queue, []).append(position)
    return [
        (_call(queue, [placements[position] for position in chunk], now_ns), chunk)
        for queue, positions in by_queue.items()
        for chunk in (positions[first : first + CHUNK] for first in range(0, len(positions), CHUNK))
    ]


def _call(queue: str, placements: Sequence[Placement], now_ns: int) -> Call:
    keys = queue_keys(queue)
    now = now_ns // 1_000_000_000
    args: list[Any] = [keys.task_prefix, keys.group_prefix, now_ns, now, DUE_CHANNEL, queue, ONCE_SECONDS]
    for task in placements:
        due = "" if task.due is None else repr(task.due)
        mark = keys.once_prefix + task.once if task.once else ""
        args += (task.id, task.message, due, task.group, task.lock, task.lock_seconds, mark)
    return Call(ENQUEUE, (keys.pending, keys.scheduled, keys.groups, keys.due), args)


def read_placed(calls: Sequence[tuple[Call, list[int]]], replies: Sequence[list[Any]], count: int) -> list[Placed]:
    """Return what became of each of `count` placements, from the replies to their calls."""
    placed = [STORED] * count
    for (_, positions), reply in zip(calls, replies, strict=True):
        for position, code in zip(positions, reply, strict=True):
            if code != 1:
                placed[position] = _placed(code)
    return placed


def _placed(code: int | bytes) -> Placed:
    if isinstance(code, bytes):
        return Placed(stored=False, holder=code.decode(errors="replace"))
    return _CODES[code]
