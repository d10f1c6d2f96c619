"""forward.lua and clean.lua: what falls due, and what is past its time."""

from __future__ import annotations

import pytest

from support.clock import MovableClock
from support.store import Store
from support.tasks import LOCK, enqueue, placement, take, taken
from taskflow import Broker
from taskflow.broker.delivery import Archive, Complete, Retry
from taskflow.broker.queue import ARCHIVE_SECONDS, ARCHIVE_SIZE

pytestmark = pytest.mark.usefixtures("invariants_hold")


# -- forward ----------------------------------------------------------------------------------------------------------


async def test_due_tasks_become_pending_in_the_order_in_which_they_fell_due(
    broker: Broker, store: Store, clock: MovableClock
) -> None:
    second = int(clock.now())
    dues = {"d": 4.0, "a": 1.0, "c": 3.5, "b": 2.25, "later": 50.0}
    await enqueue(broker, *(placement(name, due=second + due) for name, due in dues.items()))
    clock.advance(10)
    before = clock.now_ns()

    assert await broker.forward(["default"]) == second + 50.0

    assert store.state("a") == "pending"
    assert before <= int(store.hash("a")["pending_since"]) <= clock.now_ns()
    assert store.scores("scheduled") == {"later": second + 50.0}
    assert store.due() == {}
    # Within one sweep those of a fractional second go first: all of them were due.
    assert sorted(store.list("pending")) == ["a", "b", "c", "d"]


async def test_whole_seconds_run_in_order(broker: Broker, clock: MovableClock) -> None:
    second = int(clock.now())
    await enqueue(broker, *(placement(f"{due}", due=float(second + due)) for due in (3, 1, 2)))
    clock.advance(9)
    await broker.forward(["default"])

    assert [one.id for one in await take(broker)] == ["1", "2", "3"]


async def test_nothing_moves_before_its_time_not_even_by_a_fraction(
    broker: Broker, store: Store, clock: MovableClock
) -> None:
    due = int(clock.now()) + 10.5
    await enqueue(broker, placement("a", due=due))
    clock.advance(due - clock.now() - 0.05)

    assert await broker.forward(["default"]) == due
    assert store.state("a") == "scheduled"

    clock.advance(0.06)
    assert clock.now() < int(due) + 1
    assert await broker.forward(["default"]) is None
    assert store.state("a") == "pending"


async def test_retries_fall_due_too_and_keep_their_history(broker: Broker, store: Store, clock: MovableClock) -> None:
    (delivery,) = await taken(broker, placement("a", lock=LOCK))
    await broker.settle([(delivery, Retry(clock.now() + 3.25, "no"))])
    clock.advance(4)

    await broker.forward(["default"])

    assert store.state("a") == "pending"
    assert store.message("a").retried == 1
    assert store.client.get(LOCK) == b"a"


async def test_a_stale_exact_time_moves_nothing_early(broker: Broker, store: Store, clock: MovableClock) -> None:
    """Go re-scheduled the task without knowing of the exact due times."""
    second = int(clock.now())
    await enqueue(broker, placement("a", due=second + 5.5))
    store.client.zadd(store.key("scheduled"), {"a": second + 100})
    store.client.zadd(f"taskflow:{{{store.queue}}}:due", {"gone": second + 1.5})
    clock.advance(10)

    assert await broker.forward(["default"]) == second + 100

    assert store.state("a") == "scheduled"
    assert store.due() == {}


async def test_a_grouped_task_joins_its_group_when_it_falls_due(
    broker: Broker, store: Store, clock: MovableClock
) -> None:
    await enqueue(broker, placement("a", group="g", due=clock.now() + 5))
    clock.advance(7)

    await broker.forward(["default"])

    assert store.state("a") == "aggregating"
    assert store.scores("g:g") == pytest.approx({"a": clock.now()}, abs=2)
    assert store.client.smembers(store.key("groups")) == {b"g"}
    assert store.list("pending") == []


async def test_a_cancelled_task_is_archived_instead_and_frees_its_lock(
    broker: Broker, store: Store, clock: MovableClock
) -> None:
    """Its mark was set while it ran; a Go worker, which does not know the mark, put it into retry."""
    await enqueue(broker, placement("a", lock=LOCK, due=clock.now() + 5))
    store.client.hset(store.key("t:a"), "stop", 1)
    clock.advance(7)

    await broker.forward(["default"])

    assert store.state("a") == "archived"
    assert store.hash("a")["cancelled"] == b"1"
    assert "stop" not in store.hash("a")
    assert store.scores("archived") == pytest.approx({"a": clock.now()}, abs=2)
    assert store.client.exists(LOCK) == 0


async def test_ids_without_a_task_are_dropped(broker: Broker, store: Store, clock: MovableClock) -> None:
    now = int(clock.now())
    await enqueue(broker, placement("a", due=float(now + 1)))
    store.client.zadd(store.key("scheduled"), {"ghost": now, "kind": now})
    store.client.zadd(store.key("retry"), {"ghost 2": now})
    store.client.set(store.key("t:kind"), "another kind")
    clock.advance(2)

    assert await broker.forward(["default"]) is None

    assert store.list("pending") == ["a"]
    assert store.scores("scheduled") == store.scores("retry") == {}
    store.client.delete(store.key("t:kind"))


async def test_more_than_one_calls_worth_moves_at_once(broker: Broker, store: Store, clock: MovableClock) -> None:
    second = int(clock.now())
    await enqueue(broker, *(placement(f"{i}", due=second + 1 + i % 2 / 2) for i in range(450)))
    await enqueue(broker, *(placement(f"{i}", queue="other", due=float(second + 2)) for i in range(150)))
    clock.advance(5)

    assert await broker.forward(["default", "other"]) is None

    assert len(store.list("pending")) == 450
    assert len(Store(store.client, "other").list("pending")) == 150


async def test_many_ghosts_hide_no_task(broker: Broker, store: Store, clock: MovableClock) -> None:
    now = int(clock.now())
    store.client.zadd(store.key("scheduled"), {f"ghost {i}": now - 100 for i in range(250)})
    await enqueue(broker, placement("a", due=float(now + 1)))
    clock.advance(2)

    assert await broker.forward(["default"]) is None

    assert store.list("pending") == ["a"]


async def test_the_nearest_due_time_of_all_queues_is_told(broker: Broker, clock: MovableClock) -> None:
    second = int(clock.now())
    await enqueue(
        broker,
        placement("a", due=second + 30.75),
        placement("b", queue="other", due=second + 20.5),
        placement("c", due=float(second + 31)),
    )

    assert await broker.forward(["default", "other", "empty"]) == second + 20.5
    assert await broker.forward(["default"]) == second + 30.75
    assert await broker.forward(["empty"]) is None


# -- clean ------------------------------------------------------------------------------------------------------------


async def test_completed_tasks_go_when_their_retention_is_over(
    broker: Broker, store: Store, clock: MovableClock
) -> None:
    deliveries = await taken(broker, placement("short", retention=10), placement("long", retention=1000))
    await broker.settle([(one, Complete(b"1")) for one in deliveries])

    assert await broker.clean(["default"]) == 0
    clock.advance(12)
    assert await broker.clean(["default", "empty"]) == 1

    assert store.hash("short") == {}
    assert list(store.scores("completed")) == ["long"]


async def test_archived_tasks_go_after_ninety_days(broker: Broker, store: Store, clock: MovableClock) -> None:
    old, new = await taken(broker, placement("old"), placement("new"))
    await broker.settle([(old, Archive("no"))])
    clock.advance(ARCHIVE_SECONDS)
    await broker.settle([(new, Archive("no"))]) if (await broker.extend([new]))[0] else None
    clock.advance(2)

    assert await broker.clean(["default"]) == 1

    assert store.hash("old") == {}
    assert list(store.scores("archived")) == ["new"]


async def test_a_lock_goes_with_its_task_and_anothers_does_not(
    broker: Broker, store: Store, clock: MovableClock
) -> None:
    """Go leaves the lock of an archived task."""
    deliveries = await taken(broker, placement("a"), placement("b"))
    await broker.settle([(one, Archive("no")) for one in deliveries])
    for task_id in ("a", "b"):
        store.client.hset(store.key(f"t:{task_id}"), "unique_key", f"{LOCK}{task_id}")
    store.client.set(f"{LOCK}a", "a", ex=1000)
    store.client.set(f"{LOCK}b", "somebody else", ex=1000)
    clock.advance(ARCHIVE_SECONDS + 5)

    assert await broker.clean(["default"]) == 2

    assert store.client.exists(f"{LOCK}a") == 0
    assert store.client.get(f"{LOCK}b") == b"somebody else"
    store.client.delete(f"{LOCK}b")


@pytest.mark.parametrize("extra", [1, 1234])
async def test_the_archive_keeps_its_newest_ten_thousand(
    broker: Broker, store: Store, clock: MovableClock, extra: int
) -> None:
    now = int(clock.now())
    store.client.sadd("asynq:queues", "default")
    pipeline = store.client.pipeline(transaction=False)
    message = placement("x").message
    for i in range(ARCHIVE_SIZE + extra):
        pipeline.hset(store.key(f"t:{i}"), mapping={"msg": message, "state": "archived"})
        pipeline.zadd(store.key("archived"), {f"{i}": now - 20_000 + i})
    pipeline.execute()

    assert await broker.clean(["default"]) == extra

    kept = store.scores("archived")
    assert len(kept) == ARCHIVE_SIZE
    assert min(kept, key=lambda task_id: kept[task_id]) == f"{extra}"
    assert store.hash(f"{extra - 1}") == {}


async def test_twenty_thousand_that_are_past_their_time_go_in_chunks(
    broker: Broker, store: Store, clock: MovableClock
) -> None:
    """Where asynq's janitor breaks at 8,000 and stays broken."""
    long_ago = int(clock.now()) - ARCHIVE_SECONDS - 10
    store.client.zadd(store.key("archived"), {f"{i}": long_ago for i in range(20_000)})

    assert await broker.clean(["default"]) == 20_000

    assert store.scores("archived") == {}


async def test_clean_does_not_stumble_over_a_hash_of_another_kind(
    broker: Broker, store: Store, clock: MovableClock
) -> None:
    store.client.set(store.key("t:bad"), "another kind")
    store.client.zadd(store.key("completed"), {"bad": int(clock.now()) - 1, "ghost": int(clock.now()) - 1})

    assert await broker.clean(["default"]) == 2

    assert store.scores("completed") == {}
    assert store.client.exists(store.key("t:bad")) == 0
