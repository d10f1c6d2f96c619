"""TaskProgress: how far tasks have come, read once or followed live.

A task's progress stream ends with an entry that says how the task ended; its worker writes it. A task that published no
progress has no stream: then its state tells.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Literal

from msgspec import Struct

from taskflow.application.watches import BEGIN, Place, Watch, Watches, place
from taskflow.broker.inspector import Inspector
from taskflow.broker.progress import ProgressEntry, ProgressStream
from taskflow.errors import InvalidOption, ProgressNotFound, TaskNotFound
from taskflow.task import DEFAULT_QUEUE, Progress, TaskInfo, TaskState, check_task_id

CHUNK = 20
"""How many entries a follower holds at a time; one that cannot send them keeps them in memory until then."""
NEWEST = "$"
"""Stands for the newest entry, as in Redis."""
_LAST_NUMBER = 2**64 - 1
ENDED = "-"
"""Stands in place of an entry's id for the end of a task that has published none."""
_STREAM_ID = re.compile(r"\d{1,19}(-\d{1,19})?", re.ASCII)
LookUp = Callable[[], Awaitable[TaskInfo | None]]
"""Returns what is known of the task now."""


class ProgressInfo(Struct, frozen=True, kw_only=True):
    """How much progress a task has published, and the first and last entry of what is kept of it."""

    task_id: str
    length: int
    first: ProgressEntry | None
    last: ProgressEntry | None


class ProgressEvent(Struct, frozen=True, kw_only=True):
    """Something a follower is told.

    Attributes:
        kind: `history` (published before), `progress`, `done` (the last: how the task ended), `error` (the last: the task
            is gone, nobody knows how it ended).
        task_id: The task.
        entry: What was published; None with `error`.

    """

    kind: Literal["history", "progress", "done", "error"]
    task_id: str
    entry: ProgressEntry | None = None


class TaskProgress:
    """Reads progress streams.

    Args:
        stream: The streams.
        inspector: Tells the state of tasks that published nothing.
        watches: What all followers share.

    """

    def __init__(self, stream: ProgressStream, inspector: Inspector, watches: Watches) -> None:
        self._stream = stream
        self._inspector = inspector
        self._watches = watches

    async def latest(self, task_id: str, queue: str | None = None) -> ProgressEntry:
        """Return the newest entry; of a task that ended without publishing any, one that tells its end.

        Raises:
            ProgressNotFound: The task has published nothing and not ended, or there is no such task.
            InvalidTaskId: The id cannot be one.

        """
        check_task_id(task_id)
        entry = await self._stream.latest(task_id)
        if entry is None:
            info = await self._inspect(task_id, queue)
            if info is None or not info.state.finished:
                raise ProgressNotFound(task_id)
            entry = _end_of(info, last=None)
        return entry

    async def history(self, task_id: str, *, start: str | None = None) -> list[ProgressEntry]:
        """Return what is kept of the published entries, oldest first; none if nothing was published.

        Args:
            task_id: The task.
            start: Begin with the entry of this id, or the next one. Default: the oldest.

        Raises:
            InvalidOption: `start` is not the id of an entry.

        """
        check_task_id(task_id)
        return await self._stream.history(task_id, after=None if start is None else _name(_before(_checked(start))))

    async def info(self, task_id: str) -> ProgressInfo:
        """Return how much was published."""
        check_task_id(task_id)
        last = await self._stream.latest(task_id)
        first = await self._stream.history(task_id, count=1)
        length = await self._stream.length(task_id)
        return ProgressInfo(task_id=task_id, length=length, first=first[0] if first else None, last=last)

    async def has_told_all(self, task_id: str, stream_id: str) -> bool:
        """Whether an entry, or `ENDED`, is the last of a task that has ended: who has it has been told all there is.

        Raises:
            InvalidOption: It is not the id of an entry.

        """
        check_task_id(task_id)
        newest = await self._stream.latest(task_id)
        if stream_id == ENDED:
            told = newest is None
        else:
            told = newest is not None and newest.is_final and place(newest.stream_id) == _checked(stream_id)
        if not told:
            return False
        info = await self._inspect(task_id, None)
        return info is None or info.state.finished

    async def follow(
        self, task_id: str, *, queue: str | None = None, after: str | None = None, history: bool = False
    ) -> AsyncGenerator[ProgressEvent, None]:
        """Return the events of a task, from its newest entry on; they end with `done` or `error`.

        Args:
            task_id: The task.
            queue: Its queue; default: all are searched.
            after: Begin behind the entry with this id instead, `0` being before all, and `$` (`NEWEST`) the newest; `ENDED` is
                behind none.
            history: Begin with all entries that are kept, as `history`.

        Raises:
            TaskNotFound: There is no such task, and nothing of its progress.
            InvalidOption: `after` is not the id of an entry.

        """
        check_task_id(task_id)
        start = await self._start(task_id, after, history=history)
        info = await self._inspect(task_id, queue)
        if info is None and not await self._stream.length(task_id):
            raise TaskNotFound(task_id, queue)
        home = info.queue if info else queue or DEFAULT_QUEUE
        return self._events(task_id, home, start, history=history)

    async def _start(self, task_id: str, after: str | None, *, history: bool) -> Place | None:
        if after is None or after == ENDED or (after == NEWEST and history):
            return None
        if after != NEWEST:
            return _checked(after)
        newest = await self._stream.latest(task_id)
        return BEGIN if newest is None else place(newest.stream_id)

    async def _events(
        self, task_id: str, queue: str, start: Place | None, *, history: bool
    ) -> AsyncGenerator[ProgressEvent, None]:
        async with self._watches.follow(task_id, queue) as (watch, woken):
            follower = _Follower(self._stream, watch, woken)
            look_up = partial(self._inspect, task_id, queue)
            async with aclosing(follower.events(look_up, start, history=history)) as events:
                async for event in events:
                    yield event

    async def _inspect(self, task_id: str, queue: str | None) -> TaskInfo | None:
        try:
            return await self._inspector.task(task_id, queue)
        except TaskNotFound:
            return None


class _Follower:
    """Follows one task: up to where it has been told of it."""

    def __init__(self, stream: ProgressStream, watch: Watch, woken: asyncio.Event) -> None:
        self._stream = stream
        self._watch = watch
        self._woken = woken
        self._last: ProgressEntry | None = None
        self._at = BEGIN

    async def events(
        self, look_up: LookUp, start: Place | None, *, history: bool
    ) -> AsyncGenerator[ProgressEvent, None]:
        """Yield the events until the task has ended."""
        async for event in self._begin(look_up, start, history=history):
            yield event
            if event.kind == "done":
                return
        self._watch.begin(self._at)
        while True:
            self._woken.clear()
            entries, more = self._watch.since(self._at, CHUNK) or await self._read()
            for event in self._told(entries, more=more):
                yield event
                if event.kind == "done":
                    return
            if entries:
                continue
            if self._watch.failure is not None:
                raise self._watch.failure
            if self._watch.ended:
                break
            await self._woken.wait()
        info = await look_up()
        if info is None or not info.state.finished:
            yield ProgressEvent(kind="error", task_id=self._watch.task_id)
        else:
            yield ProgressEvent(kind="done", task_id=self._watch.task_id, entry=_end_of(info, self._last))

    async def _begin(
        self, look_up: LookUp, start: Place | None, *, history: bool
    ) -> AsyncGenerator[ProgressEvent, None]:
        """Yield what was published before: the newest entry, or all of them."""
        task_id = self._watch.task_id
        if start is None and not history:
            newest = await self._stream.latest(task_id)
            entries, more = [newest] if newest else [], False
        else:
            self._at = start or BEGIN
            self._last = await self._stream.find(task_id, _name(start)) if start else None
            entries, more = await self._read()
        while entries:
            old = not more and entries[-1].is_final and await _is_alive(look_up)
            for event in self._told(entries, more=more or old, kind="history" if history else "progress"):
                if not (old and start is None and not history):
                    yield event
            entries, more = await self._read() if more else ([], False)

    async def _read(self) -> tuple[list[ProgressEntry], bool]:
        """Return the next entries of the stream itself, and whether there are more behind them."""
        entries = await self._stream.history(self._watch.task_id, after=_name(self._at), count=CHUNK + 1)
        return entries[:CHUNK], len(entries) > CHUNK

    def _told(
        self, entries: Sequence[ProgressEntry], *, more: bool, kind: Literal["history", "progress"] = "progress"
    ) -> Iterator[ProgressEvent]:
        """Yield entries, and note each as told. A final one with others behind it is that of an earlier run of the task."""
        for entry in entries:
            self._last = entry
            self._at = place(entry.stream_id)
            final = entry.is_final and entry is entries[-1] and not more
            yield ProgressEvent(kind="done" if final else kind, task_id=self._watch.task_id, entry=entry)


async def _is_alive(look_up: LookUp) -> bool:
    """Whether a task has not ended, or runs again."""
    info = await look_up()
    return info is not None and not info.state.finished


def _checked(stream_id: str) -> Place:
    if not _STREAM_ID.fullmatch(stream_id):
        raise InvalidOption(
            "start_id", f"must be the stream_id of an entry, such as '1700000000000-0', not {stream_id[:50]!r}"
        )
    return place(stream_id)


def _before(at: Place) -> Place:
    """Return the place behind which the entry of a place is the first."""
    milliseconds, number = at
    if number:
        return milliseconds, number - 1
    return (milliseconds - 1, _LAST_NUMBER) if milliseconds else BEGIN


def _name(at: Place) -> str:
    return f"{at[0]}-{at[1]}"


def status_of(info: TaskInfo) -> str:
    """Return how a task has ended: completed, failed or cancelled."""
    if info.state is TaskState.COMPLETED:
        return "completed"
    return "cancelled" if info.cancelled else "failed"


def _end_of(info: TaskInfo, last: ProgressEntry | None) -> ProgressEntry:
    """Return the last entry of a task whose worker wrote none, as it would have written it."""
    status = status_of(info)
    ended_at = info.completed_at or info.archived_at
    percentage = 100.0 if status == "completed" else last.progress.percentage if last else 0.0
    progress = Progress(
        task_id=info.id,
        percentage=percentage,
        stage=status,
        message=last.progress.message if last else "",
        timestamp_ms=int(ended_at.timestamp() * 1000) if ended_at else 0,
        metadata=last.progress.metadata if last else None,
    )
    return ProgressEntry(stream_id=last.stream_id if last else "", progress=progress, is_final=True, status=status)
