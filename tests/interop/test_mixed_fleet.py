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

from interop.features import ACROSS, Direction, shows
from interop.go_peer import TIMEOUT, GoPeer
from interop.runners import Runner
from interop.stage import Stage
from support.clock import MovableClock
from support.store import Store
from support.waiting import wait_until
from taskflow import Broker, Client, Inspector, TaskContext, TaskFlow, TaskState
from taskflow.wire.keys import CANCEL_CHANNEL
from taskflow.worker.maintenance import Maintenance

if TYPE_CHECKING:
    from conftest import StartWorker

pytestmark = [pytest.mark.go, pytest.mark.usefixtures("invariants_hold")]

AREA = "Mixed fleet"
TAKEN_OVER = "the task of a killed worker is taken over by the other"
DEATHS = "asynq counts a failure; TaskFlow counts none, and archives at the third death"
GIVEN_BACK = "what a stopping worker gives back, the other runs; no retry is counted"
STOPPED_FOR_GOOD = shows(
    AREA,
    "TaskFlow's cancel of a task that Go runs",
    Direction.GO_PYTHON,
    note="asynq puts it into retry; the mark in its hash has the next TaskFlow worker archive it",
)
HOUR = timedelta(hours=1)
FOREVER = b"600000"
"""The payload of a Go task that sleeps until its context ends (milliseconds)."""


# -- sharing ----------------------------------------------------------------------------------------------------------


@shows(AREA, "both work on the same queues: each task runs once", *ACROSS)
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


async def with_both(both: Stage, *, strict: bool = False) -> dict[str, Runner]:
    """Let each side put 150 tasks into each of two queues; then start a worker of each."""
    for queue in ("high", "low"):
        for side in both.both:
            for number in range(150):
                await side.enqueue("sleep", b"2", task_id=f"{side.name}-{number}", queue=queue)
    queues = {"low": 1, "high": 3}
    return {side.name: await both.works(side, queues=queues, concurrency=1, strict=strict) for side in both.both}


@shows(AREA, "the weights of queues are kept by both", *ACROSS)
async def test_weights_are_kept_by_both(both: Stage) -> None:
    """Until the first queue is empty, three of four tasks come from the one with the triple weight."""
    runners = await with_both(both)
    await wait_until(lambda: all(len(runner.starts) >= 100 for runner in runners.values()), TIMEOUT)

    for name, runner in runners.items():
        high = sum(start["queue"] == "high" for start in runner.starts[:100])
        assert 55 <= high <= 92, f"{name}: {high} of 100"


@shows(AREA, "strict priority is kept by both", *ACROSS)
async def test_strict_priority_is_kept_by_both(both: Stage) -> None:
    runners = await with_both(both, strict=True)
    await wait_until(lambda: sum(len(runner.starts) for runner in runners.values()) >= 600, TIMEOUT)

    for runner in runners.values():
        order = [start["queue"] for start in runner.starts]
        assert order == sorted(order), "all of `high` before any of `low`"
        assert order.count("high") > 10


# -- cancelling -------------------------------------------------------------------------------------------------------


@STOPPED_FOR_GOOD
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


@STOPPED_FOR_GOOD
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


@shows(AREA, "TaskFlow's cancel of a task that waits: archived, its lock is free", Direction.GO_PYTHON)
async def test_we_cancel_waiting_tasks_of_gos(go: GoPeer, inspector: Inspector) -> None:
    await go.enqueue("a", task_id="waiting", unique="1h")
    await go.enqueue("b", task_id="scheduled", process_in="1h")

    await inspector.cancel("waiting")
    await inspector.cancel("scheduled")

    archived = await go.inspect("list", queue="default", state="archived")
    texts = {task["id"]: task["last_err"] for task in archived}
    assert texts == {"waiting": "task cancelled", "scheduled": "task cancelled"}
    assert (await go.enqueue("a", unique="1h"))["state"] == "pending"


# -- crashes ----------------------------------------------------------------------------------------------------------


@shows(AREA, TAKEN_OVER, Direction.PYTHON_GO, note=DEATHS)
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


@shows(AREA, TAKEN_OVER, Direction.GO_PYTHON, note=DEATHS)
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


@shows(AREA, "a task whose server lives is left alone", Direction.GO_PYTHON)
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


@shows(AREA, GIVEN_BACK, Direction.GO_PYTHON)
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


@shows(AREA, GIVEN_BACK, Direction.PYTHON_GO)
async def test_go_runs_what_our_stopping_worker_gives_back(
    go: GoPeer, client: Client, app: TaskFlow, start_worker: StartWorker, raw: redis.Redis
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
    # Go's server counts as started when it is one listener more than before.
    await wait_until(lambda: raw.pubsub_numsub(CANCEL_CHANNEL) == [(CANCEL_CHANNEL.encode(), 0)])

    server = await go.work()

    assert (await server.event("start", "a"))["retried"] == 0
    await go.wait_for_state("a", "completed")
