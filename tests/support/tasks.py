"""Tasks for the broker's tests, made without the client."""

from __future__ import annotations

from collections.abc import Mapping

from taskflow import Broker
from taskflow.broker.delivery import Delivery
from taskflow.broker.placement import Placed, Placement
from taskflow.wire.message import TaskMessage

LOCK = "asynq:{default}:unique:t:1"


def placement(
    task_id: str,
    *,
    queue: str = "default",
    task_type: str = "t",
    payload: bytes = b"{}",
    due: float | None = None,
    group: str = "",
    lock: str = "",
    lock_seconds: int = 60,
    retry: int = 25,
    retried: int = 0,
    retention: int = 0,
) -> Placement:
    """A new task; `due` is Unix s, `lock` a whole key, `retention` seconds."""
    message = TaskMessage(
        type=task_type,
        payload=payload,
        id=task_id,
        queue=queue,
        retry=retry,
        retried=retried,
        timeout=1800,
        unique_key=lock,
        retention=retention,
        group_key=group,
    )
    return Placement(queue, task_id, message.SerializeToString(), due, group, lock, lock_seconds if lock else 0)


async def enqueue(broker: Broker, *placements: Placement) -> list[Placed]:
    """Enqueue tasks, all of which must be stored."""
    placed = await broker.enqueue(placements)
    assert all(one.stored for one in placed), placed
    return placed


async def take(broker: Broker, count: int = 100, *, queue: str = "default", owner: str = "server:1") -> list[Delivery]:
    """Lease tasks of one queue."""
    return await broker.dequeue({queue: count}, owner=owner)


async def taken(broker: Broker, *placements: Placement, owner: str = "server:1") -> list[Delivery]:
    """Enqueue tasks and lease them, in order."""
    await enqueue(broker, *placements)
    wants: Mapping[str, int] = {one.queue: len(placements) for one in placements}
    deliveries = await broker.dequeue(wants, owner=owner)
    assert sorted(one.id for one in deliveries) == sorted(one.id for one in placements)
    return deliveries


def stranger(delivery: Delivery) -> Delivery:
    """The same task as one sees it whose lease is over: with a token that does not stand in Redis."""
    return Delivery(delivery.queue, delivery.raw_id, delivery.data, repr(delivery.expiry - 1.5))
