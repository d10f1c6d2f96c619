"""The error, as the JSON contract has it."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class ErrorBody(Struct, frozen=True):
    """What went wrong: for people, for programs, and the facts."""

    error: str
    code: str
    details: dict[str, Any]
