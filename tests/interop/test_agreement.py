"""For tasks in every state, asynq's inspector and ours say the same of tasks, lists and queues; neither writes an unknown key.

One queue was worked on by Go, the other by us, and both clients have put tasks into each.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import redis

from interop.go_peer import GoPeer
from interop.stage import Stage
from support.waiting import wait_until
from taskflow import Client, Inspector, Retry, SkipRetry, TaskContext, TaskFlow, TaskState
from taskflow.wire.keys import (
    ALL_QUEUES,
    ALL_SERVERS,
    ALL_WORKERS,
    SAMPLES_TURN,
    SERVED_TYPES,
    TALLIES,
    TASK_TYPES,
    day_name,
    queue_keys,
)

if TYPE_CHECKING:
    from conftest import StartWorker

pytestmark = pytest.mark.go

QUEUES = ("gos", "ours")
GROUP = "user:42"
HOUR = timedelta(hours=1)
IN_2100 = 4102444800


def handlers(app: TaskFlow) -> None:
    """What the peer's handlers do, for the types used here."""

    @app.task("fail*")
    async def fail(context: TaskContext, payload: bytes) -> None:
        raise Retry(HOUR, payload.decode())

    @app.task("skip")
    async def skip(payload: bytes) -> None:
        raise SkipRetry(payload.decode())

    @app.task("echo")
    async def echo(payload: bytes) -> bytes:
        return payload

    @app.task("sleep")
    async def sleep(payload: bytes) -> None:
        await asyncio.Event().wait()


@pytest.fixture
async def filled(go: GoPeer, client: Client, inspector: Inspector, app: TaskFlow, start_worker: StartWorker) -> None:
    """Both queues with two tasks in each state, one by each client; the workers' slots are taken, so nothing moves."""
    handlers(app)
    await go.work("--queues=gos", "--concurrency=2", "--retry-delay=1h")
    await start_worker(app, queues={"ours": 1}, concurrency=2)
    for queue in QUEUES:
        await run_some(go, client, queue)
        await wait_until(lambda queue=queue: settled(inspector, queue))  # type: ignore[misc]  # a default binds the name
        await take_the_slots(go, client, queue)
        await wait_until(lambda queue=queue: busy(inspector, queue))  # type: ignore[misc]  # as above
        await let_some_wait(go, client, queue)


async def run_some(go: GoPeer, client: Client, queue: str) -> None:
    headers = {"trace-id": "4bf92f35", "schlüssel": "wért"}
    await go.enqueue("echo", b"\x00\xff", queue=queue, task_id="completed-go", retention="1h", headers=headers)
    await go.enqueue("fail", "gave up: ⚠".encode(), queue=queue, task_id="archived-go", max_retry=0)
    await go.enqueue("fail:later", b"not yet", queue=queue, task_id="retry-go", unique="3h")
    await client.enqueue("echo", b"", queue=queue, task_id="completed-py", retention=HOUR, headers=headers)
    await client.enqueue("skip", b"bad address", queue=queue, task_id="archived-py")
    await client.enqueue("fail:later", b"not yet either", queue=queue, task_id="retry-py", max_retries=3)
    await client.enqueue("echo", b"not kept", queue=queue)


async def settled(inspector: Inspector, queue: str) -> bool:
    (info,) = await inspector.queue_infos([queue])
    return info.processed == 7


async def take_the_slots(go: GoPeer, client: Client, queue: str) -> None:
    await go.enqueue("sleep", b"600000", queue=queue, task_id="active-go", deadline=IN_2100)
    await client.enqueue("sleep", b"600000", queue=queue, task_id="active-py", timeout=HOUR)


async def busy(inspector: Inspector, queue: str) -> bool:
    (info,) = await inspector.queue_infos([queue])
    return info.active == 2


async def let_some_wait(go: GoPeer, client: Client, queue: str) -> None:
    await go.enqueue("größe:測試", b"p", queue=queue, task_id="pending-go", timeout="90s", deadline=2**63 - 1)
    await go.enqueue("later", queue=queue, task_id="scheduled-go", process_at=IN_2100, max_retry=2**31 - 1)
    await go.enqueue("notify", b"n", queue=queue, task_id="aggregating-go", group=GROUP)
    await client.enqueue(
        "größe:測試", {"n": 1}, queue=queue, task_id="pending-py", deadline=datetime(2100, 1, 1, tzinfo=UTC)
    )
    fractional = datetime.fromtimestamp(IN_2100 + 0.25, UTC)
    await client.enqueue("later", queue=queue, task_id="scheduled-py", process_at=fractional, unique=HOUR)
    await client.enqueue("notify", b"m", queue=queue, task_id="aggregating-py", group=GROUP)


# -- do they agree? ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("filled", "invariants_hold")
async def test_both_inspectors_say_the_same(both: Stage, raw: redis.Redis) -> None:
    for queue in QUEUES:
        numbers = await both.agree(queue)
        assert {state: numbers[state] for state in TaskState} == dict.fromkeys(TaskState, 2)
        assert (numbers["processed"], numbers["failed"], numbers["groups"]) == (7, 4, 1)
        for task_id in (f"{state}-{client}" for state in TaskState for client in ("go", "py")):
            assert (await both.task(task_id, queue))["state"] == task_id.partition("-")[0]
    every_key_is_known(raw)


def every_key_is_known(raw: Any) -> None:
    """Neither side has written a key that `wire.keys` does not name."""
    known = {ALL_QUEUES, ALL_SERVERS, ALL_WORKERS, TASK_TYPES, SAMPLES_TURN}
    prefixes: list[str] = [ALL_SERVERS + ":{", ALL_WORKERS + ":{", TALLIES, SERVED_TYPES]
    day = day_name(datetime.now(UTC).timestamp())
    for queue in QUEUES:
        keys = queue_keys(queue)
        known |= {keys.pending, keys.active, keys.lease, keys.scheduled, keys.retry, keys.archived, keys.completed}
        known |= {keys.processed, keys.failed, keys.processed_on(day), keys.failed_on(day)}
        known |= {keys.groups, keys.group(GROUP), keys.due}
        known |= {keys.unique("fail:later", b"not yet"), keys.unique("later", None)}
        prefixes += [keys.task_prefix, keys.samples_prefix]

    found = {key.decode() for key in raw.scan_iter(count=1000)}

    assert {key for key in found if not key.startswith(tuple(prefixes))} - known == set()
    for queue in QUEUES:
        keys = queue_keys(queue)
        assert {keys.unique("fail:later", b"not yet"), keys.unique("later", None), keys.due} <= found


async def test_a_task_that_lost_its_worker_is_orphaned_for_both(
    go: GoPeer, client: Client, inspector: Inspector, both: Stage, raw: redis.Redis
) -> None:
    """Asynq tells so in its list of active tasks alone."""
    server = await go.work()
    await client.enqueue("sleep", b"600000", task_id="a")
    await server.event("start", "a")
    await server.kill()
    assert not (await inspector.task("a")).orphaned
    raw.zadd(queue_keys("default").lease, {"a": 1})

    assert (await inspector.task("a")).orphaned
    await both.agree()
