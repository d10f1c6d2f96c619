"""Cancelling: for good, in whatever state a task is; or by a bare message, as asynq's own tools do it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from conftest import StartWorker, WaitUntil
from support.store import Store
from support.tasks import enqueue, placement
from taskflow import Broker, Client, Inspector, TaskContext, TaskFailed, TaskFlow, TaskState
from taskflow.broker.progress import ProgressStream

pytestmark = pytest.mark.usefixtures("invariants_hold")

KEPT = timedelta(minutes=5)


async def test_a_running_task_is_stopped_and_archived(
    app: TaskFlow, client: Client, inspector: Inspector, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    ended: list[str] = []

    @app.task("t")
    async def handler() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cleaned up")
            raise

    await start_worker(app)
    info = await client.enqueue("t")
    await wait_until(lambda: store.state(info.id) == "active")

    assert await inspector.cancel(info.id) is TaskState.ACTIVE

    with pytest.raises(TaskFailed) as caught:
        await client.result(info, timeout=20)
    assert caught.value.cancelled
    assert ended == ["cleaned up"]
    assert store.message(info.id).retried == 0


async def test_a_waiting_task_is_never_run(
    app: TaskFlow, client: Client, inspector: Inspector, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    ran: list[str] = []

    @app.task("t")
    async def handler(name: str) -> None:
        ran.append(name)

    pending = await client.enqueue("t", {"name": "pending"})
    scheduled = await client.enqueue("t", {"name": "scheduled"}, process_in=timedelta(seconds=0.2))
    for info in (pending, scheduled):
        await inspector.cancel(info.id)
    await client.enqueue("t", {"name": "later"}, process_in=timedelta(seconds=0.4))
    await start_worker(app)

    await wait_until(lambda: ran == ["later"])
    assert store.state(pending.id) == store.state(scheduled.id) == "archived"


async def test_a_task_marked_before_it_was_fetched_is_archived_unrun(
    app: TaskFlow, broker: Broker, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    """Its mark was set while a worker had it that died."""
    ran: list[str] = []

    @app.task("t")
    async def handler() -> None:
        ran.append("run")

    await enqueue(broker, placement("a"))
    store.client.hset(store.key("t:a"), "stop", 1)
    await start_worker(app)

    await wait_until(lambda: store.state("a") == "archived")
    assert ran == []


async def test_a_handler_that_fails_when_cancelled_is_archived_not_retried(
    app: TaskFlow, client: Client, inspector: Inspector, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    @app.task("t")
    async def handler() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError as error:
            raise ValueError("clean-up failed") from error

    await start_worker(app)
    info = await client.enqueue("t")
    await wait_until(lambda: store.state(info.id) == "active")
    await inspector.cancel(info.id)

    await wait_until(lambda: store.state(info.id) == "archived")
    kept = await inspector.task(info.id)
    assert kept.cancelled
    assert kept.last_error == "task cancelled"


async def test_a_handler_that_swallows_the_cancellation_and_returns_has_succeeded(
    app: TaskFlow, client: Client, inspector: Inspector, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    @app.task("t")
    async def handler() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "finished all the same"
        return "never"

    await start_worker(app)
    info = await client.enqueue("t", retention=KEPT)
    await wait_until(lambda: store.state(info.id) == "active")
    await inspector.cancel(info.id)

    assert await client.result(info, timeout=20) == "finished all the same"


async def test_a_handler_that_swallows_the_cancellation_keeps_its_slot_until_it_ends(
    app: TaskFlow, client: Client, inspector: Inspector, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    go_on = asyncio.Event()
    order: list[str] = []

    @app.task("stubborn")
    async def stubborn() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await go_on.wait()
        order.append("stubborn")

    @app.task("next")
    async def following() -> None:
        order.append("next")

    worker = await start_worker(app, concurrency=1)
    info = await client.enqueue("stubborn")
    await wait_until(lambda: store.state(info.id) == "active")
    await client.enqueue("next")
    await inspector.cancel(info.id)
    await wait_until(lambda: worker._executor.running[0].stop is not None)
    assert store.state(info.id) == "active"
    go_on.set()

    await wait_until(lambda: len(order) == 2)
    assert order == ["stubborn", "next"]


async def test_a_handler_that_swallows_one_cancellation_is_cancelled_again(
    app: TaskFlow, client: Client, inspector: Inspector, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    swallowed: list[str] = []

    @app.task("careless")
    async def careless() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            swallowed.append("once")
        await asyncio.sleep(60)

    await start_worker(app, cleanup_timeout=0.1)
    info = await client.enqueue("careless")
    await wait_until(lambda: store.state(info.id) == "active")
    await inspector.cancel(info.id)

    await wait_until(lambda: store.state(info.id) == "archived")
    assert swallowed == ["once"]
    assert (await inspector.task(info.id)).cancelled


async def test_a_handler_that_swallows_every_cancellation_loses_its_task_and_keeps_its_slot(
    app: TaskFlow, client: Client, inspector: Inspector, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    release = asyncio.Event()

    @app.task("deaf")
    async def deaf() -> str:
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()
        return "too late"

    @app.task("next")
    async def following() -> str:
        return "next"

    worker = await start_worker(app, concurrency=2, cleanup_timeout=0.1)
    timed_out = await client.enqueue("deaf", timeout=timedelta(seconds=1), max_retries=0, retention=KEPT)
    with capture_logs() as logs, pytest.raises(TaskFailed, match="AttemptTimedOut"):
        await client.result(timed_out, timeout=10)

    assert [log["log_level"] for log in logs if log.get("task_id") == timed_out.id] == ["warning", "error"], "told once"
    assert worker._executor.free == 1
    assert await client.result(await client.enqueue("next", retention=KEPT), timeout=20) == "next"
    release.set()
    await wait_until(lambda: worker._executor.free == 2)
    assert (await inspector.task(timed_out.id)).result is None


async def test_a_thread_is_asked_to_stop(
    app: TaskFlow, client: Client, inspector: Inspector, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    saw = threading.Event()

    @app.task("t")
    def handler(context: TaskContext) -> None:
        while not context.cancelled:
            saw.wait(0.01)
        saw.set()

    worker = await start_worker(app)
    info = await client.enqueue("t")
    await wait_until(lambda: store.state(info.id) == "active")
    await inspector.cancel(info.id)

    await wait_until(lambda: store.state(info.id) == "archived")
    await wait_until(saw.is_set)
    await wait_until(lambda: worker._executor.free == worker._executor.concurrency)


async def test_a_bare_message_is_a_failed_attempt_as_in_asynq(
    app: TaskFlow, client: Client, start_worker: StartWorker, raw: Any, store: Store, wait_until: WaitUntil
) -> None:
    @app.task("t")
    async def handler() -> None:
        await asyncio.sleep(60)

    await start_worker(app)
    info = await client.enqueue("t")
    await wait_until(lambda: store.state(info.id) == "active")

    raw.publish("asynq:cancel", info.id)

    await wait_until(lambda: store.state(info.id) == "retry")
    assert store.message(info.id).retried == 1
    assert "cancelled" not in store.hash(info.id)
    assert "AttemptCancelled" in store.message(info.id).error_msg


async def test_of_two_running_tasks_with_one_id_only_the_marked_one_is_stopped(
    app: TaskFlow,
    client: Client,
    inspector: Inspector,
    start_worker: StartWorker,
    raw: Any,
    wait_until: WaitUntil,
) -> None:
    go_on = asyncio.Event()

    @app.task("t")
    async def handler() -> None:
        await go_on.wait()

    await start_worker(app, queues={"x": 1, "y": 1})
    for queue in ("x", "y"):
        await client.enqueue("t", queue=queue, task_id="same")
    x, y = Store(raw, "x"), Store(raw, "y")
    await wait_until(lambda: x.state("same") == y.state("same") == "active")

    await inspector.cancel("same", "y")

    await wait_until(lambda: y.state("same") == "archived")
    assert x.state("same") == "active"
    go_on.set()
    await wait_until(lambda: x.number("processed") == 1)


async def test_a_cancelled_task_ends_its_progress(
    app: TaskFlow,
    client: Client,
    broker: Broker,
    inspector: Inspector,
    start_worker: StartWorker,
    wait_until: WaitUntil,
) -> None:
    @app.task("t")
    async def handler(context: TaskContext) -> None:
        await context.progress(10)
        await asyncio.sleep(60)

    await start_worker(app)
    info = await client.enqueue("t")
    stream = ProgressStream(broker)

    async def begun() -> bool:
        return await stream.length(info.id) == 1

    await wait_until(begun)
    await inspector.cancel(info.id)

    async def ended() -> bool:
        latest = await stream.latest(info.id)
        return latest is not None and latest.status == "cancelled"

    await wait_until(ended)


async def test_a_mark_whose_message_was_missed_is_found_when_the_connection_is_back(
    app: TaskFlow,
    client: Client,
    inspector: Inspector,
    start_worker: StartWorker,
    raw: Any,
    store: Store,
    wait_until: WaitUntil,
) -> None:
    @app.task("t")
    async def handler() -> None:
        await asyncio.sleep(60)

    await start_worker(app)
    info = await client.enqueue("t")
    await wait_until(lambda: store.state(info.id) == "active")
    store.client.hset(store.key(f"t:{info.id}"), "stop", 1)
    for connection in raw.client_list():
        if connection["name"] == "taskflow-pubsub":
            raw.execute_command("CLIENT", "KILL", "ID", connection["id"])

    await wait_until(lambda: store.state(info.id) == "archived", 3)
