"""A worker that serves queues by pattern: new ones are found, removed ones are dropped, and all parts follow."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
import redis

from conftest import StartWorker, WaitUntil
from support.store import Store
from support.waiting import wait_until as until
from taskflow import Broker, Client, Inspector, SyncClient, Task, TaskContext, TaskFlow, TaskOptions
from taskflow.wire.keys import ALL_QUEUES
from taskflow.worker import watches
from taskflow.worker.discovery import LOOK_EVERY

pytestmark = pytest.mark.usefixtures("invariants_hold")

KEPT = timedelta(minutes=5)
TENANTS = {"tenant-*": 1, "default": 3}


@pytest.fixture
def app(app: TaskFlow) -> TaskFlow:
    """An app with a handler that says which queue its task came from."""

    @app.task("t")
    async def handler(ctx: TaskContext) -> str:
        return ctx.queue

    return app


async def run(client: Client, queue: str, timeout: float = 5) -> Any:
    info = await client.enqueue("t", queue=queue, retention=KEPT)
    return await client.result(info, timeout=timeout)


def watched(raw: redis.Redis) -> int:
    """How many connections wait for a push."""
    return int(raw.info("clients")["blocked_clients"])


# -- come and go ------------------------------------------------------------------------------------------------------


async def test_queues_that_exist_are_served_from_the_start_and_named_in_the_servers_record(
    app: TaskFlow, client: Client, inspector: Inspector, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    await client.enqueue("t", queue="tenant-a")
    await client.enqueue("t", queue="other")
    worker = await start_worker(app, queues=TENANTS)
    assert dict(worker.queues) == {"default": 3, "tenant-a": 1}

    async def listed() -> bool:
        return [dict(server.queues) for server in await inspector.servers()] == [{"default": 3, "tenant-a": 1}]

    await wait_until(listed)


@pytest.mark.parametrize("blocking", [False, True], ids=["Client", "SyncClient"])
async def test_a_new_queue_is_found_at_once_when_a_client_names_it(
    app: TaskFlow, client: Client, redis_url: str, start_worker: StartWorker, blocking: bool, wait_until: WaitUntil
) -> None:
    """Far sooner than the next look: the first task of a queue waits for no timer."""
    worker = await start_worker(app, queues=TENANTS)
    waits = []
    for number in range(5):
        started = time.monotonic()
        if blocking:
            with SyncClient(redis_url) as sync:
                info = sync.enqueue("t", queue=f"tenant-{number}", retention=KEPT)
            await client.result(info, timeout=20)
        else:
            await run(client, f"tenant-{number}")
        waits.append(time.monotonic() - started)

    assert sorted(waits)[2] < LOOK_EVERY / 4
    assert len(worker.queues) == 6


async def test_a_new_queue_of_which_nothing_is_announced_is_found_within_about_a_second(
    app: TaskFlow, raw: redis.Redis, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    """Go's clients only add the name."""
    worker = await start_worker(app, queues=TENANTS)

    raw.sadd(ALL_QUEUES, "tenant-go", "unrelated")
    await wait_until(lambda: "tenant-go" in worker.queues, LOOK_EVERY + 1)

    assert "unrelated" not in worker.queues


async def test_a_removed_queue_is_dropped_and_found_again_when_it_is_used_again(
    app: TaskFlow, client: Client, inspector: Inspector, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    worker = await start_worker(app, queues=TENANTS)
    assert await run(client, "tenant-a") == "tenant-a"
    await inspector.remove_queue("tenant-a", force=True)
    await wait_until(lambda: "tenant-a" not in worker.queues, LOOK_EVERY + 1)

    assert await run(client, "tenant-a") == "tenant-a"
    assert "tenant-a" in worker.queues


async def test_what_runs_of_a_queue_that_is_left_ends_in_order(
    app: TaskFlow, client: Client, raw: redis.Redis, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    @app.task("slow")
    async def slow() -> None:
        began.set()
        await go_on.wait()

    worker = await start_worker(app, queues=TENANTS)
    info = await client.enqueue("slow", queue="tenant-a", retention=KEPT)
    await asyncio.wait_for(began.wait(), 20)
    worker.queues.leave("tenant-a")
    await client.enqueue("t", queue="tenant-a")
    go_on.set()

    await client.result(info, timeout=20)
    assert await run(client, "default") == "default"
    await wait_until(lambda: len(Store(raw, "tenant-a").list("pending")) == 1)
    assert Store(raw, "tenant-a").number("processed") == 1
    assert dict(worker.queues) == {"default": 3}


async def test_queues_are_served_and_left_while_the_worker_works(
    app: TaskFlow, client: Client, start_worker: StartWorker, raw: redis.Redis, wait_until: WaitUntil
) -> None:
    """A worker that had no pattern learns one, and what it means is looked for at once."""
    waiting = await client.enqueue("t", queue="tenant-a", retention=KEPT)
    worker = await start_worker(app)
    worker.queues.serve("late", 2)
    assert await run(client, "late") == "late"

    worker.queues.serve("tenant-*")
    assert await client.result(waiting, timeout=20) == "tenant-a"
    worker.queues.leave("tenant-*")
    await client.enqueue("t", queue="tenant-a")
    assert await run(client, "default") == "default"
    await wait_until(lambda: len(Store(raw, "tenant-a").list("pending")) == 1)
    assert Store(raw, "tenant-a").number("processed") == 1
    assert dict(worker.queues) == {"late": 2, "default": 1}


async def test_an_empty_set_waits_for_its_first_queue(app: TaskFlow, client: Client, start_worker: StartWorker) -> None:
    worker = await start_worker(app, queues={"tenant-*": 1})
    assert dict(worker.queues) == {}

    assert await run(client, "tenant-a") == "tenant-a"


# -- all parts follow -------------------------------------------------------------------------------------------------


async def test_due_tasks_of_a_found_queue_are_forwarded_and_cancelled_ones_stopped(
    app: TaskFlow, client: Client, inspector: Inspector, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    began = asyncio.Event()

    @app.task("endless")
    async def endless() -> None:
        began.set()
        await asyncio.sleep(60)

    await start_worker(app, queues=TENANTS)
    later = await client.enqueue("t", queue="tenant-a", retention=KEPT, process_in=timedelta(seconds=0.3))
    assert await client.result(later, timeout=20) == "tenant-a"

    info = await client.enqueue("endless", queue="tenant-b")
    await asyncio.wait_for(began.wait(), 20)
    await inspector.cancel(info.id, "tenant-b")

    async def archived() -> bool:
        return (await inspector.task(info.id, "tenant-b")).cancelled

    await wait_until(archived)


async def test_lost_tasks_of_a_found_queue_are_recovered(
    app: TaskFlow, client: Client, redis_url: str, start_worker: StartWorker
) -> None:
    await start_worker(app, queues=TENANTS, grace=0.1)
    dead = Broker(redis_url, lease_seconds=0.3)
    info = await client.enqueue("t", queue="other", retention=KEPT)
    other = await client.enqueue("t", queue="tenant-a", retention=KEPT, process_in=timedelta(seconds=0.2))
    assert [one.id for one in await dead.dequeue({"other": 1}, owner="gone:1")] == [info.id]
    await dead.close()
    worker = await start_worker(app, queues={"oth*": 1}, grace=0.1)

    assert await client.result(info, timeout=10) == "other"
    assert await client.result(other, timeout=10) == "tenant-a"
    assert dict(worker.queues) == {"other": 1}


async def test_groups_of_a_found_queue_are_aggregated(
    app: TaskFlow, client: Client, raw: redis.Redis, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    @app.aggregate
    def together(group: str, tasks: list[Task]) -> Task:
        return Task("t", None, TaskOptions(task_id=f"{group}-{len(tasks)}", retention=KEPT))

    await start_worker(app, queues=TENANTS, group_max_size=3)
    for _ in range(3):
        await client.enqueue("member", queue="tenant-a", group="g")

    await wait_until(lambda: Store(raw, "tenant-a").state("g-3") == "completed")


# -- many of them -----------------------------------------------------------------------------------------------------

MANY = 100


@pytest.fixture
async def many(app: TaskFlow, client: Client, raw: redis.Redis, start_worker: StartWorker) -> Any:
    """A worker that serves a hundred queues, of which the last have no connection of their own."""
    raw.sadd(ALL_QUEUES, *(f"tenant-{number:03}" for number in range(MANY)))
    worker = await start_worker(app, queues={"tenant-*": 1})
    assert len(worker.queues) == MANY
    await until(lambda: not worker._fetcher._watches.busy)
    return worker


async def test_many_queues_share_few_connections_and_each_gets_its_tasks(
    many: Any, client: Client, raw: redis.Redis, wait_until: WaitUntil
) -> None:
    await wait_until(lambda: watched(raw) == watches.MOST_WATCHED, 10)

    for queue in ("tenant-000", "tenant-063", "tenant-064", "tenant-099"):
        assert await run(client, queue) == queue
    await asyncio.gather(*(run(client, queue, 20) for queue in many.queues))
    await wait_until(lambda: watched(raw) == watches.MOST_WATCHED, 10)


async def test_a_paused_queue_among_many_is_looked_into_now_and_then_only(
    many: Any, client: Client, inspector: Inspector, raw: redis.Redis, wait_until: WaitUntil
) -> None:
    await inspector.pause("tenant-099")
    info = await client.enqueue("t", queue="tenant-099", retention=KEPT)
    watch = many._fetcher._watches["tenant-099"]
    await wait_until(lambda: watch.pause == watches.SLOW_CHECK)
    first = watch.rest_until
    await wait_until(lambda: watch.rest_until != first, 10)
    assert watch.rest_until - first >= watches.SLOW_CHECK
    assert await run(client, "tenant-098", 10) == "tenant-098"
    await inspector.resume("tenant-099")

    assert await client.result(info, timeout=10) == "tenant-099"


async def test_another_kind_of_value_under_a_queues_key_does_not_keep_the_others(
    many: Any, client: Client, raw: redis.Redis
) -> None:
    raw.set("asynq:{tenant-099}:pending", "not a list")

    assert await run(client, "tenant-098") == "tenant-098"
    raw.delete("asynq:{tenant-099}:pending")
    assert await run(client, "tenant-099", 10) == "tenant-099"


async def test_when_watched_queues_go_others_are_watched_in_their_place(
    many: Any, raw: redis.Redis, wait_until: WaitUntil
) -> None:
    for number in range(50):
        many.queues.leave(f"tenant-{number:03}")

    await wait_until(lambda: watched(raw) == MANY - 50, 10)
    assert len(many._fetcher._watches._polled) == 0


@pytest.mark.parametrize("strict", [False, True])
async def test_full_queues_share_the_slots_by_their_weights_however_many_they_are(
    app: TaskFlow, client: Client, start_worker: StartWorker, wait_until: WaitUntil, strict: bool
) -> None:
    """Queues of one weight share fairly, of strict weights too; the heavier ones get their share, or all."""
    first: list[str] = []

    @app.task("count")
    async def count(context: TaskContext) -> None:
        if len(first) < 1200:
            first.append(context.queue)
        await asyncio.sleep(0)

    tasks = [Task("count", None, TaskOptions(queue=f"light-{n}")) for n in range(40) for _ in range(60)]
    heavy = [Task("count", None, TaskOptions(queue=f"heavy-{n}")) for n in range(20) for _ in range(120)]
    await client.enqueue_many(tasks + heavy)
    await start_worker(app, queues={"light-*": 1, "heavy-*": 4}, concurrency=20, strict=strict)
    await wait_until(lambda: len(first) == 1200, 20)

    shares = Counter(first)
    of_heavy = [shares[f"heavy-{n}"] for n in range(20)]
    of_light = [shares[f"light-{n}"] for n in range(40)]
    if strict:
        assert sum(of_light) == 0
        assert min(of_heavy) > 30
    else:
        assert 700 < sum(of_heavy) < 900  # 80 of 120 parts
        assert min(of_heavy) > 15
        assert min(of_light) > 0
