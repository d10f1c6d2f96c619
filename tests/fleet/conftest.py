"""Set-ups of local processes: one server, Sentinel, Cluster, each with Redis and with Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from support.servers import find_valkey, require
from support.topologies import ClusterSetup, SentinelSetup, StandaloneSetup, Topology, connections
from support.waiting import wait_until_sync
from taskflow import TaskFlow, Worker, WorkerOptions

QUEUES = ("a", "b", "c", "d")
"""Their slots lie on all three nodes of the cluster."""
SETUPS: dict[str, Callable[[str, Path], Topology]] = {
    "standalone": StandaloneSetup,
    "sentinel": SentinelSetup,
    "cluster": ClusterSetup,
}
PROGRAMS: dict[str, Callable[[], str]] = {"redis": lambda: require("redis-server"), "valkey": find_valkey}
ALL = [f"{setup}-{program}" for setup in SETUPS for program in PROGRAMS]

Start = Callable[..., Awaitable[Worker]]


@pytest.fixture(scope="module", params=ALL)
def topology(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    """A set-up that runs; the tests of a module share it."""
    setup, program = request.param.split("-")
    running = SETUPS[setup](PROGRAMS[program](), tmp_path_factory.mktemp(request.param))
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture
def admin(topology: Topology) -> Iterator[Any]:
    """A plain client, to look at keys without TaskFlow; every key is gone before the test, every connection of ours after."""
    client = topology.admin()
    client.flushall()
    yield client
    client.close()
    wait_until_sync(lambda: not connections(topology), 10)


@pytest.fixture
async def app(topology: Topology, admin: Any) -> AsyncIterator[TaskFlow]:
    """An app without handlers."""
    app = TaskFlow(topology.url)
    yield app
    await app.close()


@pytest.fixture
async def start(app: TaskFlow) -> AsyncIterator[Start]:
    """Starts workers of the app on all queues and returns each once it takes tasks; they are stopped at the end."""
    running: list[tuple[Worker, asyncio.Task[None]]] = []

    async def start_worker(**options: Any) -> Worker:
        chosen: dict[str, Any] = {
            "queues": dict.fromkeys(QUEUES, 1),
            "log_tasks": False,
            "heartbeat": timedelta(seconds=0.5),
        } | options
        worker = app.worker(WorkerOptions(**chosen))
        running.append((worker, asyncio.create_task(worker.run())))
        await asyncio.wait_for(worker.ready.wait(), 20)
        return worker

    yield start_worker
    for worker, _ in running:
        worker.stop()
        worker.stop()
    async with asyncio.timeout(20):
        await asyncio.gather(*(task for _, task in running))
