"""TaskCatalog: which task types exist. Workers publish theirs, with the schema of the payload and the defaults."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from taskflow.broker.queue import Broker
from taskflow.broker.scripts import Call, Script
from taskflow.unique import Unique
from taskflow.wire.keys import TASK_TYPES

PUBLISH = Script("publish_types")


class TaskType(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a worker says of a type it serves.

    Attributes:
        type: The type, or the prefix of types (`prefix` true).
        schema: JSON Schema of the payload, None if any payload will do.
        doc: The first paragraph of the handler's docstring.
        queue: Where its tasks go unless told otherwise.
        max_retries: Its own default of retries, None for the program's.
        timeout_seconds: Its own default timeout, None for the program's.
        unique: Its own default unique lock, None for no lock.
        callback_url: Where a webhook tells of the end of each task, None for nowhere.
        last_seen: When a worker last said that it serves it.

    """

    type: str
    prefix: bool = False
    schema: dict[str, Any] | None = None
    doc: str = ""
    queue: str | None = None
    max_retries: int | None = None
    timeout_seconds: float | None = None
    unique: timedelta | Unique | None = None
    callback_url: str | None = None
    last_seen: datetime | None = None

    @property
    def name(self) -> str:
        """The type, or the prefix with a `*` behind it."""
        return f"{self.type}*" if self.prefix else self.type

    def serves(self, task_type: str) -> bool:
        """Whether this is the type, or a prefix of it."""
        return task_type.startswith(self.type) if self.prefix else task_type == self.type


class TaskCatalog:
    """The types that workers have published, in one Redis hash. A type stays known when its workers are gone."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def publish(self, types: Sequence[TaskType]) -> None:
        """Publish types; what was published before of the same type is replaced."""
        if types:
            pairs = [part for entry in types for part in (entry.name, msgspec.json.encode(entry))]
            await self._broker.run([Call(PUBLISH, (TASK_TYPES,), pairs)])

    async def types(self) -> list[TaskType]:
        """Return the published types, sorted; entries that cannot be read are left out."""
        (entries,) = await self._broker.execute(("HVALS", TASK_TYPES))
        found = []
        for entry in entries:
            try:
                found.append(msgspec.json.decode(entry, type=TaskType))
            except msgspec.MsgspecError:
                continue
        return sorted(found, key=lambda entry: entry.type)

    async def find(self, task_type: str) -> TaskType | None:
        """Return the entry that serves a type: the exact one, else the longest prefix, else None."""
        serving = [entry for entry in await self.types() if entry.serves(task_type)]
        return max(serving, key=lambda entry: (not entry.prefix, len(entry.type)), default=None)
