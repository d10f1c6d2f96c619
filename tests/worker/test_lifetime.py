"""A worker that has taken its tasks, or holds too much memory, makes way for a fresh process."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from functools import partial

import pytest

from conftest import StartWorker, WaitUntil
from support import handlers
from support.store import Store
from taskflow import Client, Task, TaskFlow, TaskInfo, TaskOptions, Worker, WorkerOptions
from taskflow.errors import ConfigError
from taskflow.worker.lifetime import NO_LIMIT, Lifetime, memory_in_use

pytestmark = pytest.mark.usefixtures("invariants_hold")

KEPT = timedelta(minutes=5)
LONG = 30


def alive(app: TaskFlow, **options: object) -> tuple[Worker, asyncio.Task[None]]:
    worker = app.worker(WorkerOptions(log_tasks=False, heartbeat=timedelta(seconds=0.2), **options))  # type: ignore[arg-type]
    return worker, asyncio.create_task(worker.run())


@pytest.mark.parametrize("concurrency", [1, 3, 40])
async def test_a_worker_takes_so_many_tasks_and_no_more(
    app: TaskFlow, client: Client, store: Store, concurrency: int
) -> None:
    ran: list[int] = []

    @app.task("t")
    async def handler(n: int) -> None:
        ran.append(n)

    await client.enqueue_many([Task("t", {"n": n}) for n in range(20)])
    worker, running = alive(app, max_tasks=9, concurrency=concurrency)
    await asyncio.wait_for(running, 10)

    assert worker.retired
    assert sorted(ran) == list(range(9))
    assert len(store.list("pending")) == 11
    assert store.list("active") == []
    assert store.number("processed") == 9
    assert store.client.zcard("asynq:servers") == 0


async def test_tasks_that_come_one_by_one_count_too(
    app: TaskFlow, client: Client, store: Store, wait_until: WaitUntil
) -> None:
    """Those that a watch takes at the moment of their push."""

    @app.task("t")
    async def handler() -> None: ...

    def processed(count: int) -> bool:
        return store.number("processed") == count

    worker, running = alive(app, max_tasks=9, concurrency=2, queues={"default": 1, "other": 1})
    await asyncio.wait_for(worker.ready.wait(), 20)
    for n in range(12):
        await client.enqueue("t")
        await wait_until(partial(processed, min(n + 1, 9)))
    await asyncio.wait_for(running, 5)

    assert len(store.list("pending")) == 3


async def test_a_watch_that_ends_in_vain_leaves_the_last_task_to_another_queue(
    app: TaskFlow, client: Client, store: Store, wait_until: WaitUntil
) -> None:
    """While it waits, it may take the last one; when it no longer does, the round trips must hear of it."""

    @app.task("t")
    async def handler() -> None: ...

    worker, running = alive(app, max_tasks=9, concurrency=4, queues={"default": 1, "other": 1})
    await asyncio.wait_for(worker.ready.wait(), 20)
    await wait_until(lambda: worker._fetcher._armed == 2)
    await client.enqueue_many([Task("t")] * 12)
    await asyncio.wait_for(running, 5)

    assert store.number("processed") == 9
    assert len(store.list("pending")) == 3


async def test_few_tasks_left_and_several_queues(app: TaskFlow, client: Client, store: Store) -> None:
    """Two round trips share what is left; the one that finds nothing left must not put the other to sleep."""

    @app.task("t")
    async def handler() -> None: ...

    queues = dict.fromkeys(("default", "a", "b", "c", "d"), 1)
    for _ in range(5):
        await client.enqueue_many([Task("t")] * 2)
        worker, running = alive(app, max_tasks=2, concurrency=100, queues=queues)
        await asyncio.wait_for(running, 5)
        assert worker.retired

    assert store.number("processed") == 10


async def test_what_runs_may_end_and_a_signal_then_is_the_first_one(
    app: TaskFlow, client: Client, store: Store, wait_until: WaitUntil
) -> None:
    """Who ends a worker that is about to make way does not mean: at once. And it needs no successor then."""
    go_on = asyncio.Event()

    @app.task("t")
    async def handler() -> None:
        await go_on.wait()

    await client.enqueue_many([Task("t")] * 2)
    worker, running = alive(app, max_tasks=2)
    await wait_until(lambda: worker._status == "stopped")
    assert worker.retired
    worker.stop()
    assert not worker._hurry.is_set()
    go_on.set()
    await asyncio.wait_for(running, 5)

    assert store.number("processed") == 2
    assert not worker.retired


async def test_a_worker_that_holds_too_much_memory_makes_way(app: TaskFlow, client: Client, store: Store) -> None:
    kept: list[bytearray] = []

    @app.task("leak")
    async def leak() -> None:
        kept.append(bytearray(b"x" * 80_000_000))

    worker, running = alive(app, max_memory=memory_in_use() + 60_000_000)
    await client.enqueue("leak")
    await asyncio.wait_for(running, 10)

    assert worker.retired
    assert store.number("processed") == 1


async def test_memory_that_cannot_be_enough_is_refused(app: TaskFlow) -> None:
    worker, running = alive(app, max_memory=10_000_000)

    with pytest.raises(
        ConfigError, match=r"max_memory: 10MB is too little: before its first task this process uses \d+MB"
    ):
        await running
    assert not worker.retired


async def test_tasks_in_processes_count_for_their_process(
    app: TaskFlow, client: Client, start_worker: StartWorker
) -> None:
    app.task("pid", executor="process")(handlers.own_pid)
    worker = await start_worker(app, max_tasks=2, pool_size=1)
    infos = await client.enqueue_many([Task("pid", None, TaskOptions(retention=KEPT))] * 5)

    pids = set()
    for info in infos:
        assert isinstance(info, TaskInfo)
        pids.add(await client.result(info, timeout=LONG))
    assert len(pids) == 3
    assert not worker.retired
    assert worker._status == "active"


def test_processes_that_start_together_do_not_end_together() -> None:
    lives = {
        Lifetime(1000, 0, counts=lambda _: True, over=lambda: None, rand=random.Random(seed)).left for seed in range(20)
    }

    assert len(lives) > 10
    assert min(lives) >= 900
    assert max(lives) <= 1000


def test_without_limits_nothing_is_counted() -> None:
    lifetime = Lifetime(0, 0, counts=lambda _: True, over=lambda: None)

    lifetime.took([])

    assert lifetime.left == NO_LIMIT
    assert not lifetime.watches_memory


def test_limits_below_zero_are_refused() -> None:
    with pytest.raises(ConfigError, match="must not be negative"):
        WorkerOptions(max_tasks=-1)
