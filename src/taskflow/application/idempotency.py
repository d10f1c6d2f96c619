"""Idempotency: requests that may be sent again. Of those with the same key and body, one creates a task within a day.

A key is bound to the first body that is sent with it, in a key of its own, since bodies may name different queues. The task is
then stored under a mark, in the script that stores it, and its id is made of key and body: so a request that is sent twice at
once, or again because its answer was lost, finds the task of the first.
"""

from __future__ import annotations

import hashlib
import uuid

import msgspec
from msgspec import Struct, structs

from taskflow.broker.inspector import Inspector
from taskflow.client import Client
from taskflow.errors import IdempotencyConflict, InvalidOption, TaskNotFound
from taskflow.task import Task, TaskInfo
from taskflow.wire.keys import IDEMPOTENCY

KEEP_SECONDS = 24 * 3600
"""For how long a key is remembered."""
MAX_KEY_LENGTH = 255


class RequestKey(Struct, frozen=True):
    """What makes a request the same as another.

    Attributes:
        scope: Whose keys they are; '' where nobody is told apart.
        text: The key, 1 to 255 printable ASCII characters.
        body: The request's body: another one with the same key is refused.

    Raises:
        InvalidOption: The key cannot be used.

    """

    scope: str
    text: str
    body: bytes

    def __post_init__(self) -> None:
        if not (1 <= len(self.text) <= MAX_KEY_LENGTH and self.text.isascii() and self.text.isprintable()):
            raise InvalidOption("Idempotency-Key", f"must be 1 to {MAX_KEY_LENGTH} printable ASCII characters")


class Idempotency:
    """Creates the tasks of requests that may be sent again. Every method raises `BrokerUnavailable` if Redis does not answer."""

    def __init__(self, client: Client, inspector: Inspector) -> None:
        self._client = client
        self._inspector = inspector

    async def create(self, task: Task, key: RequestKey) -> TaskInfo:
        """Create a task, or return the one that an earlier request with this key created (`existing`), as it is now.

        One that is gone by now is returned as it was created. A refused task leaves the key bound to its body.

        Raises:
            IdempotencyConflict: The key came with another body.
            TaskConflict: The id or the unique lock is taken.

        """
        name = _digest(msgspec.json.encode([key.scope, key.text]))
        body = hashlib.sha256(key.body).hexdigest()
        await self._bind(name, body, key)
        once = _digest(f"{name}{body}".encode())
        task_id = task.options.task_id or str(uuid.UUID(once[:32], version=4))
        named = Task(task.type, task.payload, structs.replace(task.options, task_id=task_id))
        info = await self._client.enqueue_as_before(named, once=once)
        if not info.existing or info.id != task_id:
            return info
        try:
            return structs.replace(await self._inspector.task(info.id, info.queue), existing=True)
        except TaskNotFound:
            return info

    async def _bind(self, name: str, body: str, key: RequestKey) -> None:
        bound = IDEMPOTENCY + name
        broker = self._client.broker
        _, found = await broker.execute(("SET", bound, body, "NX", "EX", KEEP_SECONDS), ("GET", bound))
        if found is not None and found != body.encode():
            raise IdempotencyConflict(key.text)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
