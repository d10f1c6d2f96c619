"""Reading: what Redis holds of a task -> what is known of it. No I/O, so every kind of client shares it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from taskflow.broker.delivery import Archive, Delivery, attempt_line, read_attempts
from taskflow.broker.scripts import Call, Script
from taskflow.errors import MessageInvalid
from taskflow.task import TaskInfo, TaskState
from taskflow.wire import message as wire
from taskflow.wire.callback import callback_url, own_headers
from taskflow.wire.keys import QueueKeys

READ = Script("read")
STATES = {state.value.encode(): state for state in TaskState}
"""The states, as a task's hash names them."""
LISTS = frozenset({TaskState.PENDING, TaskState.ACTIVE})
"""States whose tasks stand in a list; those of the others stand in a sorted set."""
NEWEST_FIRST = frozenset({TaskState.ARCHIVED, TaskState.COMPLETED})
"""States of which the newest task is shown first."""


def key_of(keys: QueueKeys, state: TaskState, group: str | None = None) -> str:
    """Return the key of the list or set that holds the tasks of a state; of aggregating ones, those of a group."""
    return keys.group(group or "") if state is TaskState.AGGREGATING else keys.prefix + state.value


def read_call(keys: QueueKeys, ids: Sequence[bytes], most_bytes: int | None = None) -> Call:
    """Return the call that reads tasks of a queue; of each payload and result so many bytes at most."""
    return Call(READ, (keys.lease,), [keys.prefix, keys.due, "" if most_bytes is None else most_bytes, *ids])


def is_task(reply: Sequence[Any] | None) -> bool:
    """Whether a task was found, in a state that there is."""
    return reply is not None and reply[1] in STATES


def task_info(queue: str, task_id: str, reply: Sequence[Any], *, now: float) -> TaskInfo:
    """Return what is known of a task that was found; `now` (Unix s) tells whether its lease has run out."""
    data, state, moment, lease, result, pending_since, started_at, owner, attempts, cancelled = reply
    try:
        message = wire.decode(data)
    except MessageInvalid as error:
        message = wire.TaskMessage(type="", error_msg=str(error), payload=data)
    current = STATES[state]
    of_state = None if moment is None else wire.moment(float(moment))
    return TaskInfo(
        id=task_id,
        queue=queue,
        type=message.type,
        state=current,
        payload=message.payload,
        max_retries=message.retry,
        retried=message.retried,
        last_error=message.error_msg or None,
        last_failed_at=wire.moment(message.last_failed_at),
        timeout=wire.span(message.timeout) if message.timeout > 0 else None,
        deadline=wire.moment(message.deadline),
        retention=wire.span(message.retention),
        group=message.group_key or None,
        headers=own_headers(message),
        callback_url=callback_url(message),
        next_process_at=None if current is TaskState.ARCHIVED else of_state,
        pending_since=_moment_ns(pending_since),
        started_at=_moment_ns(started_at),
        completed_at=wire.moment(message.completed_at),
        archived_at=of_state if current is TaskState.ARCHIVED else None,
        result=result,
        attempts=read_attempts(attempts),
        cancelled=cancelled is not None,
        worker=owner.decode(errors="replace").partition(":")[0] if owner else None,
        orphaned=current is TaskState.ACTIVE and (lease is None or float(lease) < now),
    )


def read_tasks(
    queue: str, state: TaskState, ids: Sequence[bytes], replies: Sequence[Sequence[Any] | None], *, now: float
) -> list[TaskInfo | None]:
    """Return for each id what is known of its task, from the reply to `read_call`; None for one that is not in the state."""
    return [
        task_info(queue, task_id.decode(errors="replace"), reply, now=now)
        if reply is not None and STATES.get(reply[1]) is state
        else None
        for task_id, reply in zip(ids, replies, strict=True)
    ]


def archived_info(delivery: Delivery, outcome: Archive, *, now: float) -> TaskInfo:
    """Return what is known of a task that is archived now (Unix s), without reading it: of its attempts, the last."""
    attempts = attempt_line(outcome.attempt)
    reply = [outcome.message(delivery, now), TaskState.ARCHIVED.encode(), now, *[None] * 5, attempts, None]
    return task_info(delivery.queue, delivery.id, reply, now=now)


def whole(text: bytes | None) -> int:
    """Return the number in a field, 0 if it holds none."""
    return int(text) if text and text.isdigit() else 0


def _moment_ns(unix_nanoseconds: bytes | None) -> datetime | None:
    return None if unix_nanoseconds is None else wire.moment(whole(unix_nanoseconds) / 1e9)
