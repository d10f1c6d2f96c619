"""Redis is full and evicts nothing: what is there comes to its end, what is new is refused, and nobody counts as gone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from conftest import StartWorker, WaitUntil
from support import handlers
from support.invariants import check_invariants
from support.servers import Servers
from support.store import Store
from taskflow import BrokerUnavailable, Client, Inspector, Retry, TaskContext, TaskFlow, TaskState
from taskflow.broker.embedded import EmbeddedServer
from taskflow.broker.servers import ServerRecords

KEPT = timedelta(minutes=1)


@pytest.fixture(params=["valkey", pytest.param("stock_redis", marks=pytest.mark.stock_redis)])
def server(request: pytest.FixtureRequest, all_servers: Servers) -> EmbeddedServer:
    server: EmbeddedServer = getattr(all_servers, request.param)()
    return server


@pytest.fixture
def full(raw: redis.Redis) -> Iterator[redis.Redis]:
    """Call `config_set("maxmemory", 1)` on it, and the server's memory is full until the end of the test."""
    yield raw
    raw.config_set("maxmemory", 0)
    check_invariants(raw)


async def test_a_worker_that_starts_then_brings_every_task_to_its_end(
    app: TaskFlow, client: Client, inspector: Inspector, start_worker: StartWorker, store: Store, full: redis.Redis
) -> None:
    @app.task("t")
    async def handler(context: TaskContext) -> int:
        await context.progress(50, "half")
        await context.write_result(b"early")
        if context.retried == 0:
            raise Retry(timedelta(seconds=0.05))
        return context.retried

    app.task("report", executor="process")(handlers.report)
    infos = [await client.enqueue("t", retention=KEPT, max_retries=1) for _ in range(20)]
    in_process = await client.enqueue("report", {"steps": 2}, retention=KEPT)
    infos.append(await client.enqueue("t", retention=KEPT, max_retries=1, process_in=timedelta(seconds=0.05)))
    full.config_set("maxmemory", 1)
    with capture_logs() as logs:
        await start_worker(app)
        assert [await client.result(info, timeout=10) for info in infos] == [1] * len(infos)
        assert await client.result(in_process, timeout=20) == "report 0/25 {}"

    dropped = [entry for entry in logs if entry["event"].startswith("progress is dropped")]
    assert len(dropped) == 1, "the first of many"
    assert [server.status for server in await inspector.servers()] == ["active"]
    with pytest.raises(BrokerUnavailable, match="OOM"):
        await client.enqueue("t")


async def test_a_server_does_not_count_as_gone(
    app: TaskFlow,
    client: Client,
    inspector: Inspector,
    start_worker: StartWorker,
    full: redis.Redis,
    wait_until: WaitUntil,
) -> None:
    """Its record lasts for two beats; it is written anew, and what it runs can be seen and stopped."""

    @app.task("t")
    async def handler() -> None:
        await asyncio.sleep(60)

    worker = await start_worker(app)
    info = await client.enqueue("t")
    full.config_set("maxmemory", 1)
    before = _expiries(full)

    async def renewed() -> bool:
        running = [task.id for server in await inspector.servers() for task in server.running]
        return _expiries(full) > before and running == [info.id]

    await wait_until(renewed, 10)
    assert worker.id in await ServerRecords(client.broker).alive()
    assert await inspector.cancel(info.id) is TaskState.ACTIVE
    assert (await client.wait(info.id, queue="default", timeout=10)).cancelled


def _expiries(client: Any) -> list[float]:
    return [score for _, score in client.zrange("asynq:servers", 0, -1, withscores=True)]


async def test_waiting_tasks_can_be_archived_cancelled_and_run(
    client: Client, inspector: Inspector, full: redis.Redis
) -> None:
    archived, cancelled, later = [(await client.enqueue("t", process_in=wait)).id for wait in (None, None, KEPT)]
    full.config_set("maxmemory", 1)

    assert await inspector.archive(archived) is TaskState.PENDING
    assert await inspector.cancel(cancelled) is TaskState.PENDING
    assert await inspector.run(later) is TaskState.SCHEDULED
    assert [(await inspector.task(each)).state for each in (archived, cancelled, later)] == [
        TaskState.ARCHIVED,
        TaskState.ARCHIVED,
        TaskState.PENDING,
    ]
