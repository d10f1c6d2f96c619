"""Tasks for the broker's tests, made without the client."""

from __future__ import annotations

from collections.abc import Mapping

from support.clock import MovableClock
from taskflow import Broker
from taskflow.broker.delivery import Archive, Complete, Delivery, Outcome, Retry, Settled
from taskflow.broker.placement import Placed, Placement, lock_terms
from taskflow.unique import OnConflict, Until
from taskflow.wire.message import TaskMessage

LOCK = "asynq:{default}:unique:t:1"
WAITING = ("pending", "scheduled", "retry", "aggregating")
ENDED = ("completed", "archived")
STATES = (*WAITING, *ENDED, "active")


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
    until: Until = "done",
    on_conflict: OnConflict = "refuse",
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
        unique_key="" if until == "expired" else lock,
        retention=retention,
        group_key=group,
    )
    terms = lock_terms(lock_seconds, until, on_conflict) if lock else ""
    return Placement(queue, task_id, message.SerializeToString(), due, group, lock, terms)


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


async def bring(broker: Broker, clock: MovableClock, state: str, task_id: str = "a", lock: str = LOCK) -> None:
    """Bring a task into a state, the ordinary way."""
    if state == "scheduled":
        await enqueue(broker, placement(task_id, lock=lock, due=clock.now() + 60.5))
        return
    if state in {"pending", "aggregating"}:
        await enqueue(broker, placement(task_id, lock=lock, group="g" if state == "aggregating" else ""))
        return
    (delivery,) = await taken(broker, placement(task_id, lock=lock, retention=600))
    outcomes: dict[str, Outcome] = {
        "retry": Retry(clock.now() + 60.5, "no"),
        "completed": Complete(b"1"),
        "archived": Archive("no"),
    }
    if state != "active":
        assert await broker.settle([(delivery, outcomes[state])]) == [Settled.SETTLED]
