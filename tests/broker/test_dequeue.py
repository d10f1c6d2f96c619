"""dequeue.lua and reclaim.lua: leasing tasks, and putting back what was leased in vain."""

from __future__ import annotations

import time

import pytest
import redis

from support.clock import MovableClock
from support.store import Store
from support.tasks import LOCK, enqueue, placement, take, taken
from taskflow import Broker, TaskFlowError

pytestmark = pytest.mark.usefixtures("invariants_hold")


async def test_a_task_is_leased_to_the_worker(broker: Broker, store: Store, clock: MovableClock) -> None:
    await enqueue(broker, one := placement("a"))
    before = clock.now()

    (delivery,) = await take(broker, owner="server:7")

    fields = store.hash("a")
    assert set(fields) == {"msg", "state", "owner", "started_at"}
    assert fields["state"] == b"active"
    assert fields["owner"] == b"server:7"
    assert fields["msg"] == one.message
    assert before * 1e9 - 1000 <= int(fields["started_at"]) <= time.time_ns()
    assert store.list("pending") == []
    assert store.list("active") == ["a"]
    assert before + 30 <= store.scores("lease")["a"] <= clock.now() + 30
    assert store.scores("lease")["a"] == delivery.expiry
    assert (delivery.id, delivery.queue, delivery.cancelled, delivery.lost) == ("a", "default", False, False)
    assert delivery.message is not None
    assert delivery.message.type == "t"


async def test_the_oldest_comes_first_and_no_more_than_wanted(broker: Broker, store: Store) -> None:
    await enqueue(broker, *(placement(f"{i}") for i in range(5)))

    assert [one.id for one in await take(broker, 2)] == ["0", "1"]
    assert store.list("pending") == ["4", "3", "2"]
    assert [one.id for one in await take(broker, 9)] == ["2", "3", "4"]
    assert await take(broker, 9) == []


async def test_one_round_trip_takes_from_several_queues(broker: Broker) -> None:
    await enqueue(broker, placement("a", queue="x"), placement("b", queue="y"), placement("c", queue="y"))

    deliveries = await broker.dequeue({"x": 1, "y": 1, "empty": 3, "unwanted": 0})

    assert [(one.id, one.queue) for one in deliveries] == [("a", "x"), ("b", "y")]


async def test_a_paused_queue_gives_nothing_and_says_so(broker: Broker, store: Store) -> None:
    await enqueue(broker, placement("a"), placement("b", queue="open"))
    store.client.set(store.key("paused"), 1)
    before = store.hash("a"), store.list("pending")

    exchanged = await broker.exchange([], {"default": 5, "open": 5}, owner="s:1")

    assert [one.id for one in exchanged.deliveries] == ["b"]
    assert exchanged.paused == {"default"}
    assert exchanged.errors == ()
    assert (store.hash("a"), store.list("pending")) == before


async def test_ids_without_a_task_are_dropped(broker: Broker, store: Store) -> None:
    await enqueue(broker, placement("a"))
    store.client.rpush(store.key("pending"), "ghost")
    store.client.lpush(store.key("pending"), "wrong-kind", "no-message")
    store.client.set(store.key("t:wrong-kind"), "no hash")
    store.client.hset(store.key("t:no-message"), "state", "pending")

    assert [one.id for one in await take(broker)] == ["a"]

    assert store.list("pending") == []
    assert store.list("active") == ["a"]
    assert list(store.scores("lease")) == ["a"]
    store.client.delete(store.key("t:wrong-kind"), store.key("t:no-message"))


async def test_what_cannot_be_decoded_is_delivered_without_a_message(broker: Broker, store: Store) -> None:
    await enqueue(broker, placement("a"), placement("b"))
    store.client.hset(store.key("t:a"), "msg", b"\xff\xff random")

    bad, good = await take(broker)

    assert bad.message is None
    assert bad.data == b"\xff\xff random"
    assert good.message is not None


async def test_an_id_that_is_no_text_is_leased_under_its_own_bytes(broker: Broker, store: Store) -> None:
    await enqueue(broker, placement("a"))
    raw_id = b"\xff\xfe"
    store.client.hset(store.key("t:").encode() + raw_id, mapping=store.hash("a"))
    store.client.rpush(store.key("pending"), raw_id)

    delivery, _ = await take(broker)

    assert delivery.raw_id == raw_id
    assert store.client.lrange(store.key("active"), 0, -1) == [b"a", raw_id]
    store.client.delete(store.key("t:").encode() + raw_id)
    store.client.lrem(store.key("active"), 0, raw_id)
    store.client.zrem(store.key("lease"), raw_id)


async def test_a_mark_to_stop_comes_along(broker: Broker, store: Store) -> None:
    await enqueue(broker, placement("a"), placement("b"))
    store.client.hset(store.key("t:b"), "stop", 1)

    assert [one.cancelled for one in await take(broker)] == [False, True]


@pytest.mark.parametrize("name", ["pending", "active", "lease"])
async def test_a_key_of_another_kind_harms_no_other_queue_and_loses_no_task(
    broker: Broker, store: Store, raw: redis.Redis, name: str
) -> None:
    await enqueue(broker, placement("a"), placement("b", queue="good"))
    if name == "pending":
        raw.rename(store.key("pending"), "aside")
    raw.set(store.key(name), "another kind")

    exchanged = await broker.exchange([], {"default": 1, "good": 1}, owner="s:1")

    assert [one.id for one in exchanged.deliveries] == ["b"]
    assert "default" in exchanged.paused
    assert isinstance(exchanged.errors[0], TaskFlowError)
    raw.delete(store.key(name))
    if name == "pending":
        raw.rename("aside", store.key("pending"))
    assert [one.id for one in await take(broker)] == ["a"]


async def test_leases_taken_together_end_together_and_carry_microseconds(broker: Broker, store: Store) -> None:
    deliveries = await taken(broker, placement("a"), placement("b"))

    assert len({one.expiry for one in deliveries}) == 1
    assert deliveries[0].tokens == repr(deliveries[0].expiry)
    assert store.scores("lease") == {"a": deliveries[0].expiry, "b": deliveries[0].expiry}


async def test_more_than_one_scripts_worth_is_taken_in_parts(broker: Broker) -> None:
    await enqueue(broker, *(placement(f"{i}") for i in range(700)))

    first = await take(broker, 700)
    second = await take(broker, 700)

    assert [one.id for one in first + second] == [f"{i}" for i in range(700)]


# -- reclaim ----------------------------------------------------------------------------------------------------------


async def test_reclaim_puts_back_one_fetch_and_nothing_else(broker: Broker, store: Store) -> None:
    await enqueue(broker, *(placement(f"{i}", lock=LOCK if i == 0 else "") for i in range(4)))
    await take(broker, 2, owner="me:1")
    (kept,) = await take(broker, 1, owner="me:2")
    before = store.hash("2")

    assert await broker.reclaim(["default", "empty"], owner="me:1") == (2, [])

    assert sorted(store.list("pending")) == ["0", "1", "3"]
    assert store.list("pending")[0] == "3"
    assert store.list("active") == ["2"]
    assert store.scores("lease") == {"2": kept.expiry}
    assert store.hash("2") == before
    assert set(store.hash("0")) == {"msg", "state", "pending_since", "unique_key"}
    assert store.client.get(LOCK) == b"0"
    assert await broker.reclaim(["default"], owner="me:1") == (0, [])


async def test_reclaim_does_not_stumble_over_a_hash_of_another_kind(broker: Broker, store: Store) -> None:
    await taken(broker, placement("a"), placement("b"), owner="me:1")
    store.client.delete(store.key("t:b"))
    store.client.set(store.key("t:b"), "another kind")

    assert await broker.reclaim(["default"], owner="me:1") == (1, [])

    assert store.list("pending") == ["a"]
    store.client.delete(store.key("t:b"))
    await broker.orphans(["default"])
