"""Watches that take a task at the moment of its push: they keep no slot from the other queues."""

from __future__ import annotations

import asyncio
import time

import pytest
import redis

from conftest import StartWorker, WaitUntil
from taskflow import Client, TaskContext, TaskFlow
from taskflow.worker.fetcher import ARMED_SECONDS

pytestmark = pytest.mark.usefixtures("invariants_hold")

QUEUES = ("a", "b", "c")


@pytest.fixture
def running() -> dict[str, float]:
    """When each task began, by its id (monotonic, s)."""
    return {}


@pytest.fixture
def finish() -> asyncio.Event:
    """Set it to let the handlers end."""
    return asyncio.Event()


@pytest.fixture
def app(app: TaskFlow, running: dict[str, float], finish: asyncio.Event) -> TaskFlow:
    """An app whose handler goes on until it is told to end."""

    @app.task("hold")
    async def hold(ctx: TaskContext) -> None:
        running[ctx.id] = time.monotonic()
        await finish.wait()

    return app


def blocked(raw: redis.Redis) -> int:
    return int(raw.info("clients")["blocked_clients"])


async def test_watches_of_idle_queues_keep_no_slot_from_a_busy_one(
    app: TaskFlow,
    client: Client,
    raw: redis.Redis,
    running: dict[str, float],
    finish: asyncio.Event,
    start_worker: StartWorker,
    wait_until: WaitUntil,
) -> None:
    await start_worker(app, queues=dict.fromkeys(QUEUES, 1), concurrency=2)
    waits = []
    for queue in QUEUES * 2:
        await wait_until(lambda: blocked(raw) == len(QUEUES))
        finish.clear()
        running.clear()
        sent = time.monotonic()
        for _ in range(2):
            await client.enqueue("hold", queue=queue)
        await wait_until(lambda: len(running) == 2)
        waits.append(max(running.values()) - sent)
        finish.set()
    assert max(waits) < ARMED_SECONDS / 2, waits


async def test_a_task_that_a_watch_took_while_all_slots_were_filled_goes_back_until_one_is_free(
    app: TaskFlow,
    client: Client,
    raw: redis.Redis,
    running: dict[str, float],
    finish: asyncio.Event,
    start_worker: StartWorker,
    wait_until: WaitUntil,
) -> None:
    worker = await start_worker(app, queues=dict.fromkeys(QUEUES, 1), concurrency=4)
    await wait_until(lambda: blocked(raw) == len(QUEUES))
    many = [await client.enqueue("hold", queue="b") for _ in range(4)]
    others = [await client.enqueue("hold", queue=queue) for queue in ("a", "c")]
    await wait_until(lambda: len(running) == 4)
    await wait_until(
        lambda: raw.llen("asynq:{a}:pending") + raw.llen("asynq:{b}:pending") + raw.llen("asynq:{c}:pending") == 2
    )
    assert len(worker._executor.running) == 4
    finish.set()
    await wait_until(lambda: running.keys() == {info.id for info in (*many, *others)})
