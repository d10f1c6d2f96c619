"""Criteria: which tasks of a state are meant, by type, by what they hold, and by time."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import Struct

from taskflow.task import TaskInfo, TaskState
from taskflow.wire import message as wire

Part = Literal["id", "error", "payload"]
"""A part of a task that is searched for text; `error` is its last error."""
PARTS: tuple[Part, ...] = ("id", "error", "payload")


BRIEF_BYTES = 1024
"""How much is read of payloads and results that nobody searches, and that are not to be shown whole."""


class Criteria(Struct, frozen=True, kw_only=True):
    """Which tasks are meant: those that meet all that is said.

    Attributes:
        type: Only tasks of this type.
        text: Only tasks that hold this text in one of `parts`.
        parts: Where the text is looked for. Default: in the id, the last error, and the payload.
        since: Only tasks whose time is this or later. Which time depends on the state: since when they are pending or active,
            when scheduled and retry tasks fall due, when they were completed or archived, when they joined their group.
        until: Only tasks whose time is before this.

    """

    type: str | None = None
    text: str | None = None
    parts: tuple[Part, ...] = PARTS
    since: datetime | None = None
    until: datetime | None = None

    @property
    def choosy(self) -> bool:
        """Whether some tasks may not be meant."""
        return not (self.type is None and self.text is None and self.since is None and self.until is None)

    def most_bytes(self, *, brief: bool) -> int | None:
        """Return how much must be read of each payload and result; None: all. `brief`: their beginning is enough to be shown."""
        searched = self.text is not None and "payload" in self.parts
        return BRIEF_BYTES if brief and not searched else None

    def fits(self, task: TaskInfo, score: bytes = b"") -> bool:
        """Whether a task is meant; `score` is that of its place in the set of its state, if it is known."""
        if self.type is not None and task.type != self.type:
            return False
        return self._in_time(task, score) and (self.text is None or self._holds(task, self.text))

    def _in_time(self, task: TaskInfo, score: bytes) -> bool:
        if self.since is None and self.until is None:
            return True
        moment = _moment(task, score)
        if moment is None:
            return False
        return (self.since is None or self.since <= moment) and (self.until is None or moment < self.until)

    def _holds(self, task: TaskInfo, text: str) -> bool:
        return (
            ("id" in self.parts and text in task.id)
            or ("error" in self.parts and text in (task.last_error or ""))
            or ("payload" in self.parts and text.encode() in task.payload)
        )


def _moment(task: TaskInfo, score: bytes) -> datetime | None:
    """Return the time that tells when a task came into its state, or is to leave it; None if nobody knows."""
    if task.state is TaskState.AGGREGATING and score:  # its place in the group tells when it joined
        return wire.moment(float(score))
    moments = {
        TaskState.PENDING: task.pending_since,
        TaskState.ACTIVE: task.started_at,
        TaskState.SCHEDULED: task.next_process_at,
        TaskState.RETRY: task.next_process_at,
        TaskState.COMPLETED: task.completed_at,
        TaskState.ARCHIVED: task.archived_at,
    }
    return moments.get(task.state)
