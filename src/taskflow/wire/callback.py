"""The callback URL of a task: it travels in a header of its own, so that Go programs carry it too."""

from __future__ import annotations

from taskflow.task import CALLBACK_HEADER
from taskflow.wire.asynq_pb2 import TaskMessage


def callback_url(message: TaskMessage) -> str | None:
    """Return the URL that is to hear of the task's end, None if there is none."""
    return message.headers[CALLBACK_HEADER] or None if CALLBACK_HEADER in message.headers else None


def own_headers(message: TaskMessage) -> dict[str, str]:
    """Return what the producer sent along: the headers without TaskFlow's own."""
    headers = dict(message.headers)
    headers.pop(CALLBACK_HEADER, None)
    return headers
