"""Stopping: take no more, let what runs end, put back what is left, and leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from conftest import StartWorker, WaitUntil
from support.proxy import Proxy
from support.store import Store
from taskflow import Client, Task, TaskFlow, Worker, WorkerOptions
from taskflow.broker.scripts import Script

pytestmark = pytest.mark.usefixtures("invariants_hold")


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(redis_url) as proxy:
        yield proxy


async def test_what_runs_may_end_and_nothing_new_is_taken(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    go_on = asyncio.Event()

    @app.task("t")
    async def handler() -> None:
        await go_on.wait()

    worker = await start_worker(app, concurrency=3)
    await client.enqueue_many([Task("t")] * 5)
    await wait_until(lambda: len(store.list("active")) == 3)

    worker.stop()
    await client.enqueue("t")
    go_on.set()

    await wait_until(lambda: store.number("processed") == 3)
    await wait_until(lambda: worker._status == "closed")
    assert len(store.list("pending")) == 3
    assert store.list("active") == []


async def test_what_does_not_end_in_time_goes_back_to_the_front(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    cancelled: list[str] = []

    @app.task("t")
    async def handler() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append("asked to stop")
            raise

    worker = await start_worker(app, concurrency=1, shutdown_timeout=0.2)
    first = await client.enqueue("t")
    await wait_until(lambda: store.list("active") == [first.id])
    await client.enqueue("t")

    started = time.monotonic()
    worker.stop()

    await wait_until(lambda: worker._status == "closed")
    assert 0.15 < time.monotonic() - started < 3
    assert store.list("pending")[-1] == first.id
    assert store.message(first.id).retried == 0
    assert "deaths" not in store.hash(first.id)
    assert cancelled == ["asked to stop"]


async def test_a_second_word_to_stop_puts_everything_back_at_once(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    @app.task("t")
    async def handler() -> None:
        await asyncio.sleep(60)

    worker = await start_worker(app, shutdown_timeout=60)
    await client.enqueue_many([Task("t")] * 4)
    await wait_until(lambda: len(store.list("active")) == 4)

    worker.stop()
    await wait_until(lambda: worker._status == "stopped")
    worker.stop()

    await wait_until(lambda: worker._status == "closed")
    assert len(store.list("pending")) == 4


async def test_a_thread_that_does_not_stop_gives_its_task_back(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    go_on = threading.Event()

    @app.task("t")
    def handler() -> None:
        go_on.wait(20)

    worker = await start_worker(app, shutdown_timeout=0.1)
    info = await client.enqueue("t")
    await wait_until(lambda: store.state(info.id) == "active")
    worker.stop()

    await wait_until(lambda: worker._status == "closed")
    assert worker.left_behind == 1
    assert store.list("pending") == [info.id]
    go_on.set()


async def test_a_delivery_that_arrives_after_the_word_to_stop_is_not_stranded(
    app: TaskFlow, proxy: Proxy, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    """The reply of the last fetch was on its way when the worker was told to stop."""
    ran: list[str] = []

    @app.task("t")
    async def handler() -> None:
        ran.append("run")

    worker = await start_worker(app, url=proxy.url, concurrency=1)
    await wait_until(lambda: worker._fetcher._watches["default"].empty.is_set())
    proxy.delay = 0.15
    await client.enqueue("t")
    await wait_until(lambda: len(store.list("active")) == 1)
    assert ran == []
    worker.stop()
    worker.stop()

    await wait_until(lambda: worker._status == "closed", 10)
    assert store.list("active") == []
    assert len(store.list("pending")) + store.number("processed") == 1


async def test_a_signal_stops_the_worker(app: TaskFlow, redis_url: str, client: Client, store: Store) -> None:
    @app.task("t")
    async def handler() -> None: ...

    worker = Worker(app.registry, redis_url, WorkerOptions(heartbeat=timedelta(seconds=0.2)))
    running = asyncio.create_task(worker.run_with_signals())
    await asyncio.wait_for(worker.ready.wait(), 20)

    os.kill(os.getpid(), signal.SIGTERM)

    await asyncio.wait_for(running, 5)
    assert worker._status == "closed"
    assert store.client.zcard("asynq:servers") == 0


async def test_a_worker_that_is_cancelled_leaves_nothing_running(app: TaskFlow, redis_url: str, client: Client) -> None:
    """A program that embeds a worker cancels it; its tasks are found and run again by others."""
    began, stopped = asyncio.Event(), asyncio.Event()

    @app.task("t")
    async def handler() -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    worker = Worker(app.registry, redis_url, WorkerOptions(heartbeat=timedelta(seconds=0.2)))
    running = asyncio.create_task(worker.run())
    await client.enqueue("t")
    await asyncio.wait_for(began.wait(), 20)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    await asyncio.wait_for(stopped.wait(), 20)


async def test_outcomes_are_settled_before_the_worker_ends(
    app: TaskFlow, proxy: Proxy, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    """Redis cannot be reached just when the last task ends."""
    began, go_on = asyncio.Event(), asyncio.Event()

    @app.task("t")
    async def handler() -> None:
        began.set()
        await go_on.wait()

    worker = await start_worker(app, url=proxy.url)
    await client.enqueue("t")
    await asyncio.wait_for(began.wait(), 20)
    proxy.cut()
    worker.stop()
    go_on.set()
    await wait_until(lambda: worker._completer.owed == 1)
    proxy.pass_on()

    await wait_until(lambda: worker._status == "closed", 10)
    assert store.number("processed") == 1


async def test_a_delivery_that_was_lost_is_put_back_before_the_worker_ends(
    app: TaskFlow, proxy: Proxy, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    """Otherwise the task would wait for the end of its lease, and the worker count as one that died with it."""

    @app.task("t")
    async def handler() -> None: ...

    script = Script("dequeue")
    digests = [store.client.script_load(text).encode() for text in (script.text, script.flagged_text)]
    info = await client.enqueue("t")
    proxy.drop_replies(lambda data: any(digest in data for digest in digests))
    worker = await start_worker(app, url=proxy.url)
    await wait_until(lambda: worker._fetcher._lost_fetches)
    worker.stop()
    await wait_until(lambda: worker._fetcher.stopping)
    proxy.pass_on()

    await wait_until(lambda: worker._status == "closed", 10)
    assert store.list("active") == []
    assert len(store.list("pending")) + store.number("processed") == 1
    assert "deaths" not in store.hash(info.id)


async def test_a_worker_that_is_stopped_as_its_queues_grow_empty_has_no_watch_to_wait_for(
    app: TaskFlow, redis_url: str, client: Client
) -> None:
    """The word to stop comes while the watches connect, where a cancellation may get lost on Python 3.11."""

    @app.task("t")
    async def handler() -> None: ...

    took = []
    for _ in range(7):
        await client.enqueue("t")
        worker = Worker(app.registry, redis_url)
        settled = asyncio.Event()
        worker.on_settled = lambda _, __, done=settled: done.set()
        running = asyncio.create_task(worker.run())
        await settled.wait()
        began = time.monotonic()
        worker.stop()
        await running
        took.append(time.monotonic() - began)

    assert sorted(took)[3] < 0.4, took  # a watch that goes on costs half a second, or the second that it is armed


async def test_a_handler_that_swallows_its_cancellation_gives_its_task_back(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    release = asyncio.Event()

    @app.task("deaf")
    async def deaf() -> None:
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()

    worker = await start_worker(app, shutdown_timeout=0.1)
    info = await client.enqueue("deaf")
    await wait_until(lambda: store.state(info.id) == "active")
    worker.stop()

    await wait_until(lambda: worker._status == "closed", 10)
    assert worker.left_behind == 1
    assert store.list("pending") == [info.id]
    assert "deaths" not in store.hash(info.id)
    release.set()
