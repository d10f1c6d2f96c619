"""Notices: what a queue's outbox keeps of the end of a task, until its webhook is on its way.

Workers write them, and so do the scripts that end a task nobody runs (the part `tell`). A line of text, then the message, then
the result, if it is not too large: `completed 1767225600000000000 123 17`, with the time (Unix ns), the size of the message, and that
of the result (`-`: none) in bytes. Of a task that ran, the message has no payload.
"""

from __future__ import annotations

from typing import Literal, get_args

from msgspec import Struct

from taskflow.errors import MessageInvalid
from taskflow.wire import message as wire
from taskflow.wire.message import TaskMessage

Ending = Literal["completed", "failed", "cancelled"]
"""How a task ended, as its webhook says it."""
MOST_OF_RESULT = 64 * 1024
"""A result of more bytes is left out of the notice."""
_ENDINGS = {ending.encode(): ending for ending in get_args(Ending)}
_PARTS = 4


class Notice(Struct, frozen=True):
    """The end of a task: how and when (Unix ns), the message as it was then, and the result.

    `result_size` is the size of the result in bytes; one that was too large is None nevertheless.
    """

    ending: Ending
    at_ns: int
    message: TaskMessage
    result: bytes | None = None
    result_size: int = 0


def encode(
    message: TaskMessage, ending: Ending, *, at_ns: int, result: bytes | None = None, error: str | None = None
) -> bytes:
    """Return the notice of a task's end at a time (Unix ns); `error` says why it did not succeed."""
    twin = wire.copy(message)
    twin.ClearField("payload")
    if error is not None:
        twin.error_msg = wire.printable(error)
    data = twin.SerializeToString()
    size = "-" if result is None else len(result)
    kept = result if result is not None and len(result) <= MOST_OF_RESULT else b""
    return f"{ending} {at_ns} {len(data)} {size}\n".encode() + data + kept


def decode(data: bytes) -> Notice:
    """Return what a notice says. Raises `MessageInvalid` if it is none: anybody may write to Redis."""
    line, _, rest = data.partition(b"\n")
    parts = line.split(b" ")
    if len(parts) != _PARTS or parts[0] not in _ENDINGS:
        raise MessageInvalid(f"these {len(data)} bytes are no notice of a task's end")
    try:
        at_ns, length, size = int(parts[1]), int(parts[2]), None if parts[3] == b"-" else int(parts[3])
    except ValueError as error:
        raise MessageInvalid(f"these {len(data)} bytes are no notice of a task's end: {error}") from None
    message = wire.decode(rest[:length])
    result = None if size is None or len(rest) - length != size else rest[length:]
    return Notice(_ENDINGS[parts[0]], at_ns, message, result, size or 0)
