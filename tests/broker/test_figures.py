"""Inspector: what a queue did on each day, and about how much memory it takes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import redis

from support.clock import MovableClock
from support.store import Store
from support.tasks import enqueue, placement, taken
from taskflow import Broker, Inspector
from taskflow.broker.delivery import Complete, Done, Outcome, Retry
from taskflow.errors import InvalidOption, QueueNotFound

pytestmark = pytest.mark.usefixtures("invariants_hold")


# -- history ----------------------------------------------------------------------------------------------------------


async def test_history_has_every_day_the_newest_first(
    broker: Broker, inspector: Inspector, clock: MovableClock
) -> None:
    first, second = await taken(broker, placement("a"), placement("b"))
    await broker.settle([(first, Done()), (second, Retry(4e9, "no"))])
    today = datetime.fromtimestamp(clock.now(), UTC).date()
    clock.advance(2 * 24 * 3600)
    (third,) = await taken(broker, placement("c"))
    await broker.settle([(third, Done())])

    days = await inspector.history("default", 4)

    seen = [(one.day, one.processed, one.failed) for one in days]
    assert seen == [
        (today + timedelta(days=2), 1, 0),
        (today + timedelta(days=1), 0, 0),
        (today, 2, 1),
        (today - timedelta(days=1), 0, 0),
    ]
    assert {one.queue for one in days} == {"default"}


async def test_history_crosses_years_and_strange_counters(
    broker: Broker, inspector: Inspector, store: Store, clock: MovableClock
) -> None:
    await enqueue(broker, placement("a"))
    today = datetime.fromtimestamp(clock.now(), UTC).date()
    store.client.set(store.key(f"processed:{today}"), "many")
    store.client.rpush(store.key(f"failed:{today}"), "another kind")

    days = await inspector.history("default", 800)

    assert (len(days), days[0].processed, days[0].failed) == (800, 0, 0)
    assert days[-1].day == today - timedelta(days=799)
    assert isinstance(days[-1].day, date)


@pytest.mark.parametrize("days", [0, -1, 3661])
async def test_a_history_that_cannot_be(broker: Broker, inspector: Inspector, days: int) -> None:
    await enqueue(broker, placement("a"))

    with pytest.raises(InvalidOption, match="days"):
        await inspector.history("default", days)
    with pytest.raises(QueueNotFound):
        await inspector.history("nowhere")


# -- memory -----------------------------------------------------------------------------------------------------------


def measured(client: Any) -> int:
    """What all keys of the queue take, and not the counters."""
    keys = [key for key in client.scan_iter(match="*{default}*", count=1000) if b"processed" not in key]
    return sum(client.memory_usage(key, samples=0) for key in keys if b":failed" not in key)


async def fill(broker: Broker, count: int) -> None:
    """Bring tasks into every state but archived; those that wait hold locks."""
    payload = b"x" * 200
    outcomes: list[Outcome] = [Retry(4e9, "no"), Complete(b"y" * 200)]
    deliveries = await taken(broker, *(placement(f"t{i}", payload=payload, retention=600) for i in range(3 * count)))
    await broker.settle([(delivery, outcomes[i % 2]) for i, delivery in enumerate(deliveries[: 2 * count])])
    for i in range(count):
        lock = f"asynq:{{default}}:unique:t:{i}"
        await enqueue(
            broker,
            placement(f"pending{i}", payload=payload, lock=lock + "p"),
            placement(f"due{i}", payload=payload, lock=lock + "d", due=4e9),
            placement(f"in{i}", payload=payload, lock=lock + "g", group=f"g{i % 9}"),
        )


async def test_memory_is_estimated_within_a_tenth(broker: Broker, inspector: Inspector, raw: redis.Redis) -> None:
    await fill(broker, 160)

    assert await inspector.memory("default") == pytest.approx(measured(raw), rel=0.1)


async def test_samples_are_spread_over_all_tasks(broker: Broker, inspector: Inspector, raw: redis.Redis) -> None:
    """Small tasks first, large ones last: those at one end alone would be far off."""
    await enqueue(broker, *(placement(f"small{i}", payload=b"x") for i in range(300)))
    await enqueue(broker, *(placement(f"large{i}", payload=b"x" * 5000) for i in range(300)))

    assert await inspector.memory("default", samples=60) == pytest.approx(measured(raw), rel=0.1)


async def test_memory_of_strange_queues(broker: Broker, inspector: Inspector, store: Store) -> None:
    store.client.sadd("asynq:queues", "default")
    assert await inspector.memory("default") == 0
    store.client.set(store.key("archived"), "another kind")
    store.client.rpush(store.key("pending"), "ghost")
    store.client.sadd(store.key("groups"), "gone")

    assert 0 < await inspector.memory("default") < 1000

    store.client.delete(store.key("archived"), store.key("pending"), store.key("groups"))


async def test_an_estimate_that_cannot_be(broker: Broker, inspector: Inspector) -> None:
    await enqueue(broker, placement("a"))

    with pytest.raises(InvalidOption, match="samples"):
        await inspector.memory("default", samples=0)
    with pytest.raises(QueueNotFound):
        await inspector.memory("nowhere")
