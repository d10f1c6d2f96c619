"""A system whose workers are all Go's: charts, rates and what needs attention are there nevertheless."""

from __future__ import annotations

import pytest
import redis

from interop.go_peer import TIMEOUT, GoPeer
from support.api import api_at, settings_with
from support.clock import MovableClock
from support.waiting import wait_until
from taskflow import Broker, Client
from taskflow.application.service import TaskService
from taskflow.broker.samples import Samples
from taskflow.config import load_settings
from taskflow.wire.keys import SAMPLES_TURN

pytestmark = [pytest.mark.go, pytest.mark.usefixtures("invariants_hold")]


async def test_what_go_processes_is_in_the_overview(
    go: GoPeer, client: Client, broker: Broker, clock: MovableClock
) -> None:
    service = TaskService(client, settings=load_settings(environ={}))
    for number in range(20):
        await go.enqueue("fail" if number < 8 else "echo", b"1", queue="gos", max_retry=0)
    await go.enqueue("echo", b"1", queue="nobodys")
    clock.advance(-30)
    await Samples(broker).take()
    server = await go.work("--queues=gos=1", "--concurrency=5")
    await server.event("end", count=20)

    async def settled() -> bool:
        return bool((await go.inspect("queue_info", queue="gos"))["processed"] == 20)

    await wait_until(settled, TIMEOUT)
    seen = await service.overview()
    gos, nobodys = seen.queues

    assert (gos.processed_lately, gos.failed_lately, gos.failure_rate) == (20, 8, 0.4)
    assert gos.throughput is not None
    assert gos.throughput > 0.1
    assert gos.servers == (seen.servers[0].id,)
    assert nobodys.servers == ()
    found = {(finding.code, finding.subject) for finding in await service.findings()}
    assert {("failing", "gos"), ("no_worker", "nobodys")} <= found
    await service.close()


async def test_the_api_samples_where_no_python_worker_runs(
    go: GoPeer, client: Client, redis_url: str, raw: redis.Redis
) -> None:
    service = TaskService(client, settings=load_settings(environ={}))
    await go.enqueue("echo", b"1", queue="gos")
    raw.delete(SAMPLES_TURN)

    async with api_at(settings_with(server__http__port=0), redis_url):

        async def sampled() -> bool:
            return (await service.samples("gos", "1h")).pending[-1] == 1

        await wait_until(sampled, TIMEOUT)
    await service.close()
