"""The use cases: the system at a glance, its charts, and what the Redis server says of itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from conftest import StartWorker
from support.clock import MovableClock
from support.tasks import enqueue, placement, taken
from support.waiting import wait_until
from taskflow import Broker, Client, QueueInfo, ScheduleEntry, ScheduleStore, Task, TaskFlow
from taskflow.application.limited import LimitedService
from taskflow.application.overview import queue_overview
from taskflow.application.service import TaskService
from taskflow.broker.delivery import Done, Retry
from taskflow.broker.sample_lists import Sample
from taskflow.broker.samples import Samples
from taskflow.config import load_settings
from taskflow.errors import Forbidden, QueueNotFound, TaskFailed
from taskflow.wire.keys import SAMPLES_TURN

pytestmark = pytest.mark.usefixtures("invariants_hold")

NOW = 1_700_000_000.0


@pytest.fixture
async def service(client: Client) -> AsyncIterator[TaskService]:
    async with TaskService(client, settings=load_settings(environ={})) as service:
        yield service


def limited(service: TaskService, *queues: str) -> LimitedService:
    return LimitedService(service, lambda queue: queue in queues)


def sample(ago: float, *, lasted: float = 0, processed: int = 0, failed: int = 0, pending: int = 0) -> Sample:
    """A sample that was taken `ago` s, and then as it was for `lasted` s."""
    return Sample(int((NOW - ago) * 1000), int(lasted * 1000), processed, failed, pending, 0, 0)


def info(**numbers: Any) -> QueueInfo:
    return QueueInfo(queue="default", **numbers)


# -- the policy of rates ----------------------------------------------------------------------------------------------


def test_rates_are_those_of_the_last_minute() -> None:
    samples = [sample(ago, processed=1000 - int(ago) * 2, failed=100) for ago in range(600, 0, -10)]

    seen = queue_overview(info(processed_total=1000, failed_total=130), ["a"], samples, NOW)

    assert seen.throughput == pytest.approx(2.0, rel=0.01)
    assert seen.failures == pytest.approx(30 / 60, rel=0.2)
    assert (seen.processed_lately, seen.failed_lately) == (1200, 30)
    assert seen.failure_rate == pytest.approx(30 / 1200)
    assert seen.servers == ("a",)


def test_a_burst_after_an_idle_time_counts_over_the_minute() -> None:
    seen = queue_overview(info(processed_total=60), [], [sample(500, lasted=495)], NOW)

    assert seen.throughput == pytest.approx(1.0)
    assert seen.pending_before == 0


@pytest.mark.parametrize("samples", [[], [sample(300, processed=5)]], ids=["never sampled", "sampled before"])
def test_without_samples_of_the_last_minute_there_are_no_rates(samples: list[Sample]) -> None:
    seen = queue_overview(info(processed_total=60), [], samples, NOW)

    assert (seen.throughput, seen.failures) == (None, None)


def test_counters_that_began_anew_give_no_rates() -> None:
    seen = queue_overview(info(processed_total=3), [], [sample(60, processed=500)], NOW)

    assert (seen.throughput, seen.processed_lately, seen.failure_rate) == (None, None, None)


# -- the service ------------------------------------------------------------------------------------------------------


async def test_the_overview_has_queues_rates_and_servers(
    service: TaskService, broker: Broker, app: TaskFlow, start_worker: StartWorker, clock: MovableClock
) -> None:
    await enqueue(broker, placement("a", queue="other"))
    clock.advance(-30)
    first, second = await taken(broker, placement("b", queue="low"), placement("c", queue="low"))
    await Samples(broker).take()
    await broker.settle([(first, Done()), (second, Retry(4e9, "no"))])
    worker = await start_worker(app, queues={"default": 1, "low": 2})
    await wait_until(service.servers)

    seen = await service.overview()

    low, other = seen.queues
    assert (low.info.queue, low.servers, other.servers) == ("low", (worker.id,), ())
    assert low.throughput is not None
    assert 2 / 60 < low.throughput <= 2 / 30
    assert low.failures == pytest.approx(low.throughput / 2)
    assert low.failure_rate == 0.5
    assert other.info.pending == 1
    assert [server.id for server in seen.servers] == [worker.id]
    assert abs(seen.at - datetime.now(UTC)) < timedelta(seconds=30)


async def test_an_overview_costs_a_few_commands_a_queue_whatever_it_holds(
    service: TaskService, broker: Broker, raw: redis.Redis
) -> None:
    for i in range(50):
        await enqueue(broker, *(placement(f"t{n}", queue=f"q{i}") for n in range(i * 4 + 1)))
    await service.overview()
    raw.config_resetstat()

    await service.overview()

    facts: Any = raw.info("commandstats")
    counts = {name.removeprefix("cmdstat_"): stats["calls"] for name, stats in facts.items()}
    assert counts["evalsha"] == 50
    assert sum(counts.values()) <= 50 * 16 + 10
    assert not {"scan", "keys", "zscan", "hscan", "sscan", "eval"} & set(counts)


async def test_a_worker_samples_all_queues(
    service: TaskService, broker: Broker, app: TaskFlow, start_worker: StartWorker, wait_until: Any, raw: redis.Redis
) -> None:
    """Also those that it does not serve: a queue without a worker has its charts."""
    await enqueue(broker, placement("a", queue="nobodys"))
    raw.delete(SAMPLES_TURN)
    await start_worker(app, queues={"default": 1})

    async def sampled() -> bool:
        return (await service.samples("nobodys", "1h")).pending[-1] == 1

    await wait_until(sampled)
    assert (await service.samples(None, "24h")).pending[-1] == 1
    with pytest.raises(QueueNotFound):
        await service.samples("nowhere", "1h")


async def test_what_the_server_says_of_itself(service: TaskService, broker: Broker, raw: redis.Redis) -> None:
    await enqueue(broker, placement("a"))

    seen = await service.redis_info()

    (node,) = seen.nodes
    facts: Any = raw.info()
    assert seen.kind == "single"
    assert node.version in {facts.get("valkey_version"), facts["redis_version"]}
    assert node.eviction == facts["maxmemory_policy"]
    assert node.keys == raw.dbsize()
    assert node.memory == pytest.approx(facts["used_memory"], rel=0.2)
    assert node.clients >= 2
    assert abs(datetime.now(UTC) - node.saved_at) < timedelta(days=1)
    assert ":" in node.address or "/" in node.address
    assert node.memory_share is None


async def test_types_have_their_figures(
    service: TaskService, client: Client, app: TaskFlow, start_worker: StartWorker
) -> None:
    @app.task("quick")
    async def quick() -> None: ...

    @app.task("bad:*")
    async def bad() -> None:
        await asyncio.sleep(0.05)
        raise ValueError("no")

    worker = await start_worker(app)
    infos = [await client.enqueue("quick", retention=timedelta(minutes=5)) for _ in range(3)]
    infos += [await client.enqueue(f"bad:{n % 7}", max_retries=0) for n in range(25)]
    for info in infos:
        with suppress(TaskFailed):
            await client.result(info, timeout=20)
    await worker._tallies.flush()

    figures = await service.type_stats()

    assert {name: (one.succeeded, one.failed) for name, one in figures.items()} == {"quick": (3, 0), "bad:*": (0, 25)}
    assert figures["bad:*"].p50 is not None
    assert timedelta(seconds=0.04) < figures["bad:*"].p50 < timedelta(seconds=2)
    assert figures["quick"].success_rate == 1
    assert await service.type_stats(days=8) == figures
    failing = [finding for finding in await service.findings() if finding.target == "type"]
    assert [(finding.subject, finding.severity) for finding in failing] == [("bad:*", "error")]
    assert await limited(service, "default").type_stats() == {}


async def test_findings_are_of_queues_schedules_and_redis(service: TaskService, broker: Broker) -> None:
    await enqueue(broker, placement("a"))
    await ScheduleStore(broker).put(ScheduleEntry.of(Task("report"), "@hourly", id="hourly"))

    found = await service.findings()

    assert {"no_worker", "no_scheduler"} <= {finding.code for finding in found}
    assert [finding.severity for finding in found] == sorted(finding.severity for finding in found)


# -- within limits ----------------------------------------------------------------------------------------------------


async def test_a_limited_key_sees_only_its_queues(
    service: TaskService, broker: Broker, app: TaskFlow, start_worker: StartWorker
) -> None:
    await enqueue(broker, placement("a", queue="mine"), placement("b", queue="other"), placement("c", queue="other"))
    await Samples(broker).take()
    worker = await start_worker(app, queues={"mine": 1, "other": 1}, concurrency=1)
    mine = limited(service, "mine")

    seen = await mine.overview()

    assert [(queue.info.queue, queue.servers) for queue in seen.queues] == [("mine", (worker.id,))]
    assert seen.servers == ()
    assert (await mine.samples(None, "1h")).pending[-1] in {0, 1}
    assert {finding.subject for finding in await mine.findings()} <= {"mine"}
    with pytest.raises(Forbidden):
        await mine.samples("other", "1h")
    with pytest.raises(Forbidden):
        await mine.redis_info()
