"""Health, as the JSON contract has it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import UNSET, Struct, UnsetType


class HealthBody(Struct, frozen=True):
    """Whether the server works, and what it needs."""

    status: Literal["healthy", "unhealthy"]
    timestamp: datetime
    services: dict[str, str]


class Ready(Struct, frozen=True):
    """Whether the server can take requests."""

    status: Literal["ready", "not ready"]
    reason: str | UnsetType = UNSET


class Alive(Struct, frozen=True):
    """The process answers."""

    status: Literal["alive"] = "alive"
