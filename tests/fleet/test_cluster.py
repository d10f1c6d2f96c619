"""What only a Cluster can do: move a queue to another node while it is at work."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from redis.asyncio.cluster import ClusterNode

from fleet.conftest import QUEUES, Start
from support.invariants import check_invariants
from support.topologies import ClusterSetup, connections
from support.waiting import wait_until
from taskflow import BrokerUnavailable, Inspector, SyncClient, Task, TaskContext, TaskFlow, TaskInfo, TaskOptions
from taskflow.application.service import TaskService
from taskflow.config import load_settings
from taskflow.wire.keys import SAMPLES_TURN

pytestmark = [
    pytest.mark.stock_redis,
    pytest.mark.slow,
    pytest.mark.parametrize("topology", ["cluster-redis", "cluster-valkey"], indirect=True),
]

SLOT = 15495
"""That of the queue `a`; the third primary has it."""


class Move:
    """The slot on its way from the node that has it to one that has not."""

    def __init__(self, setup: ClusterSetup) -> None:
        self._setup = setup
        self._source, self._target = setup.servers[2], setup.servers[0]

    def begin(self) -> None:
        with self._source.client() as source, self._target.client() as target:
            self._ids: list[Any] = [client.execute_command("CLUSTER", "MYID").decode() for client in (source, target)]
            target.execute_command("CLUSTER", "SETSLOT", SLOT, "IMPORTING", self._ids[0])
            source.execute_command("CLUSTER", "SETSLOT", SLOT, "MIGRATING", self._ids[1])

    def keys(self, most: int, *, of: bytes = b"") -> int:
        """Move some keys, those only that begin so; return how many."""
        with self._source.client() as client:
            found: Any = client.execute_command("CLUSTER", "GETKEYSINSLOT", SLOT, 10_000)
            keys = [key for key in found if key.startswith(of)][:most]
            if keys:
                client.execute_command("MIGRATE", "127.0.0.1", self._target.port, "", 0, 5000, "KEYS", *keys)
            return len(keys)

    def end(self) -> None:
        for node in (self._target, self._source, *self._setup.servers[:3]):
            with node.client() as client:
                client.execute_command("CLUSTER", "SETSLOT", SLOT, "NODE", self._ids[1])

    def back(self) -> None:
        """Move all back."""
        self._source, self._target = self._target, self._source
        self.begin()
        while self.keys(1000):
            pass
        self.end()


@pytest.fixture
def move(topology: ClusterSetup, admin: Any) -> Iterator[Move]:
    """A move to make, of all keys; it is undone afterwards."""
    move = Move(topology)
    yield move
    move.back()


async def test_a_queue_moves_to_another_node_while_its_tasks_run(
    app: TaskFlow, topology: ClusterSetup, admin: Any, start: Start, move: Move
) -> None:
    runs: Counter[str] = Counter()

    @app.task("note")
    async def note(context: TaskContext) -> None:
        runs[context.id] += 1
        await asyncio.sleep(0.01)

    stored: list[str] = []

    blocking = await asyncio.to_thread(SyncClient, topology.url)

    stopping = asyncio.Event()

    async def produce() -> None:
        tasks = [Task("note", None, TaskOptions(queue="a"))] * 5
        while not stopping.is_set():
            with suppress(BrokerUnavailable):
                answers = [
                    *await app.client.enqueue_many(tasks),
                    *await asyncio.to_thread(blocking.enqueue_many, tasks),
                ]
                stored.extend(answer.id for answer in answers if isinstance(answer, TaskInfo))
            await asyncio.sleep(0.005)

    await start(concurrency=4)
    producing = asyncio.create_task(produce())
    await wait_until(lambda: len(runs) > 100, 10)
    await asyncio.to_thread(move.begin)
    while await asyncio.to_thread(move.keys, 20):
        assert not producing.done()
    await asyncio.to_thread(move.end)
    so_far = len(stored)
    await wait_until(lambda: len(stored) > so_far + 50 or producing.done(), 20)
    stopping.set()
    await producing
    await asyncio.to_thread(blocking.close)

    inspector = Inspector(app.client.broker)

    async def idle() -> bool:
        return not any(info.pending + info.active for info in await inspector.queue_infos())

    await wait_until(idle, 30)
    assert {task_id: runs[task_id] for task_id in stored} == dict.fromkeys(stored, 1)
    check_invariants(admin)


async def test_a_task_that_ends_while_its_queue_is_torn_is_settled_when_it_is_whole(
    app: TaskFlow, admin: Any, start: Start, move: Move
) -> None:
    """A script that took its lease and then missed its hash, which has gone ahead, would leave half a task behind."""
    go_on = asyncio.Event()

    @app.task("t")
    async def handler() -> None:
        await go_on.wait()

    @app.task("first")
    async def first() -> None: ...

    worker = await start()
    await app.client.enqueue("first", queue="a")
    await wait_until(lambda: admin.get("asynq:{a}:processed") == b"1")
    await app.client.enqueue_many([Task("t", None, TaskOptions(queue="a"))] * 20)
    await wait_until(lambda: len(worker._executor.running) == 20)
    await asyncio.to_thread(move.begin)
    assert await asyncio.to_thread(partial(move.keys, 10, of=b"asynq:{a}:t:")) == 10
    go_on.set()
    tried = worker._fetcher._fetches
    await wait_until(lambda: worker._fetcher._fetches > tried + 2, 10)
    assert worker._completer.owed == 20
    while await asyncio.to_thread(move.keys, 20):
        pass
    await asyncio.to_thread(move.end)

    await wait_until(lambda: worker._completer.owed == 0, 15)
    assert admin.get("asynq:{a}:processed") == b"21"
    assert not admin.keys("asynq:{a}:t:*")
    check_invariants(admin)


async def test_while_one_node_is_away_the_queues_of_the_others_go_on(
    app: TaskFlow, topology: ClusterSetup, admin: Any, start: Start
) -> None:
    """It stands last: the node and its replica lose what they held. `b` is on it, and so is the set of all queues' names."""
    runs: Counter[str] = Counter()

    @app.task("note")
    async def note(context: TaskContext) -> None:
        runs[context.queue] += 1

    @app.task("slow")
    async def slow() -> None:
        await asyncio.sleep(0.5)

    worker = await start(concurrency=8)
    for queue in QUEUES:
        await app.client.enqueue("slow", queue=queue)
    await wait_until(lambda: len(worker._executor.running) == len(QUEUES))
    primary, replica = topology.servers[0], topology.replica_of(0)
    await asyncio.to_thread(replica.kill)
    await asyncio.to_thread(primary.kill)

    for round_ in range(1, 9):
        answers = await asyncio.gather(
            *(app.client.enqueue("note", queue=queue) for queue in QUEUES), return_exceptions=True
        )
        kinds = [type(answer) for answer in answers]
        assert kinds == [TaskInfo, BrokerUnavailable, TaskInfo, TaskInfo], answers
        await wait_until(partial(_have_run, runs, round_), 5)
        assert not runs["b"]
    assert worker._why_not_ready() is None
    await wait_until(lambda: worker._completer.owed == 1)

    await asyncio.to_thread(primary.start)
    inspector = Inspector(app.client.broker)

    async def back() -> bool:
        with suppress(BrokerUnavailable):
            await app.client.enqueue("note", queue="b")
            return runs["b"] > 0
        return False

    await wait_until(back, 15)
    await wait_until(lambda: worker._completer.owed == 0, 10)
    await asyncio.gather(*(app.client.enqueue("note", queue=queue) for queue in QUEUES))
    assert await inspector.queues() == list(QUEUES), "their names were lost, and are written anew"


def _have_run(runs: Counter[str], times: int) -> bool:
    return all(runs[queue] == times for queue in "acd")


async def test_the_queues_of_all_nodes_are_seen_at_a_glance(app: TaskFlow, admin: Any, start: Start) -> None:
    """Each queue's samples lie beside it; the turn, and the counters of types, wherever they may."""

    @app.task("note")
    async def note() -> None: ...

    worker = await start(concurrency=4)
    admin.delete(SAMPLES_TURN)
    for queue in QUEUES:
        info = await app.client.enqueue("note", queue=queue, retention=timedelta(minutes=1))
        await app.client.result(info, timeout=20)
    await worker._tallies.flush()
    async with TaskService.connect(load_settings(environ={}), app.redis_url) as service:
        inspector = Inspector(app.client.broker)

        async def sampled() -> bool:
            each = await inspector.samples(QUEUES, "30d")
            return {series.pending[-1] for series in each.values()} == {0}

        await wait_until(sampled, 20)
        overview, redis_info = await service.overview(), await service.redis_info()
        assert {seen.info.queue: seen.servers for seen in overview.queues} == dict.fromkeys(QUEUES, (worker.id,))
        assert (redis_info.kind, len(redis_info.nodes)) == ("cluster", 3)
        assert sum(node.keys for node in redis_info.nodes) > len(QUEUES)
        assert (await service.type_stats())["note"].succeeded == len(QUEUES)
        await service.findings()


async def test_closing_leaves_no_connection_though_nodes_are_gone(
    app: TaskFlow, topology: ClusterSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection to a node that has just died may be reset while it is closed."""
    disconnect = ClusterNode.disconnect

    async def reset(node: ClusterNode) -> None:
        await disconnect(node)
        raise ConnectionResetError

    await app.client.enqueue("note", queue="a")
    assert connections(topology)
    monkeypatch.setattr(ClusterNode, "disconnect", reset)

    await app.close()

    await wait_until(lambda: not connections(topology))
