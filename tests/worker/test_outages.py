"""What a worker lives through: lost replies, lost leases, a blocked loop, and a Redis that goes away and comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from conftest import StartWorker, WaitUntil
from support.invariants import check_invariants
from support.proxy import Proxy
from support.store import Store
from support.tasks import enqueue, placement, take
from taskflow import Broker, Client, Task, TaskContext, TaskFlow, Worker
from taskflow.broker.embedded import EmbeddedServer
from taskflow.broker.scripts import Script
from taskflow.broker.servers import ServerRecords
from taskflow.task import Stall

pytestmark = pytest.mark.usefixtures("invariants_hold")

KEPT = timedelta(minutes=5)
DEQUEUE = (Script("dequeue").digest.encode(), Script("dequeue").flagged_digest.encode())


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(redis_url) as proxy:
        yield proxy


async def test_a_delivery_whose_reply_was_lost_runs_within_seconds_and_costs_nothing(
    app: TaskFlow, proxy: Proxy, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    @app.task("t")
    async def handler(context: TaskContext) -> int:
        return context.retried

    worker = await start_worker(app, url=proxy.url)
    await wait_until(lambda: worker._fetcher._watches["default"].empty.is_set())
    proxy.drop_replies(lambda data: any(digest in data for digest in DEQUEUE))
    info = await client.enqueue("t", retention=KEPT)
    await wait_until(lambda: proxy.dropped > 0)
    started = time.monotonic()
    proxy.pass_on()

    assert await client.result(info, timeout=20) == 0
    assert time.monotonic() - started < 5
    assert "deaths" not in store.hash(info.id)


async def test_a_settlement_that_is_impossible_for_a_while_is_made_later_and_nothing_runs_twice(
    app: TaskFlow, proxy: Proxy, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    ran: list[str] = []
    go_on = asyncio.Event()

    @app.task("t")
    async def handler(context: TaskContext) -> str:
        ran.append(context.id)
        await go_on.wait()
        return "done"

    worker = await start_worker(app, url=proxy.url)
    info = await client.enqueue("t", retention=KEPT)
    await wait_until(lambda: store.state(info.id) == "active")
    proxy.cut()
    go_on.set()
    await wait_until(lambda: worker._completer.owed == 1 and not worker._fetcher.available)
    await asyncio.sleep(1.0)
    assert store.state(info.id) == "active"
    proxy.pass_on()

    assert await client.result(info, timeout=10) == "done"
    assert ran == [info.id]
    assert store.number("processed") == 1


async def test_a_settlement_whose_reply_was_lost_is_repeated_and_counts_once(
    app: TaskFlow, proxy: Proxy, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    ran: list[str] = []
    go_on = asyncio.Event()

    @app.task("t")
    async def handler(context: TaskContext) -> None:
        ran.append(context.id)
        await go_on.wait()

    worker = await start_worker(app, url=proxy.url)
    info = await client.enqueue("t")
    await wait_until(lambda: store.state(info.id) == "active")
    done = (Script("done").digest.encode(), Script("done").flagged_digest.encode())
    store.client.script_load(Script("done").text)
    store.client.script_load(Script("done").flagged_text)
    proxy.drop_replies(lambda data: any(digest in data for digest in done))
    go_on.set()
    await wait_until(lambda: proxy.dropped > 0)
    proxy.pass_on()

    await wait_until(lambda: worker._completer.owed == 0)
    assert ran == [info.id]
    assert store.number("processed") == 1
    assert worker._leases == set()


async def test_a_handler_whose_lease_is_anothers_is_stopped_and_writes_nothing(
    app: TaskFlow, client: Client, broker: Broker, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    stopped: list[str] = []

    @app.task("t")
    async def handler() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            stopped.append("stopped")

    worker = await start_worker(app, heartbeat=0.1)
    info = await client.enqueue("t")
    await wait_until(lambda: store.state(info.id) == "active")
    now = broker.clock.now()
    store.client.zadd(store.key("lease"), {info.id: now + 100.5})
    before = store.hash(info.id)

    await wait_until(lambda: stopped == ["stopped"])
    await wait_until(lambda: worker._leases == set() and worker._completer.owed == 0)
    assert store.hash(info.id) == before
    assert store.scores("lease") == {info.id: now + 100.5}
    assert store.number("processed") == 0
    assert worker._executor.free == worker._executor.concurrency


async def test_a_result_over_a_lost_lease_is_refused(
    app: TaskFlow, client: Client, broker: Broker, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    go_on = asyncio.Event()

    @app.task("t")
    async def handler(context: TaskContext) -> None:
        await go_on.wait()
        await context.write_result(b"mine")

    worker = await start_worker(app, heartbeat=10)
    info = await client.enqueue("t")
    await wait_until(lambda: store.state(info.id) == "active")
    await wait_until(lambda: worker._heartbeater.beaten_at is not None)
    store.client.zadd(store.key("lease"), {info.id: broker.clock.now() + 100.5})
    go_on.set()

    await wait_until(lambda: not worker._executor.running and worker._completer.owed == 0)
    assert "result" not in store.hash(info.id)
    assert store.state(info.id) == "active"


async def test_a_blocked_loop_costs_no_lease_and_is_reported(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, broker: Broker, wait_until: WaitUntil
) -> None:
    @app.task("t")
    async def handler() -> str:
        time.sleep(2.2)  # noqa: ASYNC251 - the mistake this test is about
        return "done"

    async def told() -> Stall:
        async def found() -> bool:
            return worker.id in await ServerRecords(broker).stalls([worker.id, "other"])

        await wait_until(found)
        return (await ServerRecords(broker).stalls([worker.id]))[worker.id]

    worker = await start_worker(app, lease=1.0, heartbeat=0.2, grace=0, recover_every=0.05)
    info = await client.enqueue("t", retention=KEPT)

    assert await client.result(info, timeout=10) == "done"
    assert worker._heartbeater.stalls == 1
    stalls = await told()
    assert stalls.count == 1
    assert 1 < stalls.seconds < 3
    assert "handler" in stalls.where
    assert "deaths" not in store.hash(info.id)
    assert store.number("processed") == 1


async def test_a_lease_is_extended_as_long_as_the_handler_runs(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    ran: list[str] = []

    @app.task("t")
    async def handler(context: TaskContext) -> str:
        ran.append(context.id)
        await asyncio.sleep(1.5)
        return "done"

    for _ in range(2):
        await start_worker(app, lease=0.5, heartbeat=0.1, grace=0, recover_every=0.05)
    info = await client.enqueue("t", retention=KEPT)

    assert await client.result(info, timeout=10) == "done"
    assert ran == [info.id]


async def test_a_network_that_stalls_is_waited_out(
    app: TaskFlow, proxy: Proxy, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    @app.task("t")
    async def handler(n: int) -> None: ...

    await start_worker(app, url=proxy.url)
    for _ in range(3):
        await client.enqueue_many([Task("t", {"n": n}) for n in range(20)])
        proxy.cut()
        await asyncio.sleep(0.1)
        proxy.pass_on()
    await wait_until(lambda: store.number("processed") == 60, 15)
    assert store.number("failed") == 0


# -- Redis itself -----------------------------------------------------------------------------------------------------


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server of the test's own, which it may stop and kill; what it holds is on disk."""
    with EmbeddedServer(tmp_path / "data") as server:
        yield server


@pytest.mark.parametrize("way", ["restart", "kill"])
async def test_redis_goes_away_and_comes_back(
    mortal: EmbeddedServer, start_worker: StartWorker, wait_until: WaitUntil, way: str
) -> None:
    app = TaskFlow(mortal.url)
    ran: list[int] = []

    @app.task("t")
    async def handler(n: int) -> None:
        ran.append(n)
        await asyncio.sleep(0.05)

    await start_worker(app, url=mortal.url, concurrency=4)
    with redis.Redis.from_url(mortal.url) as admin:
        admin.config_set("appendfsync", "always")
    await app.client.enqueue_many([Task("t", {"n": n}) for n in range(60)])
    await wait_until(lambda: len(ran) > 8)
    if way == "kill":
        os.kill(mortal.pid, signal.SIGKILL)
        await wait_until(lambda: not mortal.running)
    await asyncio.to_thread(mortal.stop)
    await asyncio.to_thread(mortal.start)
    started = time.monotonic()

    with redis.Redis.from_url(mortal.url) as raw:
        store = Store(raw)
        await wait_until(lambda: not store.list("pending") and not store.list("active"), 20)
        assert time.monotonic() - started < 15
        assert set(ran) == set(range(60))
        check_invariants(raw)
        await app.client.enqueue("t", {"n": 99})
        await wait_until(lambda: 99 in ran)
        await app.close()


# -- the worker itself ------------------------------------------------------------------------------------------------

VICTIM = """
import asyncio, sys
from datetime import timedelta
from taskflow import TaskFlow, WorkerOptions

app = TaskFlow(sys.argv[1])

@app.task("t")
async def handler():
    print("running", flush=True)
    await asyncio.sleep(60)

options = WorkerOptions(lease=timedelta(seconds=1), heartbeat=timedelta(seconds=0.25), log_tasks=False)
asyncio.run(app.worker(options).run())
"""


async def test_a_killed_workers_task_is_taken_over(
    app: TaskFlow, redis_url: str, client: Client, start_worker: StartWorker, store: Store
) -> None:
    @app.task("t")
    async def handler(context: TaskContext) -> int:
        return context.retried

    victim = await asyncio.create_subprocess_exec(
        sys.executable, "-c", VICTIM, redis_url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert victim.stdout is not None
    info = await client.enqueue("t", retention=KEPT)
    while b"running" not in (line := await asyncio.wait_for(victim.stdout.readline(), 20)):
        assert line
    victim.kill()
    await victim.wait()
    started = time.monotonic()
    await start_worker(app, lease=1.0)

    assert await client.result(info, timeout=10) == 0
    assert time.monotonic() - started < 5
    assert store.hash(info.id)["deaths"] == b"1"


async def test_a_worker_that_was_frozen_gives_way(
    app: TaskFlow, broker: Broker, client: Client, start_worker: StartWorker, store: Store
) -> None:
    """A stopped process: its lease ends, its record expires, another takes over; when it wakes it is refused."""

    @app.task("t")
    async def handler() -> str:
        return "mine"

    await enqueue(broker, placement("a", retention=60))
    broker.lease_seconds = 0.2
    (zombie,) = await take(broker, owner="frozen:1")
    await start_worker(app)

    assert await client.result("a", queue="default", timeout=10) == "mine"
    assert await broker.extend([zombie]) == [False]
    assert not await broker.write_result(zombie, b"zombie")
    assert store.hash("a")["result"] == b'"mine"'


def test_workers_share_nothing() -> None:
    """Two workers of one registry in one process, as `taskflow dev --reload` may have for a moment."""
    app = TaskFlow("redis://nobody")
    first, second = Worker(app.registry, "redis://nobody"), Worker(app.registry, "redis://nobody")
    assert first.id != second.id
