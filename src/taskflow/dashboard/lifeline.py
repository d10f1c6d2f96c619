"""Lifeline: what is known of a task's life, in the order of time: what was, and what is to come."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from msgspec import Struct

from taskflow.task import TaskInfo, TaskState

_SECOND = timedelta(seconds=1)


class Moment(Struct, frozen=True):
    """Something that has happened to a task, or will.

    Attributes:
        at: When; None: nobody knows, but it is the last that has happened.
        what: What, in a few words.
        tone: `ok`, `bad`, `warn`, `info`, or '' for what is neither good nor bad.
        detail: More of it, maybe a stranger's text.
        ahead: Whether it is still to come.

    """

    at: datetime | None
    what: str
    tone: str = ""
    detail: str = ""
    ahead: bool = False


def lifeline(info: TaskInfo, now: datetime) -> list[Moment]:
    """Return the moments of a task's life that are known, the oldest first.

    Args:
        info: The task.
        now: Tells what is still to come.

    """
    past = sorted(_past(info), key=lambda moment: moment.at or now)
    return [*past, *_now(info, past), *sorted(_ahead(info, now), key=lambda moment: moment.at or now)]


def _past(info: TaskInfo) -> Iterator[Moment]:
    for attempt in info.attempts:
        yield Moment(attempt.at, "An attempt failed", "bad", first_line(attempt.error))
    if info.last_failed_at is not None and not _is_told(info.last_failed_at, info):
        yield Moment(info.last_failed_at, "An attempt failed", "bad", first_line(info.last_error or ""))
    if info.state in {TaskState.PENDING, TaskState.ACTIVE} and info.pending_since is not None:
        yield Moment(info.pending_since, "Began to wait for a worker")
    if info.started_at is not None and info.state is TaskState.ACTIVE:
        yield Moment(info.started_at, "A worker began with it", "info")
    if info.completed_at is not None:
        yield Moment(info.completed_at, "Completed", "ok")


def _now(info: TaskInfo, past: list[Moment]) -> Iterator[Moment]:
    """Yield what is so now, most of it without a time of its own.

    Of an archived task it has one, which is not sorted in: it counts whole seconds, and may precede the failure before it.
    """
    if info.state is TaskState.ARCHIVED:
        yield Moment(info.archived_at, "Cancelled" if info.cancelled else "Archived: it is not tried again", "bad")
    elif info.state is TaskState.AGGREGATING:
        yield Moment(None, "Waits for others of its group", "info", info.group or "")
    elif info.cancelled:
        yield Moment(None, "Told to stop", "warn")
    elif info.orphaned:
        yield Moment(None, "Its worker is gone; another one will get it", "warn")
    elif info.state is TaskState.PENDING and not past:
        yield Moment(None, "Waits for a worker")


def _ahead(info: TaskInfo, now: datetime) -> Iterator[Moment]:
    if info.next_process_at is not None:
        what = "Is tried again" if info.state is TaskState.RETRY else "Falls due"
        yield Moment(info.next_process_at, what, "info", ahead=True)
    if info.state.finished:
        if info.completed_at is not None:
            yield Moment(info.completed_at + info.retention, "Is forgotten", ahead=True)
        return
    if info.state is TaskState.ACTIVE and info.started_at is not None and info.timeout is not None:
        yield Moment(info.started_at + info.timeout, "This attempt times out", "warn", ahead=True)
    if info.deadline is not None:
        late = info.deadline < now
        yield Moment(info.deadline, "Deadline, which has passed" if late else "Deadline", "warn", ahead=not late)


def _is_told(moment: datetime, info: TaskInfo) -> bool:
    """Whether an attempt is kept that failed then; the message counts whole seconds."""
    return any(abs(attempt.at - moment) <= _SECOND for attempt in info.attempts)


def first_line(text: str) -> str:
    """Return the first line of an error."""
    return text.strip().partition("\n")[0]
