"""Placements: new tasks on their way into a queue, as calls of enqueue.lua. No I/O, so both kinds of client share it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from taskflow.broker.scripts import Call, Script
from taskflow.errors import BrokerUnavailable
from taskflow.task import TaskState
from taskflow.unique import OnConflict, Until
from taskflow.wire.keys import DUE_CHANNEL, ENDED_CHANNEL, queue_keys

ENQUEUE = Script("enqueue")
CHUNK = 500
"""The most tasks one call of a script handles, so that none holds up the server for more than some milliseconds."""

ONCE_SECONDS = 24 * 3600
"""For how long what is to be stored once is remembered."""


class Placement(Struct, frozen=True):
    """A task to store: its message's bytes, and where it goes.

    `due` is Unix s (None: now), `lock` the whole Redis key of the unique lock ('' = none), `lock_terms` as `lock_terms` says.
    Of placements with the same `once` text, one is stored within a day, even if its task is gone by then.
    """

    queue: str
    id: str
    message: bytes
    due: float | None = None
    group: str = ""
    lock: str = ""
    lock_terms: str = ""
    once: str = ""

    @property
    def state(self) -> TaskState:
        """The state in which the task is stored."""
        if self.due is not None:
            return TaskState.SCHEDULED
        return TaskState.AGGREGATING if self.group else TaskState.PENDING


def lock_terms(seconds: int, until: Until = "done", on_conflict: OnConflict = "refuse") -> str:
    """Return the terms of a unique lock, as the scripts read them: its lifetime, and choices other than asynq's."""
    return f"{seconds}" if (until, on_conflict) == ("done", "refuse") else f"{seconds}:{until}:{on_conflict}"


class Placed(Struct, frozen=True):
    """What became of a placement: stored, stored before (a repeat), or refused because of the task `holder`.

    Attributes:
        stored: Whether it is in its queue.
        repeat: Whether it was before.
        marked: Whether another task was, under the same `once` text.
        holder: The task that holds the lock; of a stored one, the task whose place it took.
        state: The state because of which the holder could not be replaced, '' if it is gone.
        found: What is known of the holder, for `reading.task_info`, where it was asked for and is not gone.

    """

    stored: bool
    repeat: bool = False
    marked: bool = False
    holder: str | None = None
    state: str | None = None
    found: Sequence[Any] | None = None


STORED = Placed(stored=True)
REPEAT = Placed(stored=True, repeat=True)
ID_TAKEN = Placed(stored=False)
MARKED = Placed(stored=True, repeat=True, marked=True)
_CODES = {0: ID_TAKEN, 1: STORED, 2: REPEAT, 3: MARKED}


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
    args: list[Any] = [keys.prefix, ENDED_CHANNEL, now_ns, now, DUE_CHANNEL, queue, ONCE_SECONDS]
    for task in placements:
        due = "" if task.due is None else repr(task.due)
        mark = keys.once_prefix + task.once if task.once else ""
        args += (task.id, task.message, due, task.group, task.lock, task.lock_terms, mark)
    return Call(ENQUEUE, (keys.pending, keys.scheduled, keys.groups, keys.due, keys.removed), args)


def read_placed(
    calls: Sequence[tuple[Call, list[int]]], replies: Sequence[list[Any] | BrokerUnavailable], count: int
) -> list[Placed | BrokerUnavailable]:
    """Return what became of each of `count` placements, from the replies to their calls."""
    placed: list[Placed | BrokerUnavailable] = [STORED] * count
    for (_, positions), reply in zip(calls, replies, strict=True):
        if isinstance(reply, BrokerUnavailable):
            for position in positions:
                placed[position] = reply
            continue
        for position, code in zip(positions, reply, strict=True):
            if code != 1:
                placed[position] = _placed(code)
    return placed


def all_placed(answers: Sequence[Placed | BrokerUnavailable]) -> list[Placed]:
    """Return the answers; raises the first that is an error."""
    placed = []
    for answer in answers:
        if isinstance(answer, BrokerUnavailable):
            raise answer
        placed.append(answer)
    return placed


def _placed(code: int | bytes | list[Any]) -> Placed:
    if isinstance(code, bytes):
        return Placed(stored=False, holder=code.decode(errors="replace"))
    if isinstance(code, int):
        return _CODES[code]
    stored, holder, *more = code
    about = more[0] if more else None
    return Placed(
        stored=bool(stored),
        holder=holder.decode(errors="replace"),
        state=about.decode() if isinstance(about, bytes) else None,
        found=about if isinstance(about, list) else None,
    )
