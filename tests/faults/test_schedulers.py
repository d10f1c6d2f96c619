"""Schedulers that die: whatever becomes of them, each firing is enqueued once, and none is lost."""

from __future__ import annotations

import asyncio
import os
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

KILLS = 10
LONG = os.environ.get("TASKFLOW_LONG") == "1"
PAUSE = 60 if LONG else 3
"""How many seconds are fired between two kills."""
UNWATCHED = 4.0
"""How long (s) both are dead, once."""
START_WITHIN = 30.0
"""How long (s) a scheduler may take to start, on a machine with other work."""

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


async def _kill(process: Process) -> None:
    process.kill()
    await asyncio.to_thread(process.wait, 5)


@pytest.mark.slow
@pytest.mark.timeout(KILLS * (PAUSE + START_WITHIN))
async def test_two_schedulers_killed_in_turn_fire_each_second_once(
    app: TaskFlow,
    start_worker: StartWorker,
    start_scheduler: Callable[[], Process],
    raw: redis.Redis,
    wait_until: WaitUntil,
) -> None:
    """One or the other is killed every three seconds, ten times, and started again; once both are dead for a while.

    With `TASKFLOW_LONG=1` in the environment it is one each minute, for ten minutes; `-s` shows the figures:
    `TASKFLOW_LONG=1 python -m pytest tests/faults/test_schedulers.py -s`.
    """
    seconds: list[int] = []
    late: list[float] = []

    @app.task("tick")
    async def tick(context: TaskContext) -> None:
        """The task is gone once it has run, so its id would not stop a second one."""
        second = int(context.id.rpartition(":")[2])
        seconds.append(second)
        late.append(time.time() - second)

    async def fired_up_to(second: float) -> None:
        await wait_until(lambda: seconds and max(seconds) >= second, PAUSE + START_WITHIN)

    await start_worker(app)
    pair = [start_scheduler(), start_scheduler()]
    await fired_up_to(0)
    for turn in range(KILLS):
        await fired_up_to(max(seconds) + PAUSE)
        victim, other = turn % 2, 1 - turn % 2
        await _kill(pair[victim])
        if turn == KILLS // 2:
            await _kill(pair[other])
            await asyncio.sleep(UNWATCHED)
            pair[other] = start_scheduler()
        pair[victim] = start_scheduler()
    await fired_up_to(time.time() + 1)
    for process in pair:
        process.terminate()
        await asyncio.to_thread(process.wait, START_WITHIN)
    await wait_until(lambda: not raw.llen("asynq:{default}:pending") and not raw.llen("asynq:{default}:active"))

    # Exactly one for each second, from the first to the last: none twice, none missing.
    assert sorted(seconds) == [*range(min(seconds), max(seconds) + 1)]
    late.sort()
    print(  # noqa: T201 - figures to state
        f"{len(seconds)} firings, {KILLS + 1} kills, each second fired once; "
        f"late by {late[len(late) // 2] * 1000:.0f} ms in the middle, {late[-1]:.1f} s at most"
    )
    check_invariants(raw, "default")
