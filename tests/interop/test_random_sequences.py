"""Thousands of random sequences of operations by Python and Go, side by side on one store.

After each the queue has come to rest and is audited: nothing lost or doubled, each id in one place that is its state, each lock
held by a live task, every attempt counted, both inspectors in agreement; some are audited after each step. A failure prints its seed and its shortest form that
still fails. Environment: TASKFLOW_RANDOM_SEQUENCES says how many (default 2,000), TASKFLOW_RANDOM_FIRST the first seed (default
0); with TASKFLOW_RANDOM_SEED one seed is played alone.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest
import redis.asyncio

from interop.go_peer import GoPeer
from interop.go_side import GoSide
from interop.python_side import PythonSide
from interop.runners import handlers
from interop.sequences.lane import Broken, Fleet, Lane
from interop.sequences.shrinking import shortest
from interop.sequences.steps import HAND, WORKER, Sequence, sequence
from interop.sides import Side
from taskflow import Broker, Client, Inspector, ScheduleStore, Worker, WorkerOptions

pytestmark = pytest.mark.go

PARTS = 4
LANES = 12
"""Queues of each kind: as many sequences of that kind go on at the same time."""
COUNT = int(os.environ.get("TASKFLOW_RANDOM_SEQUENCES", "2000"))
FIRST = int(os.environ.get("TASKFLOW_RANDOM_FIRST", "0"))
ONE = os.environ.get("TASKFLOW_RANDOM_SEED")
STEP_BY_STEP = 10
"""One in so many is audited after each step."""
QUEUES = {kind: [f"{kind}-{number}" for number in range(LANES)] for kind in (HAND, WORKER)}


@pytest.fixture
async def fleet(go: GoPeer, redis_url: str, client: Client, broker: Broker) -> AsyncIterator[Fleet]:
    """An asynq server on all queues, a worker of ours on those that are not worked by hand."""
    weights = ",".join(queue for queues in QUEUES.values() for queue in queues)
    server = await go.work(f"--queues={weights}", "--concurrency=16", "--task-check-interval=25ms", "--retry-delay=0s")
    sides: dict[str, Side] = {"go": GoSide(go), "python": PythonSide(client, Inspector(broker), ScheduleStore(broker))}
    async with redis.asyncio.Redis.from_url(redis_url) as raw:
        fleet = Fleet(sides, broker, raw, server)
        async with _worker(fleet, redis_url):
            yield fleet


@asynccontextmanager
async def _worker(fleet: Fleet, url: str) -> AsyncIterator[None]:
    options = WorkerOptions(queues=dict.fromkeys(QUEUES[WORKER], 1), concurrency=8, log_tasks=False)
    worker = Worker(handlers([], retry_delay=0), url, options)
    worker.on_settled = fleet.settled
    running = asyncio.create_task(worker.run())
    yield
    worker.stop()
    worker.stop()
    await running


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
async def test_nothing_is_lost_doubled_or_misplaced(part: int, fleet: Fleet) -> None:
    seeds = range(FIRST + part, FIRST + COUNT, PARTS) if ONE is None else [int(ONE)] * (part == 0)

    broken = await _play_all(fleet, map(sequence, seeds))

    if broken:
        one, story = broken[0]
        pytest.fail(f"{story}\n\n{await shortest(one, Lane(QUEUES[one.work][0], fleet))}", pytrace=False)


async def _play_all(fleet: Fleet, sequences: Iterable[Sequence]) -> list[tuple[Sequence, str]]:
    """Play sequences, as many at a time as there are lanes of their kind; return those that failed, with their stories."""
    lanes: dict[str, asyncio.Queue[Lane]] = {}
    for kind, queues in QUEUES.items():
        lanes[kind] = asyncio.Queue()
        for queue in queues:
            lanes[kind].put_nowait(Lane(queue, fleet))
    broken: list[tuple[Sequence, str]] = []

    async def play(one: Sequence) -> None:
        lane = await lanes[one.work].get()
        try:
            await lane.play(one, step_by_step=one.seed % STEP_BY_STEP == 0)
        except Broken as story:
            broken.append((one, str(story)))
        lanes[one.work].put_nowait(lane)

    await asyncio.gather(*map(play, sequences))
    return broken
