"""Outbox: the notices of tasks that ended and have a callback URL, each in its queue until its webhook is enqueued.

The script that ends a task writes the notice, so no end goes untold, whatever dies after it.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from taskflow.broker.queue import Broker
from taskflow.broker.scripts import Call, Script
from taskflow.wire.keys import queue_keys

OUTBOX = Script("outbox")


class Entry(Struct, frozen=True):
    """A notice as it stands in the outbox of a queue: its id, which its webhook will have too, and its bytes."""

    queue: str
    id: bytes
    data: bytes


class Outbox:
    """The outboxes of a broker's queues. Every method raises `BrokerUnavailable` if Redis does not answer."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def read(self, queues: Sequence[str], *, most: int) -> list[Entry]:
        """Return notices of some queues, up to `most` of each; they stay where they are."""
        replies = await self._broker.sweep([Call(OUTBOX, (queue_keys(queue).outbox,), [most]) for queue in queues])
        return [
            Entry(queue, raw_id, data)
            for queue, reply in zip(queues, replies, strict=True)
            for raw_id, data in zip((reply or [])[::2], (reply or [])[1::2], strict=True)
        ]

    async def drop(self, entries: Sequence[Entry]) -> None:
        """Take notices away, whose webhooks are enqueued."""
        by_queue: dict[str, list[bytes]] = {}
        for entry in entries:
            by_queue.setdefault(entry.queue, []).append(entry.id)
        if by_queue:
            await self._broker.execute(*(("HDEL", queue_keys(queue).outbox, *ids) for queue, ids in by_queue.items()))
