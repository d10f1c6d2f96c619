"""Fault 11: what strangers write into Redis harms nobody's task but, at most, its own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
import structlog

from conftest import StartWorker, WaitUntil
from support.invariants import check_invariants
from support.store import Store
from support.tasks import placement
from taskflow import Client, Task, TaskFlow, TaskOptions

KEPT = timedelta(hours=1)


@pytest.fixture(autouse=True)
async def _quiet() -> AsyncIterator[None]:
    """The worker tells each poison at length; a test of hundreds need not show them."""
    with structlog.testing.capture_logs():
        yield


async def test_the_others_run_and_the_bad_are_archived_or_dropped(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, raw: Any, wait_until: WaitUntil
) -> None:
    ran: list[int] = []

    @app.task("good")
    async def good(n: int) -> None:
        ran.append(n)

    dice = random.Random(11)
    whole = placement("x", payload=b"p" * 50).message
    bad: dict[str, Callable[[], bytes]] = {
        "random": lambda: dice.randbytes(dice.randrange(200)),
        "truncated": lambda: whole[: dice.randrange(1, len(whole))],
        "empty": lambda: b"",
        "no type": lambda: b"\x1a\x01a",
        "huge length": lambda: b"\x12\xff\xff\xff\xff\x0f",
    }
    garbage = []
    for n in range(60):
        await client.enqueue("good", {"n": n}, retention=KEPT)
        name = dice.choice(list(bad))
        task_id = f"bad-{n}"
        raw.hset(store.key(f"t:{task_id}"), mapping={"msg": bad[name](), "state": "pending"})
        where = dice.choice(["pending", "scheduled", "retry"])
        if where == "pending":
            raw.lpush(store.key("pending"), task_id)
        else:
            raw.hset(store.key(f"t:{task_id}"), "state", where)
            raw.zadd(store.key(where), {task_id: 1})
        garbage.append(task_id)
    raw.lpush(store.key("pending"), "ghost", b"\xff\xfe", "string")
    raw.set(store.key("t:string"), "another kind")
    raw.zadd(store.key("scheduled"), {"ghost 2": 1, "string": 1})
    raw.rpush(store.key("active"), "ghost 3")
    raw.zadd(store.key("lease"), {"ghost 4": 1})

    worker = await start_worker(app, concurrency=5)
    await wait_until(lambda: len(ran) == 60, 20)
    await wait_until(lambda: not store.list("pending") and not worker._executor.running and not worker._completer.owed)

    assert sorted(ran) == list(range(60))
    states = {store.state(task_id) for task_id in garbage}
    assert states <= {"archived", "retry"}  # a truncated message may still be one, of a type that nobody serves
    for task_id in garbage:
        if store.state(task_id) == "archived":
            assert store.message(task_id).error_msg
    raw.delete(store.key("t:string"))
    await worker._maintenance.recover_orphans()
    await worker._maintenance.recover()
    check_invariants(raw, "default")


@pytest.mark.parametrize(
    "name", ["pending", "active", "lease", "scheduled", "retry", "completed", "archived", "groups"]
)
async def test_a_queue_with_a_key_of_another_kind_leaves_the_others_alone(
    app: TaskFlow, client: Client, start_worker: StartWorker, raw: Any, wait_until: WaitUntil, name: str
) -> None:
    @app.task("t")
    async def handler() -> None: ...

    bad, good = Store(raw, "bad"), Store(raw, "good")
    raw.sadd("asynq:queues", "bad")
    raw.set(bad.key(name), "another kind")
    worker = await start_worker(app, queues={"bad": 5, "good": 1})
    answers = await client.enqueue_many([Task("t", options=TaskOptions(queue="good"))] * 30)
    await client.enqueue("t", queue="good", process_in=timedelta(seconds=0.2))

    await wait_until(lambda: good.number("processed") == len(answers) + 1, 10)
    assert worker._status == "active"
    raw.delete(bad.key(name))
    await client.enqueue("t", queue="bad")
    await wait_until(lambda: bad.number("processed") == 1, 10)
    check_invariants(raw)


async def test_a_hash_that_turns_into_another_kind_while_its_task_runs(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, raw: Any, wait_until: WaitUntil
) -> None:
    go_on = asyncio.Event()
    ran: list[str] = []

    @app.task("t")
    async def handler(name: str) -> None:
        ran.append(name)
        await go_on.wait()

    worker = await start_worker(app)
    info = await client.enqueue("t", {"name": "victim"}, retention=KEPT)
    await wait_until(lambda: ran == ["victim"])
    raw.delete(store.key(f"t:{info.id}"))
    raw.set(store.key(f"t:{info.id}"), "another kind")
    raw.publish("asynq:cancel", "somebody else")
    go_on.set()
    other = await client.enqueue("t", {"name": "other"}, retention=KEPT)

    await client.result(other, timeout=10)
    await wait_until(lambda: not worker._completer.owed)
    assert worker._status == "active"
    raw.delete(store.key(f"t:{info.id}"))
    await worker._maintenance.recover_orphans()
    await worker._broker.expired(["default"], cutoff=5e9)
    check_invariants(raw, "default")


async def test_channels_full_of_nonsense(app: TaskFlow, client: Client, start_worker: StartWorker, raw: Any) -> None:
    @app.task("t")
    async def handler() -> str:
        return "ran"

    await start_worker(app)
    for _ in range(50):
        raw.publish("asynq:cancel", b"\xff\xfe")
        raw.publish("taskflow:due", b"\xff" * 1000)
    info = await client.enqueue("t", retention=KEPT)

    assert await client.result(info, timeout=10) == "ran"
