"""Messages: what an action has done is said on the page that comes next. They travel in a signed cookie, for one look."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

import msgspec
from msgspec import Struct, structs

from taskflow.dashboard.signing import is_signed, signature
from taskflow.dashboard.visitor import Visitor

MESSAGE_COOKIE = "taskflow_message"
SECONDS = 60
"""How long a message waits for its page."""
_MOST_BYTES = 3000
"""Browsers keep 4,096 bytes of a cookie."""
_MOST_CHARACTERS = 500


class Undo(Struct, frozen=True):
    """A button beside a message, which takes back what was done: what it is called, where its form goes, and its fields."""

    label: str
    path: str
    query: Mapping[str, str] = {}
    fields: Mapping[str, str] = {}


class Message(Struct, frozen=True, kw_only=True):
    """What is to be said; `failed` if it is bad news."""

    text: str
    failed: bool = False
    undo: Undo | None = None


def sealed(message: Message, visitor: Visitor) -> str:
    """Return a message as the value of a cookie. An undo for which there is no room is left out."""
    short = structs.replace(message, text=message.text[:_MOST_CHARACTERS])
    data = msgspec.json.encode(short)
    if len(data) > _MOST_BYTES:
        data = msgspec.json.encode(structs.replace(short, undo=None))
    text = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    return f"{text}.{signature(visitor.secret, 'message', visitor.nonce + text)}"


def opened(value: str, visitor: Visitor) -> Message | None:
    """Return the message in a cookie; None if it was not made for this visitor."""
    text, _, given = value.partition(".")
    if not is_signed(visitor.secret, "message", visitor.nonce + text, given):
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=Message)
    except (msgspec.DecodeError, binascii.Error):
        return None
