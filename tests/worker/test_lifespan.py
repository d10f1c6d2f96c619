"""What surrounds a worker's life: opened before it takes tasks, closed after the last one has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import pytest

from conftest import StartWorker, WaitUntil
from support.store import Store
from taskflow import Client, Registry, TaskFlow, Worker, WorkerOptions
from taskflow.errors import ConfigError, StartFailed
from taskflow.worker.handler import Handler

pytestmark = pytest.mark.usefixtures("invariants_hold")

KEPT = timedelta(minutes=5)
_TENANT: ContextVar[str] = ContextVar("tenant")


async def test_lifespans_surround_the_tasks_and_close_in_reverse(
    app: TaskFlow, client: Client, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    """One is a bare async generator that takes the app, the other a context manager that takes nothing."""
    story: list[object] = []
    began, go_on = asyncio.Event(), asyncio.Event()

    @app.lifespan
    async def first(given: TaskFlow) -> AsyncIterator[None]:
        story.append(given is app)
        yield
        story.append("first closed")

    @app.lifespan
    @asynccontextmanager
    async def second() -> AsyncIterator[None]:
        story.append("second open")
        yield
        story.append("second closed")

    @app.task("t")
    async def handler() -> None:
        began.set()
        await go_on.wait()
        story.append("task ended")

    await client.enqueue("t")
    worker = await start_worker(app)
    await asyncio.wait_for(began.wait(), 20)
    worker.stop()
    await wait_until(lambda: worker._status == "stopped")
    go_on.set()

    await wait_until(lambda: len(story) == 5)
    assert story == [True, "second open", "task ended", "second closed", "first closed"]


async def test_a_lifespan_that_fails_keeps_the_worker_from_starting(
    app: TaskFlow, client: Client, redis_url: str, store: Store
) -> None:
    story: list[str] = []

    async def refuse() -> None:
        raise ConnectionError("no route")

    @app.lifespan
    async def first() -> AsyncIterator[None]:
        try:
            yield
        finally:
            story.append("first closed")

    @app.lifespan
    async def database() -> AsyncIterator[None]:
        await refuse()
        yield

    @app.task("t")
    async def handler() -> None:
        story.append("ran")

    await client.enqueue("t")
    with pytest.raises(StartFailed, match=r"database failed at the start: ConnectionError: no route") as caught:
        await app.worker(WorkerOptions()).run()

    assert isinstance(caught.value.__cause__, ConnectionError)
    assert story == ["first closed"]
    assert len(store.list("pending")) == 1
    assert store.client.zcard("asynq:servers") == 0


async def test_the_word_to_stop_ends_a_start_that_takes_long(app: TaskFlow, client: Client, store: Store) -> None:
    begun = asyncio.Event()
    story: list[str] = []

    @app.lifespan
    async def slow() -> AsyncIterator[None]:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            story.append("given up")
            raise
        yield

    @app.task("t")
    async def handler() -> None: ...

    await client.enqueue("t")
    worker = app.worker(WorkerOptions())
    running = asyncio.create_task(worker.run())
    await asyncio.wait_for(begun.wait(), 20)
    assert not worker.ready.is_set()
    worker.stop()

    await asyncio.wait_for(running, 5)
    assert story == ["given up"]
    assert len(store.list("pending")) == 1


async def test_a_worker_that_is_told_to_stop_before_it_runs_opens_nothing(app: TaskFlow) -> None:
    story: list[str] = []

    @app.lifespan
    async def opened() -> AsyncIterator[None]:
        story.append("opened")
        yield

    worker = app.worker(WorkerOptions())
    worker.stop()
    await asyncio.wait_for(worker.run(), 5)

    assert story == []


async def test_a_task_group_may_span_the_life_and_its_failure_stops_the_worker(app: TaskFlow) -> None:
    """The lifespan begins and ends in one asyncio task, which is what task groups and cancel scopes need."""

    async def refresh() -> None:
        raise RuntimeError("the cache is gone")

    @app.lifespan
    async def background() -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            group.create_task(refresh())
            yield

    with pytest.raises(ExceptionGroup, match="unhandled errors") as caught:
        await asyncio.wait_for(app.worker(WorkerOptions()).run(), 10)

    assert caught.group_contains(RuntimeError, match="the cache is gone")


async def test_context_variables_of_a_lifespan_are_seen_by_handlers_also_in_threads(
    app: TaskFlow, client: Client, start_worker: StartWorker
) -> None:
    @app.lifespan
    async def tenant() -> AsyncIterator[None]:
        token = _TENANT.set("acme")
        yield
        _TENANT.reset(token)

    @app.task("loop")
    async def on_the_loop() -> str:
        return _TENANT.get()

    @app.task("thread")
    def in_a_thread() -> str:
        return _TENANT.get()

    await start_worker(app)

    for task_type in ("loop", "thread"):
        info = await client.enqueue(task_type, retention=KEPT)
        assert await client.result(info, timeout=20) == "acme"


async def test_a_registry_without_an_app_has_lifespans_too(
    client: Client, redis_url: str, start_worker: StartWorker
) -> None:
    story: list[str] = []
    registry = Registry()

    async def opened() -> AsyncIterator[None]:
        story.append("opened")
        yield

    async def handler() -> list[str]:
        return story

    registry.lifespans.add(opened)
    registry.add("t", Handler(handler))
    await start_worker(registry)
    info = await client.enqueue("t", retention=KEPT)

    assert await client.result(info, timeout=20) == ["opened"]


async def test_two_workers_of_one_app_have_each_their_own(app: TaskFlow, redis_url: str) -> None:
    numbers: list[int] = []

    @app.lifespan
    async def count() -> AsyncIterator[None]:
        numbers.append(len(numbers))
        yield

    for _ in range(2):
        worker = Worker(app.registry, redis_url)
        running = asyncio.create_task(worker.run())
        await asyncio.wait_for(worker.ready.wait(), 20)
        worker.stop()
        await running

    assert numbers == [0, 1]


def test_what_cannot_be_a_lifespan_is_refused(app: TaskFlow) -> None:
    async def no_yield() -> None: ...

    def blocking() -> Iterator[None]:
        yield

    async def two(app: TaskFlow, other: int) -> AsyncIterator[None]:
        yield

    refused: list[Any] = [no_yield, blocking]
    for function in refused:
        with pytest.raises(ConfigError, match="one `yield`"):
            app.lifespan(function)
    with pytest.raises(ConfigError, match="takes one parameter, the application, or none"):
        app.lifespan(two)
