"""An asynq server and our worker on the same queues: sharing, pausing, cancelling, and taking over from the dead."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from asyncio.subprocess import PIPE
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from interop.go_peer import TIMEOUT, GoPeer, Reply
from support.clock import MovableClock
from support.store import Store
from support.waiting import wait_until
from taskflow import Broker, Client, Inspector, ServerInfo, Task, TaskContext, TaskFlow, TaskOptions, TaskState
from taskflow.worker.maintenance import Maintenance

if TYPE_CHECKING:
    from conftest import StartWorker

pytestmark = [pytest.mark.go, pytest.mark.usefixtures("invariants_hold")]

HOUR = timedelta(hours=1)
FOREVER = b"600000"
"""The payload of a Go task that sleeps until its context ends (milliseconds)."""


# -- sharing ----------------------------------------------------------------------------------------------------------


async def test_300_tasks_are_shared_and_each_runs_once(
    go: GoPeer, client: Client, app: TaskFlow, start_worker: StartWorker, raw: redis.Redis
) -> None:
    ours: list[str] = []

    @app.task("sleep")
    async def sleep(context: TaskContext, payload: bytes) -> None:
        ours.append(context.id)
        await asyncio.sleep(int(payload) / 1000)

    queues = ("default", "critical")
    server = await go.work("--queues=default=1,critical=2", "--concurrency=5")
    await start_worker(app, queues={"default": 1, "critical": 2}, concurrency=5)

    async def enqueue_with_go() -> None:
        for number in range(150):
            await go.enqueue("sleep", b"10", task_id=f"go-{number}", queue=queues[number % 2])

    async def enqueue_with_python() -> None:
        for number in range(150):
            await client.enqueue("sleep", b"10", task_id=f"py-{number}", queue=queues[number % 2])

    await asyncio.gather(enqueue_with_go(), enqueue_with_python())
    stores = [Store(raw, queue) for queue in queues]
    await wait_until(lambda: sum(store.number("processed") for store in stores) == 300, TIMEOUT)

    gos = [event["id"] for event in server.about("start")]
    assert Counter(ours + gos) == Counter(f"{kind}-{number}" for kind in ("go", "py") for number in range(150))
    assert len(ours) > 10
    assert len(gos) > 10
    assert not list(raw.scan_iter("asynq:*:t:*"))


# -- pausing ----------------------------------------------------------------------------------------------------------


async def test_a_queue_that_go_pauses_is_left_alone_by_us(
    go: GoPeer, client: Client, app: TaskFlow, start_worker: StartWorker, inspector: Inspector
) -> None:
    ran: list[str] = []

    @app.task("work")
    async def work(context: TaskContext) -> None:
        ran.append(context.id)

    await client.enqueue_many([Task("work", None, TaskOptions(task_id="a", queue="paused"))])
    await go.inspect("pause", queue="paused")
    await start_worker(app, queues={"paused": 5, "open": 1}, concurrency=1)
    for number in range(20):
        await client.enqueue("work", queue="open", task_id=f"open-{number}")
    await wait_until(lambda: len(ran) == 20)

    assert "a" not in ran
    assert [info.paused for info in await inspector.queue_infos(["open", "paused"])] == [False, True]
    await go.inspect("unpause", queue="paused")
    await wait_until(lambda: "a" in ran)


async def test_a_queue_that_we_pause_is_left_alone_by_go(go: GoPeer, client: Client, inspector: Inspector) -> None:
    await client.enqueue("work", queue="paused", task_id="a")
    await inspector.pause("paused")
    server = await go.work("--queues=paused=5,open=1", "--concurrency=1")
    for number in range(20):
        await client.enqueue("work", queue="open", task_id=f"open-{number}")
    await server.event("end", count=20)

    assert not server.about("start", "a")
    assert (await go.inspect("queue_info", queue="paused"))["paused"] is True
    assert "already paused" in (await go.ask("pause", queue="paused"))["error"]
    await inspector.resume("paused")
    await server.event("end", "a")
    assert (await go.inspect("queue_info", queue="paused"))["paused"] is False


# -- cancelling -------------------------------------------------------------------------------------------------------


async def test_go_stops_a_task_of_ours_and_it_is_retried(
    go: GoPeer, client: Client, app: TaskFlow, start_worker: StartWorker
) -> None:
    """A cancellation of asynq's is a failed attempt; the task next to it goes on."""
    stopped: list[str] = []

    @app.task("stuck")
    async def stuck(context: TaskContext) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.append(context.id)
            raise

    await start_worker(app)
    for task_id in ("a", "b"):
        await client.enqueue("stuck", task_id=task_id)
        await go.wait_for_state(task_id, "active")

    await go.inspect("cancel", id="a")

    task = await go.wait_for_state("a", "retry")
    assert task["retried"] == 1
    assert "AttemptCancelled" in task["last_err"]
    assert (stopped, (await go.task("b"))["state"]) == (["a"], "active")


async def test_we_stop_a_task_of_gos_for_good(
    go: GoPeer,
    client: Client,
    inspector: Inspector,
    broker: Broker,
    clock: MovableClock,
) -> None:
    """Go stops it and wants to retry it; the mark has it archived when that retry falls due."""
    server = await go.work("--retry-delay=1h")
    await client.enqueue("sleep", FOREVER, task_id="a", unique=HOUR)
    await server.event("start", "a")

    assert await inspector.cancel("a") is TaskState.ACTIVE

    assert (await server.event("end", "a"))["error"] == "context canceled"
    await go.wait_for_state("a", "retry")
    clock.advance(3601)
    await Maintenance(broker, ["default"], worker="test").forward()
    info = await inspector.task("a")
    assert (info.state, info.cancelled) == (TaskState.ARCHIVED, True)
    assert (await go.task("a"))["state"] == "archived"
    assert (await go.enqueue("sleep", FOREVER, unique="1h", process_in="1h"))["state"] == "scheduled"


async def test_a_stopped_task_that_go_has_made_pending_is_not_run_by_us(
    go: GoPeer,
    client: Client,
    inspector: Inspector,
    app: TaskFlow,
    start_worker: StartWorker,
) -> None:
    """Go's own forwarder does not know the mark; our worker archives such a task instead of running it."""
    server = await go.work("--retry-delay=1s", "--queues=default=1", "--concurrency=1")
    await client.enqueue("sleep", FOREVER, task_id="a")
    await server.event("start", "a")
    await client.enqueue("sleep", FOREVER, task_id="next")  # keeps Go's only slot from the retry of the first
    await inspector.cancel("a")
    await server.event("start", "next")
    await go.wait_for_state("a", "pending")

    @app.task("sleep")
    async def sleep(payload: bytes) -> None:
        raise AssertionError("it was run")

    await start_worker(app)

    await go.wait_for_state("a", "archived")
    assert (await inspector.task("a")).cancelled


# -- crashes ----------------------------------------------------------------------------------------------------------


async def test_go_takes_over_from_our_killed_worker(go: GoPeer, client: Client, store: Store, redis_url: str) -> None:
    victim = Path(__file__).with_name("victim.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = await asyncio.create_subprocess_exec(sys.executable, victim, redis_url, stdout=PIPE, env=environment)
    assert process.stdout is not None
    try:
        await client.enqueue("echo:stuck", b"still here", task_id="a", retention=HOUR)
        async with asyncio.timeout(TIMEOUT):
            while await process.stdout.readline() != b"begun: a\n":
                assert process.returncode is None  # it logs other lines
    finally:
        process.kill()
        await process.wait()
    assert store.list("active") == ["a"]
    let_lease_end(store, "a", seconds_ago=60)

    server = await go.work("--retry-delay=0s")

    assert (await server.event("start", "a"))["retried"] == 1
    task = await go.wait_for_state("a", "completed")
    assert task["last_err"] == "asynq: task lease expired"
    assert await client.result("a", timeout=10) == b"still here"


async def test_we_take_over_from_gos_killed_server(
    go: GoPeer, client: Client, app: TaskFlow, start_worker: StartWorker, store: Store
) -> None:
    """A crash costs the task none of its retries here; it is counted apart."""
    server = await go.work()
    await client.enqueue("sleep", FOREVER, task_id="a", retention=HOUR)
    await server.event("start", "a")
    await server.kill()
    assert store.list("active") == ["a"]
    let_lease_end(store, "a", seconds_ago=1)

    @app.task("sleep")
    async def sleep(context: TaskContext, payload: bytes) -> int:
        return context.retried

    await start_worker(app, grace=0)

    assert await client.result("a", timeout=10) == 0
    assert store.hash("a")["deaths"] == b"1"


async def test_the_lease_of_a_live_go_server_is_respected(
    go: GoPeer, client: Client, app: TaskFlow, start_worker: StartWorker, inspector: Inspector
) -> None:
    """Our sweeps look for lost tasks all the time, without grace; a task whose lease runs is none."""
    server = await go.work()
    await client.enqueue("sleep", FOREVER, task_id="gos")
    await server.event("start", "gos")
    swept = asyncio.Event()

    @app.task("*")
    async def anything(payload: bytes) -> None:
        swept.set()

    worker = await start_worker(app, grace=0, queues={"default": 1, "other": 1})
    assert await worker._maintenance.recover() == 0
    assert await worker._maintenance.recover_orphans() == 0
    await client.enqueue("ours", queue="other")
    await swept.wait()

    info = await inspector.task("gos")
    assert (info.state, info.orphaned, info.worker) == (TaskState.ACTIVE, False, None)


async def test_we_run_what_a_stopping_go_server_gives_back(
    go: GoPeer, client: Client, app: TaskFlow, start_worker: StartWorker, inspector: Inspector
) -> None:
    """No retry is counted. Go does not note since when such a task is pending."""
    server = await go.work()
    await client.enqueue("sleep", FOREVER, task_id="a", retention=HOUR)
    await server.event("start", "a")
    await server.stop()
    task = await inspector.task("a")
    assert (task.state, task.retried, task.pending_since) == (TaskState.PENDING, 0, None)
    (info,) = await inspector.queue_infos(["default"])
    assert (info.pending, info.latency) == (1, timedelta(0))

    @app.task("sleep")
    async def sleep(context: TaskContext, payload: bytes) -> int:
        return context.retried

    await start_worker(app)
    assert await client.result("a", timeout=10) == 0


def let_lease_end(store: Store, task_id: str, *, seconds_ago: int) -> None:
    """Do what half a minute of silence would do."""
    assert store.client.zadd(store.key("lease"), {task_id: int(time.time()) - seconds_ago}, xx=True, ch=True) == 1


async def test_go_runs_what_our_stopping_worker_gives_back(
    go: GoPeer, client: Client, app: TaskFlow, start_worker: StartWorker
) -> None:
    @app.task("echo:stuck")
    async def stuck(payload: bytes) -> None:
        await asyncio.Event().wait()

    worker = await start_worker(app)
    await client.enqueue("echo:stuck", b"x", task_id="a", retention=HOUR)
    await go.wait_for_state("a", "active")
    worker.stop()
    worker.stop()
    await go.wait_for_state("a", "pending")

    server = await go.work()

    assert (await server.event("start", "a"))["retried"] == 0
    await go.wait_for_state("a", "completed")


# -- servers ----------------------------------------------------------------------------------------------------------


async def test_go_sees_our_worker(go: GoPeer, client: Client, app: TaskFlow, start_worker: StartWorker) -> None:
    @app.task("stuck")
    async def stuck(payload: bytes) -> None:
        await asyncio.Event().wait()

    before = int(time.time())
    worker = await start_worker(app, queues={"default": 2, "low": 1}, concurrency=7, strict=True)
    await client.enqueue("stuck", b"\x00\xff", task_id="a", timeout=timedelta(minutes=1))
    found: list[Reply] = []

    async def listed_with_task() -> bool:
        found[:] = await go.inspect("servers")
        return bool(found and found[0]["active_workers"])

    await wait_until(listed_with_task)

    (server,) = found
    (running,) = server.pop("active_workers")
    assert before <= server.pop("started") <= time.time()
    assert server == {
        "id": worker.id,
        "host": worker.host,
        "pid": os.getpid(),
        "concurrency": 7,
        "queues": {"default": 2, "low": 1},
        "strict_priority": True,
        "status": "active",
    }
    assert before <= running["started"] <= time.time()
    assert running.pop("deadline") - running.pop("started") in {60, 61}
    assert running == {"task_id": "a", "task_type": "stuck", "task_payload": "AP8=", "queue": "default"}

    worker.stop()
    worker.stop()

    async def withdrawn() -> bool:
        return not await go.inspect("servers")

    await wait_until(withdrawn)


async def test_we_see_gos_server(go: GoPeer, client: Client, inspector: Inspector) -> None:
    """Go lists what runs with its next heartbeat, up to 5 s later."""
    before = int(time.time())
    server = await go.work("--queues=default=2,low=1", "--concurrency=7", "--strict")
    await client.enqueue("sleep", FOREVER, task_id="a", timeout=timedelta(minutes=1))
    await client.enqueue("sleep", FOREVER, task_id="b", deadline=None, queue="low")
    found: list[ServerInfo] = []

    async def listed_with_tasks() -> bool:
        found[:] = await inspector.servers()
        return bool(found and found[0].active_count == len(found[0].running) == 2)

    await wait_until(listed_with_tasks, TIMEOUT)

    (info,) = found
    assert (info.pid, info.concurrency, info.queues) == (server.process.pid, 7, {"default": 2, "low": 1})
    assert (info.strict_priority, info.status, info.active_count) == (True, "active", 2)
    assert before <= info.started_at.timestamp() <= time.time()
    running = {task.id: task for task in info.running}
    assert {task.queue for task in running.values()} == {"default", "low"}
    one = running["a"]
    assert (one.type, one.payload) == ("sleep", FOREVER)
    assert one.deadline is not None
    assert (one.deadline - one.started_at).total_seconds() == pytest.approx(60, abs=0.1)

    await server.stop()
    assert await inspector.servers() == []
    await inspector.delete("a", "default")
    await inspector.delete("b", "low")
