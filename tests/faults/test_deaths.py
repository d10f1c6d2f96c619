"""Workers that die: killed at random, at each step of a task's way, again and again with the same task, or only frozen."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import redis

from conftest import WaitUntil
from support.invariants import check_invariants
from support.store import Store
from taskflow import Client, Inspector, Task, TaskOptions, TaskState
from taskflow.task import TaskInfo

if TYPE_CHECKING:
    from faults.conftest import Workers

KEPT = timedelta(hours=1)


@pytest.mark.slow
async def test_workers_killed_at_random_lose_nothing(
    client: Client, workers: Workers, store: Store, raw: redis.Redis, wait_until: WaitUntil
) -> None:
    """Fault 1: two workers, 2,000 tasks, a `kill -9` every half second."""
    tasks = [Task("work", {"seconds": 0.005}, TaskOptions(task_id=f"{n}", retention=KEPT)) for n in range(2000)]
    assert all(isinstance(answer, TaskInfo) for answer in await client.enqueue_many(tasks))
    options: dict[str, Any] = {"lease": 1.0, "heartbeat": 0.25, "grace": 0.5, "concurrency": 8}
    workers.start(**options)
    workers.start(**options)
    await wait_until(lambda: len(workers.runs()) > 50, 20)
    killed = 0
    dice = random.Random(7)
    until = time.monotonic() + 4
    while time.monotonic() < until:
        victim = dice.choice(workers.alive())
        victim.kill()
        killed += 1
        workers.start(**options)
        await asyncio.sleep(0.5)

    await wait_until(lambda: not store.list("pending") and not store.list("active"), 40)
    await asyncio.to_thread(workers.stop)

    assert killed >= 6
    assert set(store.scores("completed")) | set(store.scores("archived")) == {f"{n}" for n in range(2000)}
    check_invariants(raw, "default")
    assert set(workers.runs("end")) >= set(store.scores("completed"))
    # A task runs again only where a worker was killed: at most its eight slots at each death, and what waited for a settle.
    again = sum(count - 1 for count in workers.runs().values())
    assert again <= killed * 3 * 8
    assert store.number("processed") == 2000
    assert store.number("failed") == len(store.scores("archived"))


@pytest.mark.parametrize(
    ("step", "runs"),
    [("fetched", 1), ("run", 1), ("settle", 2), ("settled", 1)],
    ids=["fetched", "run", "settle", "settled"],
)
async def test_a_death_at_each_step(
    client: Client, workers: Workers, store: Store, raw: redis.Redis, wait_until: WaitUntil, step: str, runs: int
) -> None:
    """Fault 3: between fetch and start, at the start, before the settlement, and after it."""
    info = await client.enqueue("work", retention=KEPT)
    victim = workers.start(die_at=step, lease=1.0, heartbeat=0.25, grace=0.5)
    await wait_until(lambda: victim.poll() == 9, 20)
    workers.start(lease=1.0, heartbeat=0.25, grace=0.5)

    await client.result(info, timeout=20)
    await asyncio.to_thread(workers.stop)

    assert workers.runs("end")[info.id] == runs
    assert store.message(info.id).retried == 0
    assert store.number("processed") == 1
    check_invariants(raw, "default")


async def test_a_handler_that_kills_its_worker_is_given_up_after_the_third_death(
    client: Client, inspector: Inspector, workers: Workers, store: Store, raw: redis.Redis, wait_until: WaitUntil
) -> None:
    """Fault 12. One slot, so that no other task dies with it; those behind it are all done."""
    poison = await client.enqueue("die")
    others = await client.enqueue_many([Task("work", {}, TaskOptions(retention=KEPT))] * 20)
    options: dict[str, Any] = {"lease": 0.5, "heartbeat": 0.2, "grace": 0.2, "recover_every": 0.1, "concurrency": 1}
    until = time.monotonic() + 40
    while store.state(poison.id) != "archived":
        assert time.monotonic() < until
        if not workers.alive():
            workers.start(**options)
        await asyncio.sleep(0.02)
    await wait_until(lambda: len(store.scores("completed")) == len(others), 15)
    await asyncio.to_thread(workers.stop)

    assert workers.runs()[poison.id] == 3
    kept = await inspector.task(poison.id)
    assert kept.state is TaskState.ARCHIVED
    assert "worker died" in (kept.last_error or "")
    check_invariants(raw, "default")


@pytest.mark.slow
async def test_tasks_that_kill_their_worker_take_no_others_along(
    client: Client, workers: Workers, store: Store, raw: redis.Redis, wait_until: WaitUntil
) -> None:
    """Three of a hundred, with slots for all: each death counts for everything that ran, yet only the three are given up."""
    poison = {"p0", "p1", "p2"}
    tasks = [Task("work", {"seconds": 0.01}, TaskOptions(task_id=f"{n}", retention=KEPT)) for n in range(97)]
    for place, task_id in enumerate(sorted(poison)):
        tasks.insert(20 + 30 * place, Task("die", {}, TaskOptions(task_id=task_id)))
    await client.enqueue_many(tasks)
    options: dict[str, Any] = {"lease": 0.5, "heartbeat": 0.2, "grace": 0.2, "recover_every": 0.1, "concurrency": 100}

    async def all_ended() -> bool:
        if not workers.alive():
            workers.start(**options)
        return len(store.scores("completed")) + len(store.scores("archived")) == 100

    await wait_until(all_ended, 90)
    await asyncio.to_thread(workers.stop)

    assert set(store.scores("archived")) == poison
    assert all(1 <= workers.runs()[task_id] <= 3 for task_id in poison)
    assert store.number("processed") == 100
    check_invariants(raw, "default")


async def test_a_frozen_worker_gives_way_and_is_refused_when_it_wakes(
    client: Client, workers: Workers, store: Store, raw: redis.Redis, wait_until: WaitUntil
) -> None:
    """Fault 7, with a short lease: SIGSTOP, another takes over, SIGCONT."""
    info = await client.enqueue("work", {"seconds": 1.0}, retention=KEPT)
    zombie = workers.start(lease=1.0, heartbeat=0.25, grace=0.5)
    await wait_until(lambda: workers.runs()[info.id] == 1, 20)
    zombie.send_signal(signal.SIGSTOP)
    try:
        workers.start(lease=1.0, heartbeat=0.25, grace=0.5)
        await wait_until(lambda: workers.runs()[info.id] == 2, 20)
    finally:
        zombie.send_signal(signal.SIGCONT)

    await client.result(info, timeout=20)
    await wait_until(lambda: workers.runs("end")[info.id] >= 1, 10)
    await asyncio.to_thread(workers.stop)

    assert store.number("processed") == 1
    assert store.hash(info.id)["deaths"] == b"1"
    assert [process.returncode for process in workers.all] == [0, 0]
    check_invariants(raw, "default")
