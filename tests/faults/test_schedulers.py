"""Schedulers that die: whatever becomes of them, each firing is enqueued once, and none is lost."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from conftest import StartWorker, WaitUntil
from support import fault_scheduler
from support.invariants import check_invariants
from taskflow import TaskContext, TaskFlow

SECONDS = 40
PAUSE = 4.0

Process = subprocess.Popen[bytes]


@pytest.fixture
def start_scheduler(redis_url: str) -> Iterator[Callable[[], Process]]:
    """Starts scheduler processes; they are killed at the end of the test, if they still run."""
    started: list[Process] = []

    def start() -> Process:
        started.append(subprocess.Popen([sys.executable, fault_scheduler.__file__, redis_url]))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait(5)


@pytest.mark.slow
async def test_two_schedulers_killed_in_turn_fire_each_second_once(
    app: TaskFlow,
    start_worker: StartWorker,
    start_scheduler: Callable[[], Process],
    raw: redis.Redis,
    wait_until: WaitUntil,
) -> None:
    """One or the other is killed every four seconds and started again; once both are dead for a while."""
    seconds: list[int] = []

    @app.task("tick")
    async def tick(context: TaskContext) -> None:
        """The task is gone once it has run, so its id would not stop a second one."""
        seconds.append(int(context.id.rpartition(":")[2]))

    await start_worker(app)
    pair = [start_scheduler(), start_scheduler()]
    await wait_until(lambda: seconds, 20)
    began = time.monotonic()
    killed = 0
    while time.monotonic() - began < SECONDS:
        await asyncio.sleep(PAUSE)
        turn = killed % 2
        pair[turn].kill()
        pair[turn].wait(5)
        killed += 1
        if killed == 5:
            pair[1 - turn].kill()
            pair[1 - turn].wait(5)
            await asyncio.sleep(PAUSE)
            pair[1 - turn] = start_scheduler()
        pair[turn] = start_scheduler()
    last = int(time.time())
    await wait_until(lambda: seconds and max(seconds) >= last, 20)
    for process in pair:
        process.terminate()
        process.wait(10)

    assert killed >= SECONDS / (PAUSE + 1)
    # Exactly one for each second, from the first to the last: none twice, none missing.
    assert sorted(seconds) == [*range(min(seconds), max(seconds) + 1)]
    assert len(seconds) >= SECONDS
    check_invariants(raw, "default")
