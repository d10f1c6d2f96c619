"""Draining from afar: a server that is told to takes no more tasks, ends those that run, and ends."""

from __future__ import annotations

import asyncio

import pytest
import redis

from conftest import StartWorker, WaitUntil
from support.store import Store
from taskflow import Client, Inspector, Task, TaskFlow, Worker
from taskflow.application.draining import Draining
from taskflow.broker.orders import ServerOrders
from taskflow.broker.servers import ServerRecords
from taskflow.errors import ServerNotDrainable, ServerNotFound
from taskflow.wire.keys import ORDERS

pytestmark = pytest.mark.usefixtures("invariants_hold")
SLOW = 10
"""Seconds between heartbeats that no test waits for."""


@pytest.fixture
def draining(client: Client) -> Draining:
    return Draining(Inspector(client.broker), ServerOrders(client.broker))


@pytest.fixture
def go_on(app: TaskFlow) -> asyncio.Event:
    """Lets tasks of type `t` end."""
    event = asyncio.Event()

    @app.task("t")
    async def handler() -> None:
        await event.wait()

    return event


async def status(client: Client) -> list[str]:
    return [info.status for info in await Inspector(client.broker).servers()]


async def listening(worker: Worker, draining: Draining, wait_until: WaitUntil) -> None:
    async def takes_orders() -> bool:
        return worker.id in await draining.told([worker.id]) and worker.id in await alive(draining)

    await wait_until(takes_orders)


async def alive(draining: Draining) -> set[str]:
    return {info.id for info in await draining._inspector.servers()}


async def test_a_server_drains_at_once_and_says_so(
    client: Client,
    start_worker: StartWorker,
    app: TaskFlow,
    go_on: asyncio.Event,
    store: Store,
    raw: redis.Redis,
    draining: Draining,
    wait_until: WaitUntil,
) -> None:
    worker = await start_worker(app, concurrency=2, heartbeat=SLOW)
    await listening(worker, draining, wait_until)
    await client.enqueue_many([Task("t")] * 3)
    await wait_until(lambda: len(store.list("active")) == 2)
    assert await draining.told([worker.id, "other"]) == {worker.id: False}

    assert (await draining.begin(worker.id)).pid == (await Inspector(client.broker).servers())[0].pid
    assert await draining.told([worker.id]) == {worker.id: True}

    async def stopped() -> bool:
        return await status(client) == ["stopped"]

    await wait_until(stopped)
    await draining.begin(worker.id)  # again: it changes nothing
    worker.stop()  # nor does a first signal hurry it
    go_on.set()
    await wait_until(lambda: worker._status == "closed")
    assert store.number("processed") == 2
    assert len(store.list("pending")) == 1
    assert worker.drained
    await wait_until(lambda: not raw.exists(ORDERS + worker.id))


async def test_an_order_whose_message_was_lost_is_found_at_the_next_heartbeat(
    start_worker: StartWorker, app: TaskFlow, raw: redis.Redis, draining: Draining, wait_until: WaitUntil
) -> None:
    worker = await start_worker(app, heartbeat=0.2)
    await listening(worker, draining, wait_until)

    raw.set(ORDERS + worker.id, "drain", keepttl=True)

    await wait_until(lambda: worker._status == "closed")


async def test_another_servers_order_is_none_of_its_business(
    start_worker: StartWorker, app: TaskFlow, draining: Draining, wait_until: WaitUntil
) -> None:
    first, second = await start_worker(app), await start_worker(app)
    await listening(first, draining, wait_until)
    await listening(second, draining, wait_until)

    await draining.begin(first.id)

    await wait_until(lambda: first._status == "closed")
    assert second._status == "active"
    assert not second.drained


async def test_who_takes_no_orders_is_not_told(
    start_worker: StartWorker, app: TaskFlow, client: Client, draining: Draining, wait_until: WaitUntil
) -> None:
    worker = await start_worker(app, heartbeat=SLOW)
    await listening(worker, draining, wait_until)
    await ServerOrders(client.broker).withdraw(worker.id)

    with pytest.raises(ServerNotDrainable, match="stop it where it runs") as refused:
        await draining.begin(worker.id)
    with pytest.raises(ServerNotFound) as unknown:
        await draining.begin("nobody")

    assert refused.value.details == unknown.value.details | {"server_id": worker.id}
    assert await draining.told([worker.id]) == {}
    await ServerRecords(client.broker).withdraw(worker.describe())
    assert not worker.drained
