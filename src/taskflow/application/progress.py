"""TaskProgress: how far tasks have come, read once or followed live.

A task's progress stream ends with an entry that says how the task ended; its worker writes it. A task that published no
progress has no stream: then its state tells.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Literal

from msgspec import Struct

from taskflow.broker.inspector import Inspector
from taskflow.broker.progress import ProgressEntry, ProgressStream
from taskflow.broker.subscriptions import Listener, Subscriptions
from taskflow.errors import InvalidOption, ProgressNotFound, TaskNotFound
from taskflow.task import Progress, TaskInfo, TaskState, check_task_id
from taskflow.wire.keys import ENDED_CHANNEL, PROGRESS_CHANNEL

CHECK_SECONDS = 1.0
"""How often a follower looks by itself: a Go worker announces neither progress nor ends."""
LAST_ENTRY_SECONDS = 1.0
"""How long a follower waits for the last entry of a task that has ended."""
CHUNK = 500
_STREAM_ID = re.compile(r"\d{1,19}(-\d{1,19})?", re.ASCII)
_ENDS = {state.value.encode() for state in TaskState if state.finished}


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
        subscriptions: The one connection that wakes all followers.

    """

    def __init__(self, stream: ProgressStream, inspector: Inspector, subscriptions: Subscriptions) -> None:
        self._stream = stream
        self._inspector = inspector
        self._subscriptions = subscriptions

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

    async def history(self, task_id: str) -> list[ProgressEntry]:
        """Return what is kept of the published entries, oldest first; none if nothing was published."""
        check_task_id(task_id)
        return await self._stream.history(task_id)

    async def info(self, task_id: str) -> ProgressInfo:
        """Return how much was published."""
        check_task_id(task_id)
        last = await self._stream.latest(task_id)
        first = await self._stream.history(task_id, count=1)
        length = await self._stream.length(task_id)
        return ProgressInfo(task_id=task_id, length=length, first=first[0] if first else None, last=last)

    async def follow(
        self, task_id: str, *, queue: str | None = None, after: str | None = None, history: bool = False
    ) -> AsyncGenerator[ProgressEvent, None]:
        """Return the events of a task, from its newest entry on; they end with `done` or `error`.

        Args:
            task_id: The task.
            queue: Its queue; default: all are searched.
            after: Begin behind the entry with this id instead.
            history: Begin with all entries that are kept, as `history`.

        Raises:
            TaskNotFound: There is no such task, and nothing of its progress.
            InvalidOption: `after` is not the id of an entry.

        """
        check_task_id(task_id)
        if after is not None and not _STREAM_ID.fullmatch(after):
            raise InvalidOption(
                "start_id", f"must be the stream_id of an entry, such as '1700000000000-0', not {after[:50]!r}"
            )
        info = await self._inspect(task_id, queue)
        if info is None and not await self._stream.length(task_id):
            raise TaskNotFound(task_id, queue)
        channels = (PROGRESS_CHANNEL + task_id, ENDED_CHANNEL + task_id)
        follower = _Follower(self._stream, self._inspector, task_id, info.queue if info else queue)
        return self._listening(channels, follower, after=after, history=history)

    async def _listening(
        self, channels: Sequence[str], follower: _Follower, *, after: str | None, history: bool
    ) -> AsyncGenerator[ProgressEvent, None]:
        async with (
            self._subscriptions.listen(*channels) as listener,
            aclosing(follower.events(listener, after=after, history=history)) as events,
        ):
            async for event in events:
                yield event

    async def _inspect(self, task_id: str, queue: str | None) -> TaskInfo | None:
        try:
            return await self._inspector.task(task_id, queue)
        except TaskNotFound:
            return None


class _Follower:
    """Follows one task: what it has been told of, and what is new since."""

    def __init__(self, stream: ProgressStream, inspector: Inspector, task_id: str, queue: str | None) -> None:
        self._stream = stream
        self._inspector = inspector
        self._task_id = task_id
        self._queue = queue
        self._last: ProgressEntry | None = None
        self._after: str | None = None

    async def events(
        self, listener: Listener, *, after: str | None, history: bool
    ) -> AsyncGenerator[ProgressEvent, None]:
        """Yield the events until the task has ended."""
        self._after = after
        if after is None and not history:
            newest = await self._stream.latest(self._task_id)
            entries = [newest] if newest else []
        else:
            entries = await self._news()
        kind: Literal["history", "progress"] = "history" if history else "progress"
        look_at_state = True
        while True:
            while entries:
                for event in self._told(entries, kind):
                    yield event
                    if event.kind == "done":
                        return
                entries = await self._news()
            kind = "progress"
            if look_at_state and await self._has_ended():
                break
            messages = await listener.wait(CHECK_SECONDS)
            look_at_state = not messages or not _ENDS.isdisjoint(messages)
            entries = await self._news()
        async for event in self._last_events(listener):
            yield event

    async def _last_events(self, listener: Listener) -> AsyncGenerator[ProgressEvent, None]:
        """Yield what is still to come of a task that has ended: its worker writes the last entry after the end."""
        until = time.monotonic() + LAST_ENTRY_SECONDS
        while True:
            for event in self._told(await self._news(), "progress"):
                yield event
                if event.kind == "done":
                    return
            left = until - time.monotonic()
            if self._last is None or left <= 0:
                break
            await listener.wait(left)
        info = await self._inspect()
        if info is None or not info.state.finished:
            yield ProgressEvent(kind="error", task_id=self._task_id)
        else:
            yield ProgressEvent(kind="done", task_id=self._task_id, entry=_end_of(info, self._last))

    async def _news(self) -> list[ProgressEntry]:
        return await self._stream.history(self._task_id, after=self._after, count=CHUNK)

    def _told(self, entries: Sequence[ProgressEntry], kind: Literal["history", "progress"]) -> list[ProgressEvent]:
        """Note that entries have been told. A final entry with others behind it is that of an earlier run of the task."""
        events = []
        for entry in entries:
            final = entry.is_final and entry is entries[-1]
            events.append(ProgressEvent(kind="done" if final else kind, task_id=self._task_id, entry=entry))
            self._last = entry
            self._after = entry.stream_id
        return events

    async def _has_ended(self) -> bool:
        info = await self._inspect()
        return info is None or info.state.finished

    async def _inspect(self) -> TaskInfo | None:
        try:
            return await self._inspector.task(self._task_id, self._queue)
        except TaskNotFound:
            return None


def status_of(info: TaskInfo) -> str:
    """Return how a task has ended: completed, failed or cancelled."""
    if info.state is TaskState.COMPLETED:
        return "completed"
    return "cancelled" if info.cancelled else "failed"


def _end_of(info: TaskInfo, last: ProgressEntry | None) -> ProgressEntry:
    """Return the last entry of a task whose worker wrote none, as it would have written it."""
    status = status_of(info)
    ended_at = info.completed_at or info.last_failed_at
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
