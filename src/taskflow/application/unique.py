"""Unique locks as the doors of the service show them."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from taskflow.durations import format_duration
from taskflow.unique import Unique


def shown(unique: timedelta | Unique | None) -> str | dict[str, object] | None:
    """Return a unique lock as text and JSON say it: `1h`, or an object with its `ttl` and the choices that were made."""
    if unique is None:
        return None
    if isinstance(unique, timedelta):
        return format_duration(unique)
    choices: dict[str, object] = msgspec.to_builtins(unique)  # without those that are the defaults
    return {**choices, "ttl": format_duration(unique.ttl)}
