"""enqueue.lua: where a new task goes, and when it goes nowhere."""

from __future__ import annotations

from typing import Any

import pytest

from support.clock import MovableClock
from support.store import Store, snapshot
from support.tasks import LOCK, enqueue, placement
from taskflow import Broker, TaskFlowError
from taskflow.broker.placement import CHUNK, ID_TAKEN, REPEAT, STORED, Placed

pytestmark = pytest.mark.usefixtures("invariants_hold")


async def test_a_task_is_stored_pending(broker: Broker, store: Store, clock: MovableClock) -> None:
    one = placement("a")
    before = clock.now_ns()

    assert await broker.enqueue([one]) == [STORED]

    fields = store.hash("a")
    assert set(fields) == {"msg", "state", "pending_since"}
    assert fields["msg"] == one.message
    assert fields["state"] == b"pending"
    assert before <= int(fields["pending_since"]) <= clock.now_ns()
    assert store.list("pending") == ["a"]
    assert store.client.smembers("asynq:queues") == {b"default"}
    assert set(store.snapshot()) == {"asynq:queues", "asynq:{default}:pending", "asynq:{default}:t:a"}


async def test_the_newest_stands_left_so_that_the_oldest_is_taken_first(broker: Broker, store: Store) -> None:
    await enqueue(broker, placement("a"), placement("b"))
    await enqueue(broker, placement("c"))

    assert store.list("pending") == ["c", "b", "a"]


async def test_a_due_time_of_whole_seconds_stands_in_asynqs_set_alone(
    broker: Broker, store: Store, clock: MovableClock
) -> None:
    due = float(int(clock.now()) + 100)

    await enqueue(broker, placement("a", due=due))

    assert store.scores("scheduled") == {"a": due}
    assert store.due() == {}
    assert store.state("a") == "scheduled"
    assert "pending_since" not in store.hash("a")
    assert store.list("pending") == []


async def test_a_due_time_within_a_second_is_rounded_up_for_asynq_and_kept_exactly(
    broker: Broker, store: Store, clock: MovableClock
) -> None:
    due = int(clock.now()) + 100.123456

    await enqueue(broker, placement("a", due=due))

    assert store.scores("scheduled") == {"a": float(int(due) + 1)}
    assert store.due() == {"a": due}


async def test_a_group_collects_its_members(broker: Broker, store: Store, clock: MovableClock) -> None:
    await enqueue(broker, placement("a", group="mail:today"), placement("b", group="mail:today"))

    assert store.scores("g:mail:today") == pytest.approx({"a": clock.now(), "b": clock.now()}, abs=2)
    assert all(score == int(score) for score in store.scores("g:mail:today").values())
    assert store.client.smembers(store.key("groups")) == {b"mail:today"}
    assert store.state("a") == "aggregating"
    assert store.hash("a")["group"] == b"mail:today"
    assert store.list("pending") == []


async def test_a_due_time_wins_over_a_group(broker: Broker, store: Store, clock: MovableClock) -> None:
    await enqueue(broker, placement("a", group="g", due=clock.now() + 5))

    assert store.state("a") == "scheduled"
    assert store.hash("a")["group"] == b"g"
    assert store.client.smembers(store.key("groups")) == set()


async def test_a_lock_holds_the_id_for_its_seconds(broker: Broker, store: Store) -> None:
    await enqueue(broker, placement("a", lock=LOCK, lock_seconds=30))

    assert store.client.get(LOCK) == b"a"
    assert 29 <= store.client.ttl(LOCK) <= 30
    assert store.hash("a")["unique_key"] == LOCK.encode()


async def test_a_lock_refuses_another_task_names_the_holder_and_writes_nothing(broker: Broker, store: Store) -> None:
    await enqueue(broker, placement("a", lock=LOCK))
    before = store.snapshot()

    assert await broker.enqueue([placement("b", lock=LOCK)]) == [Placed(stored=False, holder="a")]

    assert store.snapshot() == before


@pytest.mark.parametrize("second", ["pending", "scheduled", "group", "lock"])
async def test_an_id_that_exists_is_taken_and_nothing_is_written(
    broker: Broker, store: Store, clock: MovableClock, second: str
) -> None:
    await enqueue(broker, placement("a"))
    before = store.snapshot()
    clash = {
        "pending": placement("a", payload=b"other"),
        "scheduled": placement("a", payload=b"other", due=clock.now() + 9),
        "group": placement("a", payload=b"other", group="g"),
        "lock": placement("a", payload=b"other", lock=LOCK),
    }[second]

    assert await broker.enqueue([clash]) == [ID_TAKEN]

    assert store.snapshot() == before


async def test_a_repeat_is_known_by_its_message_in_whatever_state(broker: Broker, store: Store) -> None:
    again = placement("a", lock=LOCK)
    await enqueue(broker, again)
    await broker.dequeue({"default": 1})
    before = store.snapshot()

    assert await broker.enqueue([again]) == [REPEAT]

    assert store.snapshot() == before


async def test_a_lock_left_by_the_same_id_is_taken_over(broker: Broker, store: Store) -> None:
    store.client.set(LOCK, "a", ex=5)

    await enqueue(broker, placement("a", lock=LOCK, lock_seconds=50))

    assert store.client.ttl(LOCK) > 40


async def test_one_batch_may_clash_with_itself(broker: Broker, store: Store) -> None:
    batch = [
        placement("a", lock=LOCK),
        placement("b", lock=LOCK),
        placement("a", lock=LOCK),
        placement("a", payload=b"other"),
        placement("c"),
    ]

    assert await broker.enqueue(batch) == [STORED, Placed(stored=False, holder="a"), REPEAT, ID_TAKEN, STORED]

    assert store.list("pending") == ["c", "a"]


async def test_a_large_batch_over_queues_keeps_its_order(broker: Broker, raw: Any) -> None:
    batch = [placement(f"{i}", queue="ab"[i % 2]) for i in range(2 * CHUNK + 101)]
    batch.insert(700, placement("0", queue="a", payload=b"other"))

    placed = await broker.enqueue(batch)

    assert [i for i, one in enumerate(placed) if one != STORED] == [700]
    assert placed[700] == ID_TAKEN
    assert Store(raw, "a").list("pending") == [f"{i}" for i in reversed(range(0, 2 * CHUNK + 101, 2))]
    assert Store(raw, "b").list("pending") == [f"{i}" for i in reversed(range(1, 2 * CHUNK + 101, 2))]
    assert raw.smembers("asynq:queues") == {b"a", b"b"}


async def test_a_queue_is_published_once(broker: Broker, raw: Any) -> None:
    await enqueue(broker, placement("a"))
    raw.delete("asynq:queues")

    await enqueue(broker, placement("b"))

    assert raw.exists("asynq:queues") == 0
    raw.sadd("asynq:queues", "default")


async def test_a_nearer_due_time_is_announced_and_a_later_one_is_not(
    broker: Broker, raw: Any, clock: MovableClock
) -> None:
    second = int(clock.now())
    with raw.pubsub() as channel:
        channel.subscribe("taskflow:due")
        assert channel.get_message(timeout=1) is not None

        await enqueue(broker, placement("a", due=second + 100.0))
        await enqueue(broker, placement("later", due=second + 200.0), placement("pending"))
        await enqueue(broker, placement("b", due=second + 50.5))
        await enqueue(broker, placement("other", queue="other", due=second + 900.0))

        heard = [channel.get_message(timeout=0.2) for _ in range(4)]
    assert [message and message["data"] for message in heard] == [b"default", b"default", b"other", None]


@pytest.mark.parametrize("poisoned", ["hash", "lock"])
async def test_a_key_of_another_kind_counts_as_taken_and_the_rest_of_the_batch_is_stored(
    broker: Broker, store: Store, poisoned: str
) -> None:
    if poisoned == "hash":
        store.client.set(store.key("t:bad"), "no hash")
    else:
        store.client.rpush(LOCK, "no string")

    placed = await broker.enqueue([placement("a"), placement("bad", lock=LOCK), placement("c")])

    assert [one.stored for one in placed] == [True, False, True]
    assert store.list("pending") == ["c", "a"]
    store.client.delete(store.key("t:bad"), LOCK)


async def test_a_list_of_another_kind_is_an_error_and_a_repeat_tells_the_truth(
    broker: Broker, store: Store, raw: Any
) -> None:
    """Somebody wrote a string where the list belongs: once that is gone, repeating the enqueue must bring the task in."""
    raw.set(store.key("pending"), "no list")
    before = snapshot(raw)
    with pytest.raises(TaskFlowError, match="refused"):
        await broker.enqueue([placement("a")])
    assert snapshot(raw) == before | {"asynq:queues": {b"default"}}

    raw.delete(store.key("pending"))

    assert await broker.enqueue([placement("a")]) == [STORED]
    assert store.list("pending") == ["a"]


async def test_ids_and_payloads_may_hold_any_bytes(broker: Broker, store: Store) -> None:
    strange = "a:b {c}\n\x00é🎉 *?[x]"
    await enqueue(broker, placement(strange, payload=bytes(range(256))))

    (delivery,) = await broker.dequeue({"default": 1})

    assert delivery.id == strange
    assert delivery.message is not None
    assert delivery.message.payload == bytes(range(256))
