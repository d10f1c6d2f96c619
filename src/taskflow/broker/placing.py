"""Placing: a task and its options -> how it is stored, and what is then known of it. No I/O, so clients and workers share it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from taskflow.broker.placement import Placement, lock_terms
from taskflow.task import CALLBACK_HEADER, DEFAULT_TIMEOUT, Task, TaskInfo, TaskOptions
from taskflow.unique import Unique
from taskflow.wire.keys import queue_keys
from taskflow.wire.message import TaskMessage, whole_seconds
from taskflow.wire.payload import encode_payload
from taskflow.wire.unique import lock_key


class _Ids:
    """Random version 4 UUIDs; the random bytes are drawn in bulk, which makes an id three times cheaper."""

    def __init__(self) -> None:
        self._pool = ""
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._pool = ""

    def new(self) -> str:
        if not self._pool:
            self._pool = os.urandom(16 * 256).hex()
        digits, self._pool = self._pool[:32], self._pool[32:]
        variant = "89ab"[int(digits[16], 16) & 3]
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


_IDS = _Ids()
_NO_LOCK = "", "", ""


def place(task: Task, *, now: float, once: str = "") -> tuple[Placement, TaskInfo]:
    """Return how a task is stored at a time (Unix s), and what is then known of it; `once` as in `Placement`.

    Raises:
        InvalidPayload: The payload has no JSON form.
        InvalidUnique: The unique lock is that of fields, and the payload is no JSON object.

    """
    options = task.options
    payload = encode_payload(task.payload)
    task_id = options.task_id or _IDS.new()
    timeout = whole_seconds(options.timeout) if options.timeout else 0
    if not timeout and options.deadline is None:
        timeout = int(DEFAULT_TIMEOUT.total_seconds())
    due = _due(options, now)
    lock, lock_in_message, terms = _NO_LOCK
    if options.unique is not None:
        lock, lock_in_message, terms = _lock(task, options.unique, payload, due, now)
    message = TaskMessage(
        type=task.type,
        payload=payload,
        id=task_id,
        queue=options.queue,
        retry=options.max_retries,
        timeout=timeout,
        deadline=int(options.deadline.timestamp()) if options.deadline else 0,
        unique_key=lock_in_message,
        retention=whole_seconds(options.retention) if options.retention else 0,
        group_key=options.group or "",
        headers=options.headers or None if options.callback_url is None else _told(options, options.callback_url),
    )
    placement = Placement(
        options.queue,
        task_id,
        message.SerializeToString(),
        due,
        options.group or "",
        lock,
        terms,
        once,
    )
    info = TaskInfo(
        id=task_id,
        queue=options.queue,
        type=task.type,
        state=placement.state,
        payload=payload,
        max_retries=options.max_retries,
        timeout=timedelta(seconds=timeout) if timeout else None,
        deadline=options.deadline,
        retention=timedelta(seconds=message.retention),
        group=options.group,
        headers=options.headers,
        callback_url=options.callback_url,
        next_process_at=datetime.fromtimestamp(due, UTC) if due else None,
    )
    return placement, info


def _told(options: TaskOptions, callback_url: str) -> Mapping[str, str]:
    return {**options.headers, CALLBACK_HEADER: callback_url}


def _due(options: TaskOptions, now: float) -> float | None:
    if options.process_at is not None:
        due = options.process_at.timestamp()
    elif options.process_in:
        due = now + options.process_in.total_seconds()
    else:
        return None
    return round(due, 6) if due > now else None


def _lock(
    task: Task, choices: timedelta | Unique, payload: bytes, due: float | None, now: float
) -> tuple[str, str, str]:
    """Return the key of a task's unique lock, what its message says of it, and the lock's terms."""
    unique = choices if isinstance(choices, Unique) else Unique(choices)
    key = lock_key(queue_keys(task.options.queue), task.type, None if task.payload is None else payload, unique)
    until_due = timedelta(seconds=due - now) if due else timedelta(0)
    terms = lock_terms(whole_seconds(until_due + unique.ttl), unique.until, unique.on_conflict)
    return key, "" if unique.until == "expired" else key, terms
