"""The key operations on each kind of server: Valkey, and the `redis-server` of the system."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from support.clock import MovableClock
from support.servers import Servers
from support.store import Store
from support.tasks import LOCK, enqueue, placement, stranger, take, taken
from taskflow import Broker, BrokerUnavailable, Client, Inspector, SyncClient, TaskFlow, TaskState
from taskflow.broker.delivery import Archive, Complete, Done, Requeue, Retry, Settled
from taskflow.broker.embedded import EmbeddedServer

pytestmark = pytest.mark.usefixtures("invariants_hold")


@pytest.fixture(params=["valkey", pytest.param("stock_redis", marks=pytest.mark.stock_redis)])
def server(request: pytest.FixtureRequest, all_servers: Servers) -> EmbeddedServer:
    server: EmbeddedServer = getattr(all_servers, request.param)()
    return server


async def test_the_server_is_what_the_test_says(broker: Broker, request: pytest.FixtureRequest) -> None:
    server = await broker.open()

    assert server.name == ("valkey" if "valkey" in request.node.name else "redis")
    assert server.understands_flags


async def test_the_whole_life_of_a_task(broker: Broker, store: Store, clock: MovableClock) -> None:
    due = int(clock.now()) + 10.5
    await enqueue(broker, placement("a", due=due, lock=LOCK, retention=60))
    assert await broker.forward(["default"]) == due
    clock.advance(11)
    assert await broker.forward(["default"]) is None

    (first,) = await take(broker)
    clock.advance(1)
    assert await broker.extend([first]) == [True]
    assert await broker.settle([(stranger(first), Done())]) == [Settled.REFUSED]
    assert await broker.settle([(first, Retry(clock.now() + 5.25, "no"))]) == [Settled.SETTLED]
    clock.advance(6)
    await broker.forward(["default"])

    (second,) = await take(broker)
    clock.advance(40)
    (lost,) = await broker.expired(["default"], cutoff=clock.now())
    assert await broker.settle([(lost.delivery, Requeue(died=True))]) == [Settled.SETTLED]
    assert await broker.settle([(second, Done())]) == [Settled.REFUSED]

    (third,) = await take(broker)
    assert await broker.write_result(third, b"early")
    assert await broker.settle([(third, Complete(b"late"))]) == [Settled.SETTLED]
    assert store.hash("a")["result"] == b"late"
    assert store.client.exists(LOCK) == 0
    clock.advance(62)
    assert await broker.clean(["default"]) == 1
    assert store.hash("a") == {}


async def test_each_outcome_and_the_counters(broker: Broker, store: Store, clock: MovableClock) -> None:
    for total in ("processed", "failed"):
        store.client.set(store.key(total), 2**63 - 1)
    deliveries = await taken(broker, *(placement(name, retention=60) for name in "abcde"))
    outcomes: list[Any] = [Done(), Complete(None), Retry(clock.now() + 1.5, "no"), Archive("no"), Requeue()]

    assert await broker.settle(list(zip(deliveries, outcomes, strict=True))) == [Settled.SETTLED] * 5

    assert (store.number("processed"), store.number("failed")) == (4, 2)


async def test_a_forgetful_server_is_taught_again(broker: Broker, store: Store) -> None:
    store.client.script_flush()
    await enqueue(broker, placement("a"))
    store.client.script_flush()
    assert [one.id for one in await take(broker)] == ["a"]


async def test_memory_full(broker: Broker, raw: redis.Redis) -> None:
    await enqueue(broker, placement("a"), placement("b"))
    raw.config_set("maxmemory", 1)
    try:
        with pytest.raises(BrokerUnavailable):
            await broker.enqueue([placement("c")])
        deliveries = await take(broker)
        assert await broker.extend(deliveries) == [True, True]
        assert await broker.settle([(one, Done()) for one in deliveries]) == [Settled.SETTLED] * 2
    finally:
        raw.config_set("maxmemory", 0)


async def test_read_stats_delete_and_cancel(broker: Broker, inspector: Inspector, clock: MovableClock) -> None:
    await enqueue(broker, placement("a"), placement("b", group="g"), placement("c", due=clock.now() + 5.5))

    assert [(await inspector.task(name)).state for name in "abc"] == ["pending", "aggregating", "scheduled"]
    assert (await inspector.queue_infos())[0].size == 3
    await inspector.delete("b", "default")
    assert await inspector.cancel("c") == "scheduled"
    assert (await inspector.queue_infos())[0].archived == 1


async def test_steering_many_and_all(broker: Broker, inspector: Inspector, store: Store, clock: MovableClock) -> None:
    await enqueue(broker, *(placement(f"{i}", lock=f"asynq:{{default}}:unique:t:{i}") for i in range(20)))
    await enqueue(broker, placement("g", group="g"), placement("due", due=clock.now() + 5.5))

    assert await inspector.archive_many([f"{i}" for i in range(3, 10)], "default") == [TaskState.PENDING] * 7
    assert await inspector.run_all("default", TaskState.ARCHIVED) == 7
    assert await inspector.run_many(["g"], "default") == [TaskState.AGGREGATING]
    later = datetime.fromtimestamp(clock.now() + 60.25, UTC)
    assert (await inspector.edit("due", payload=1, process_at=later)).payload == b"1"
    assert await inspector.memory("default") > 1000
    assert await inspector.delete_all("default", TaskState.PENDING) == 21

    assert list(store.scores("scheduled")) == ["due"]
    assert await inspector.cancel_all("default", TaskState.SCHEDULED) == 1


async def test_tasks_are_deleted_from_a_full_memory(broker: Broker, inspector: Inspector, raw: redis.Redis) -> None:
    await enqueue(broker, *(placement(f"{i}") for i in range(20)))
    raw.config_set("maxmemory", 1)
    try:
        assert await inspector.delete_all("default", TaskState.PENDING) == 20
    finally:
        raw.config_set("maxmemory", 0)


async def test_clients_and_a_worker(app: TaskFlow, client: Client, redis_url: str, start_worker: Any) -> None:
    @app.task("double")
    async def double(n: int) -> int:
        return 2 * n

    kept = timedelta(minutes=1)
    await start_worker(app)
    with SyncClient(redis_url) as blocking:
        first = blocking.enqueue("double", {"n": 2}, retention=kept)
    second = await client.enqueue("double", {"n": 4}, retention=kept, process_in=timedelta(seconds=0.3))

    assert await client.result(first, timeout=10) == 4
    assert await client.result(second, timeout=10) == 8
