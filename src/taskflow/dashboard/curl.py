"""Curl: the command line that creates a task like another one by the API."""

from __future__ import annotations

import shlex
from typing import Any

import msgspec

from taskflow.dashboard.values import visible_json
from taskflow.durations import format_duration
from taskflow.task import TaskInfo, TaskState
from taskflow.wire.payload import json_or_base64

MOST_BYTES = 16 * 1024
"""The longest payload that is put on a command line."""


def curl(info: TaskInfo, address: str, *, guarded: bool) -> str | None:
    """Return the command that creates a task of the same type, payload and options; None if JSON cannot carry the payload.

    Args:
        info: The task.
        address: Where the application is: `http://127.0.0.1:8080`.
        guarded: Whether the API asks for a key.

    """
    payload, encoding = json_or_base64(info.payload)
    if encoding != "json" or len(info.payload) > MOST_BYTES:
        return None
    lines = [f"curl {shlex.quote(address + '/api/v1/tasks')}"]
    if guarded:
        lines.append('-H "Authorization: Bearer $TASKFLOW_KEY"')
    lines.append("-H 'Content-Type: application/json'")
    body = visible_json(msgspec.json.encode({"type": info.type, "payload": payload, **options(info)}).decode())
    lines.append(f"-d {shlex.quote(body)}")
    return " \\\n  ".join(lines)


def options(info: TaskInfo) -> dict[str, Any]:
    """Return the options with which a task was created, as far as they are known, as the API takes them."""
    due = info.next_process_at if info.state is TaskState.SCHEDULED else None
    found = {
        "queue": info.queue,
        "max_retries": info.max_retries,
        "timeout": None if info.timeout is None else format_duration(info.timeout),
        "deadline": info.deadline,
        "process_at": due,
        "retention": format_duration(info.retention),
        "group": info.group,
        "metadata": dict(info.headers) or None,
        "callback_url": info.callback_url,
    }
    return {name: value for name, value in found.items() if value is not None}
