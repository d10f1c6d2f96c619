"""The sweeps, run once each with a moved clock: lost tasks come back, and only lost ones."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
import redis

from conftest import WaitUntil
from support.clock import MovableClock
from support.store import Store
from support.tasks import LOCK, enqueue, placement, take, taken
from taskflow import Broker, ServerInfo
from taskflow.broker.delivery import Complete, Done, Settled, begin_call
from taskflow.broker.servers import ServerRecords
from taskflow.broker.subscriptions import Subscriptions
from taskflow.errors import TaskFlowError
from taskflow.worker import loops
from taskflow.worker.maintenance import Maintenance

pytestmark = pytest.mark.usefixtures("invariants_hold")


@pytest.fixture
def maintenance(broker: Broker) -> Maintenance:
    return Maintenance(broker, ["default"], worker="host:1", grace=30)


def server(server_id: str) -> ServerInfo:
    return ServerInfo(
        id=server_id,
        host="host",
        pid=1,
        concurrency=1,
        queues={"default": 1},
        strict_priority=False,
        status="active",
        started_at=datetime.now(UTC),
        active_count=1,
    )


async def test_a_task_whose_python_server_is_gone_comes_back_when_its_lease_ends(
    broker: Broker, maintenance: Maintenance, clock: MovableClock, store: Store
) -> None:
    (dead,) = await taken(broker, placement("a", lock=LOCK), owner="gone:1")
    clock.advance(29)
    assert await maintenance.recover() == 0
    clock.advance(2)

    assert await maintenance.recover() == 1

    assert store.list("pending") == ["a"]
    assert store.hash("a")["deaths"] == b"1"
    assert store.message("a").retried == 0
    assert store.client.get(LOCK) == b"a"
    assert await broker.settle([(dead, Done())]) == [Settled.REFUSED]


async def test_a_server_that_is_only_slow_keeps_its_task_for_the_grace(
    broker: Broker, maintenance: Maintenance, clock: MovableClock, store: Store
) -> None:
    await taken(broker, placement("a"), owner="slow:1")
    clock.advance(31)
    await ServerRecords(broker).publish(server("slow"), [], ttl_seconds=100)

    assert await maintenance.recover() == 0
    clock.advance(30)
    assert await maintenance.recover() == 1


async def test_a_go_servers_task_keeps_the_grace_too(
    broker: Broker, maintenance: Maintenance, clock: MovableClock, store: Store
) -> None:
    await taken(broker, placement("a"))
    store.client.hdel(store.key("t:a"), "owner", "started_at")
    clock.advance(59)
    assert await maintenance.recover() == 0
    clock.advance(2)
    assert await maintenance.recover() == 1


async def test_after_an_outage_nobody_counts_as_gone_before_all_could_come_back(
    broker: Broker, clock: MovableClock
) -> None:
    maintenance = Maintenance(broker, ["default"], worker="host:1", grace=30, trust_after=10)
    await taken(broker, placement("a"), owner="gone:1")
    clock.advance(31)

    assert await maintenance.recover() == 0
    clock.advance(11)
    assert await maintenance.recover() == 1


async def test_the_third_death_archives_the_task(
    broker: Broker, maintenance: Maintenance, clock: MovableClock, store: Store
) -> None:
    await enqueue(broker, placement("poison", lock=LOCK))
    for deaths in (1, 2, 3):
        (held,) = await take(broker, owner=f"victim-{deaths}:1")
        if held.suspect:
            await broker.run([begin_call(held, now_ns=broker.clock.now_ns())])
        clock.advance(31)
        assert await maintenance.recover() == 1

    assert store.state("poison") == "archived"
    assert "worker died" in store.message("poison").error_msg
    assert store.client.exists(LOCK) == 0


async def test_a_cancelled_lost_task_is_archived(
    broker: Broker, maintenance: Maintenance, clock: MovableClock, store: Store
) -> None:
    await taken(broker, placement("a"), owner="gone:1")
    store.client.hset(store.key("t:a"), "stop", 1)
    clock.advance(31)

    assert await maintenance.recover() == 1

    assert store.state("a") == "archived"
    assert store.message("a").error_msg == "task cancelled"


async def test_one_bad_message_does_not_keep_the_others_lost(
    broker: Broker, maintenance: Maintenance, clock: MovableClock, store: Store
) -> None:
    await taken(broker, placement("bad"), placement("good"), owner="gone:1")
    store.client.hset(store.key("t:bad"), "msg", b"\xff\xff")
    clock.advance(31)

    assert await maintenance.recover() == 2

    assert store.state("good") == "pending"
    assert store.state("bad") == "archived"


async def test_orphans_come_back(broker: Broker, maintenance: Maintenance, store: Store) -> None:
    await taken(broker, placement("a"))
    store.client.zrem(store.key("lease"), "a")

    assert await maintenance.recover() == 0
    assert await maintenance.recover_orphans() == 1
    assert store.list("pending") == ["a"]


async def test_several_sweepers_recover_a_task_once(
    broker: Broker, maintenance: Maintenance, clock: MovableClock, store: Store
) -> None:
    await enqueue(broker, *(placement(f"{i}") for i in range(100)))
    await take(broker, 100, owner="gone:1")
    clock.advance(31)

    assert sum(await asyncio.gather(*(maintenance.recover() for _ in range(5)))) == 100

    assert sorted(store.list("pending")) == sorted(f"{i}" for i in range(100))
    assert {store.hash(f"{i}")["deaths"] for i in range(100)} == {b"1"}


async def test_clean_deletes_what_is_past_its_retention(
    broker: Broker, maintenance: Maintenance, clock: MovableClock, store: Store
) -> None:
    (delivery,) = await taken(broker, placement("a", retention=5))
    await broker.settle([(delivery, Complete(b"1"))])
    clock.advance(7)

    assert await maintenance.clean() == 1


async def test_forwarding_sleeps_until_the_next_due_time_and_wakes_for_a_nearer_one(
    broker: Broker, maintenance: Maintenance, redis_url: str, store: Store, wait_until: WaitUntil
) -> None:
    subscriptions = Subscriptions(redis_url)
    async with subscriptions.listen("taskflow:due") as listener:
        await enqueue(broker, placement("far", due=broker.clock.now() + 500))
        parts = [
            asyncio.create_task(maintenance.keep_forwarding()),
            asyncio.create_task(maintenance.keep_listening(listener)),
        ]
        await wait_until(lambda: maintenance._next_due < float("inf"))
        due = broker.clock.now() + 0.15
        await enqueue(broker, placement("near", due=due))
        await wait_until(lambda: store.state("near") == "pending")
        assert broker.clock.now() < due + 0.3
        await loops.cancel_all(parts)
    await subscriptions.close()


async def test_a_key_of_another_kind_stops_neither_sweeps_nor_the_worker(
    broker: Broker, maintenance: Maintenance, raw: redis.Redis, store: Store, wait_until: WaitUntil
) -> None:
    raw.set(store.key("scheduled"), "another kind")
    with pytest.raises(TaskFlowError):
        await maintenance.forward()
    raw.set(store.key("completed"), "another kind")
    parts = [
        asyncio.create_task(maintenance.keep_forwarding()),
        asyncio.create_task(loops.every(0.01, maintenance.clean, name="clean")),
    ]
    await asyncio.wait(parts, timeout=0.1)
    assert not any(part.done() for part in parts)
    raw.delete(store.key("scheduled"), store.key("completed"))
    await enqueue(broker, placement("a", due=broker.clock.now() + 0.05))

    await wait_until(lambda: store.state("a") == "pending")
    await loops.cancel_all(parts)


async def test_a_bug_in_a_sweep_is_not_hidden() -> None:
    async def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await loops.every(0.01, broken, name="broken")
