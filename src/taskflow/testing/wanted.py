"""Wanted: what a test looks for among the tasks that wait, and in what each of them differs from it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from msgspec import Struct

from taskflow.task import Task, TaskInfo
from taskflow.wire.payload import encode_payload

ANY: Final[Any] = msgspec.UNSET
"""Stands for any payload; None is the empty one."""
TOLERANCE = timedelta(seconds=5)
"""How far a due time may be from the one that is looked for."""
_MOST_LINES = 20
_PAYLOAD_CHARACTERS = 300


class Wanted(Struct, frozen=True, kw_only=True):
    """What is looked for; what is None may be anything.

    `payload` is bytes, or a JSON value: of an object, the named fields count, at any depth. With `whole`, all of it does.
    """

    type: str | None = None
    payload: Any = ANY
    whole: bool = False
    queue: str | None = None
    due: datetime | None = None
    tolerance: timedelta = TOLERANCE

    def differences(self, task: TaskInfo) -> list[str]:
        """Return in what a task differs, nothing if it is what is looked for."""
        found = []
        if self.type not in {None, task.type}:
            found.append(f"type is not {self.type}")
        if self.queue not in {None, task.queue}:
            found.append(f"queue is not {self.queue}")
        if self.payload is not ANY and not self._fits(task.payload):
            found.append("payload differs")
        if self.due is not None and (off := _due(task, self.due) - self.due) and abs(off) > self.tolerance:
            found.append(f"due {_span(abs(off))} too {'late' if off > timedelta(0) else 'early'}")
        return found

    def _fits(self, payload: bytes) -> bool:
        if isinstance(self.payload, bytes):
            return payload == self.payload
        try:
            value = msgspec.json.decode(payload) if payload else None
        except msgspec.MsgspecError:
            return False
        return bool(value == self.payload) if self.whole else _contains(value, self.payload)

    def __str__(self) -> str:
        words = [f"of type {self.type}" if self.type is not None else "of any type"]
        if self.payload is not ANY:
            words.append(f"with {'exactly ' if self.whole else ''}the payload {shown(encode_payload(self.payload))}")
        if self.queue is not None:
            words.append(f"in queue {self.queue}")
        if self.due is not None:
            words.append(f"due at {self.due:%Y-%m-%d %H:%M:%S} UTC, give or take {_span(self.tolerance)}")
        return " ".join(words)


def wanted(
    task: str | Task | None,
    *,
    payload: Any = ANY,
    queue: str | None = None,
    due: datetime | None = None,
    tolerance: timedelta = TOLERANCE,
) -> Wanted:
    """Return what the arguments of an assertion describe; a whole `Task` names its type, its payload and its queue.

    Raises:
        TypeError: A whole task is given, and a payload too.
        InvalidPayload: The payload has no JSON form.

    """
    whole = isinstance(task, Task)
    if isinstance(task, Task):
        if payload is not ANY:
            raise TypeError("a Task carries its payload; give a type to look for another")
        queue = task.options.queue if queue is None else queue
        payload, task = task.payload, task.type
    if payload is not ANY:
        payload = _as_travelled(payload, decode=whole)
    return Wanted(type=task, payload=payload, whole=whole, queue=queue, due=due, tolerance=tolerance)


def report(
    heading: str, tasks: Sequence[TaskInfo], now: datetime, *, beside: Wanted | None = None, verb: str = "waiting"
) -> str:
    """Return a failed assertion's message: a heading, and the tasks there are, those of the right type with what differs."""
    lines = [heading, f"{verb}: {len(tasks) or 'nothing'}"]
    for task in tasks[:_MOST_LINES]:
        differences = beside.differences(task) if beside is not None and task.type == beside.type else []
        lines.append(f"  {line(task, now)}" + (f"  <- {', '.join(differences)}" if differences else ""))
    if len(tasks) > _MOST_LINES:
        lines.append(f"  ... and {len(tasks) - _MOST_LINES} more")
    return "\n".join(lines)


def line(task: TaskInfo, now: datetime) -> str:
    """Return a task in one line."""
    words = [task.type, shown(task.payload), f"queue={task.queue}", task.state.value]
    if task.group is not None:
        words.append(f"group={task.group}")
    if task.next_process_at is not None:
        words.append(f"due in {_span(task.next_process_at - now)}")
    if task.last_error:
        words.append(f"after {task.last_error!r:.200}")
    return "  ".join(words)


def shown(payload: bytes) -> str:
    """Return a payload as one reads it, cut where it grows long."""
    try:
        text = payload.decode() or "(empty)"
    except UnicodeDecodeError:
        text = repr(payload)
    return text if len(text) <= _PAYLOAD_CHARACTERS else text[:_PAYLOAD_CHARACTERS] + "..."


def _as_travelled(payload: Any, *, decode: bool) -> Any:
    """Return a payload as the far end sees it: JSON values, or bytes that are not JSON."""
    data = encode_payload(payload)
    if isinstance(payload, bytes) and not decode:
        return data
    try:
        return msgspec.json.decode(data) if data else None
    except msgspec.MsgspecError:
        return data


def _contains(value: Any, part: Any) -> bool:
    if isinstance(part, dict) and isinstance(value, dict):
        return all(key in value and _contains(value[key], inner) for key, inner in part.items())
    return bool(value == part)


def _due(task: TaskInfo, otherwise: datetime) -> datetime:
    """Return when a task falls or fell due; one that waits in a group has no such time."""
    return task.next_process_at or task.pending_since or otherwise


def _span(span: timedelta) -> str:
    return f"{span.total_seconds():.1f} s"
