"""The key of a unique lock: what makes a task the same as another.

All keys stand where asynq's stand, `asynq:{q}:unique:<type>:`, and a message names its key in full, so that asynq treats
them alike. What follows the last colon is asynq's digest of the payload (32 hexadecimal digits, or nothing), or begins
with `key=` or `fields=`: a lock of one kind is never one of another.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from taskflow.errors import InvalidUnique
from taskflow.unique import Unique
from taskflow.wire.keys import QueueKeys

_MISSING = object()
_CANONICAL = msgspec.json.Encoder(order="sorted")


def lock_key(keys: QueueKeys, task_type: str, payload: bytes | None, unique: Unique) -> str:
    """Return the lock of a task of a queue; `payload` None: it has none.

    Raises:
        InvalidUnique: Fields are chosen of a payload that is no JSON object.

    """
    if unique.key is not None:
        text = unique.key.replace("%", "%25").replace(":", "%3A")
        return f"{keys.unique_prefix}{task_type}:key={text}"
    if unique.fields is not None:
        digest = hashlib.md5(chosen(payload, unique.fields), usedforsecurity=False).hexdigest()
        return f"{keys.unique_prefix}{task_type}:fields={digest}"
    return keys.unique(task_type, payload)


def chosen(payload: bytes | None, fields: tuple[str, ...]) -> bytes:
    """Return chosen fields of a payload as one JSON object: names sorted, no space between tokens.

    A dot in a name looks into an object. A missing field is left out.
    """
    try:
        value = msgspec.json.decode(payload or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidUnique("fields choose from a payload that is a JSON object; this one is not: give a key instead")
    found = {name: _look_up(value, name) for name in fields}
    return _CANONICAL.encode({name: value for name, value in found.items() if value is not _MISSING})


def _look_up(value: Any, name: str) -> Any:
    for step in name.split("."):
        if not isinstance(value, dict) or step not in value:
            return _MISSING
        value = value[step]
    return value
