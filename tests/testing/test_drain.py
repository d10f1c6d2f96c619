"""`drain` and `running_worker`: a real worker in the test's own event loop, as a user's test has it run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
import redis

from conftest import WaitUntil
from taskflow import (
    Client,
    Inspector,
    Retry,
    RevokeTask,
    SkipRetry,
    Task,
    TaskContext,
    TaskFlow,
    TaskState,
    WorkerOptions,
)
from taskflow.errors import AttemptError, BrokerUnavailable, HandlerNotFound, InvalidOption, StartFailed
from taskflow.testing import Drained, assert_not_enqueued, drain, running_worker, sync

pytestmark = pytest.mark.usefixtures("invariants_hold")

DAY = timedelta(days=1)


# -- what is run ------------------------------------------------------------------------------------------------------


async def test_what_waits_is_run_with_all_that_it_enqueues(app: TaskFlow) -> None:
    ran: list[str] = []

    @app.task("count", queue="numbers")
    async def count(down_from: int) -> None:
        ran.append(f"count {down_from}")
        if down_from:
            await count.enqueue(down_from - 1)
            await app.client.enqueue("say", {"number": down_from}, queue=f"made by {down_from}".replace(" ", "-"))

    @app.task("say")
    def say(number: int) -> None:
        ran.append(f"say {number}")

    await count.enqueue(2)

    assert await drain(app) == Drained(done=5)
    assert sorted(ran) == ["count 0", "count 1", "count 2", "say 1", "say 2"]
    await assert_not_enqueued(app)


async def test_empty_queues_are_drained_at_once(app: TaskFlow) -> None:
    assert await drain(app) == Drained()
    assert await drain(app, ["nowhere"]) == Drained()


async def test_only_the_named_queues_are_drained(app: TaskFlow, inspector: Inspector) -> None:
    @app.task("t")
    async def handler() -> None: ...

    await app.client.enqueue("t", queue="high")
    await app.client.enqueue("t", queue="low")

    assert await drain(app, ["high", "missing"]) == Drained(done=1)
    assert [(info.queue, info.pending) for info in await inspector.queue_infos()] == [("high", 0), ("low", 1)]
    with pytest.raises(InvalidOption, match=r"queues: .*\['high'\]"):
        await drain(app, "high")


async def test_what_falls_due_later_is_run_if_it_is_asked_for(app: TaskFlow, inspector: Inspector) -> None:
    attempts: list[int] = []

    @app.task("flaky", max_retries=3)
    async def flaky(context: TaskContext) -> None:
        attempts.append(context.retried)
        if context.retried < 2:
            raise ConnectionError("busy")

    @app.task("later")
    async def later() -> None:
        await flaky.with_options(process_in=DAY).enqueue()

    await later.with_options(process_in=DAY).enqueue()

    assert await drain(app) == Drained()
    assert [info.scheduled for info in await inspector.queue_infos()] == [1]
    assert await drain(app, with_scheduled=True) == Drained(done=2, retried=2)
    assert attempts == [0, 1, 2]


async def test_groups_are_aggregated_if_it_is_asked_for(app: TaskFlow, client: Client) -> None:
    digests: list[int] = []

    @app.aggregate("notes:*")
    def gather(group: str, tasks: list[Task]) -> Task:
        return Task("digest", {"notes": len(tasks)})

    @app.task("digest")
    async def digest(notes: int) -> None:
        digests.append(notes)

    for _ in range(3):
        await client.enqueue("note", group="notes:ada")

    assert await drain(app) == Drained()
    assert await drain(app, with_groups=True) == Drained(done=1)
    assert digests == [3]


async def test_one_at_a_time_keeps_the_order(app: TaskFlow) -> None:
    ran: list[int] = []

    @app.task("t")
    async def handler(n: int) -> None:
        await asyncio.sleep(0.001 * (5 - n))
        ran.append(n)

    for n in range(5):
        await handler.enqueue(n)

    await drain(app, concurrency=1)

    assert ran == [0, 1, 2, 3, 4]


async def test_middleware_and_lifespans_are_those_of_the_app(redis_url: str) -> None:
    happened: list[str] = []

    async def layer(context: TaskContext, call_next: Callable[[TaskContext], Awaitable[Any]]) -> Any:
        happened.append("layer")
        return await call_next(context)

    app = TaskFlow(redis_url, middleware=[layer])

    @app.lifespan
    async def around() -> AsyncIterator[None]:
        happened.append("open")
        yield
        happened.append("close")

    @app.task("t")
    async def handler() -> None:
        happened.append("handler")

    await handler.enqueue()
    await drain(app)
    await app.close()

    assert happened == ["open", "layer", "handler", "close"]
    assert app.registry.middleware == [layer]


async def test_a_lifespan_that_fails_fails_the_drain(app: TaskFlow) -> None:
    def connect() -> None:
        raise ConnectionError("no database")

    @app.lifespan
    async def around() -> AsyncIterator[None]:
        connect()
        yield

    await app.client.enqueue("t")

    with pytest.raises(StartFailed, match="no database"):
        await drain(app)


# -- how it ends ------------------------------------------------------------------------------------------------------


async def test_attempts_are_counted_by_how_they_ended(app: TaskFlow) -> None:
    @app.task("t")
    async def handler(how: str) -> None:
        if how != "done":
            raise {"retry": Retry(DAY), "skip": SkipRetry("no use"), "revoke": RevokeTask()}[how]

    for how in ("done", "done", "retry", "skip", "revoke"):
        await handler.with_options(retention=DAY).enqueue(how)

    assert await drain(app) == Drained(done=2, retried=1, archived=1, revoked=1)


async def test_the_first_failure_is_raised_from_its_handler(app: TaskFlow) -> None:
    @app.task("t", max_retries=0)
    async def handler(n: int) -> None:
        if n:
            raise ValueError(f"not {n}")

    for n in (1, 0, 2):
        await handler.with_options(task_id=f"id-{n}").enqueue(n)

    with pytest.raises(ValueError, match="not 1") as caught:
        await drain(app, concurrency=1)

    assert caught.traceback[-1].name == "handler"
    assert caught.value.__notes__ == ["raised by t, task id-1 in queue default; 1 more failed"]
    await assert_not_enqueued(app)


async def test_failures_are_only_counted_if_it_is_asked_for(app: TaskFlow) -> None:
    @app.task("t", max_retries=1)
    async def handler() -> None:
        raise ValueError("always")

    await handler.enqueue()

    assert await drain(app, with_scheduled=True, raise_errors=False) == Drained(retried=1, archived=1)


async def test_a_type_without_handler_fails(app: TaskFlow, client: Client) -> None:
    await client.enqueue("typo")

    with pytest.raises(HandlerNotFound, match="typo"):
        await drain(app)


async def test_an_attempt_that_is_stopped_fails_with_its_reason(app: TaskFlow) -> None:
    @app.task("t", timeout=timedelta(seconds=1))
    async def handler() -> None:
        await asyncio.sleep(60)

    await handler.enqueue()

    with pytest.raises(AttemptError, match="longer than its timeout"):
        await drain(app)


async def test_a_task_that_never_reaches_a_handler_fails_with_its_reason(
    app: TaskFlow, client: Client, raw: redis.Redis
) -> None:
    await client.enqueue("t", task_id="poison")
    raw.hset("asynq:{default}:t:poison", "msg", b"\xff")

    with pytest.raises(AttemptError, match="cannot be decoded") as caught:
        await drain(app)
    assert caught.value.__notes__ == ["raised by a message that cannot be decoded, task poison in queue default"]


async def test_a_cancelled_task_is_no_failure(app: TaskFlow, client: Client, inspector: Inspector) -> None:
    @app.task("t")
    async def handler() -> None:
        await inspector.cancel("mine")
        await asyncio.sleep(60)

    await client.enqueue("t", task_id="mine")

    assert await drain(app) == Drained(archived=1)


async def test_what_is_not_done_in_time_is_named_and_put_back(
    app: TaskFlow, client: Client, inspector: Inspector
) -> None:
    begun = asyncio.Event()

    @app.task("stuck")
    async def stuck(n: int) -> None:
        begun.set()
        await asyncio.sleep(60)

    @app.task("follows")
    async def follows() -> None: ...

    for n in (1, 2):
        await stuck.enqueue(n)
    await client.enqueue("follows", queue="other")
    await inspector.pause("other")

    with pytest.raises(TimeoutError) as caught:
        await drain(app, timeout=0.3, concurrency=1)

    lines = str(caught.value).splitlines()
    assert lines[0] == "the queues are not empty in time (paused: other)"
    assert lines[1] == "left: 3"
    assert '  stuck  {"n":1}  queue=default  active' in lines
    assert '  stuck  {"n":2}  queue=default  pending' in lines
    assert "  follows  (empty)  queue=other  pending" in lines
    assert begun.is_set()
    assert [info.active for info in await inspector.queue_infos()] == [0, 0]


async def test_without_redis_it_says_so() -> None:
    with pytest.raises(BrokerUnavailable):
        await drain(TaskFlow("redis://127.0.0.1:1/0"))


# -- in blocking tests ------------------------------------------------------------------------------------------------


def test_a_blocking_test_drains_too(redis_url: str) -> None:
    app = TaskFlow(redis_url)
    ran: list[int] = []

    @app.task("t")
    async def handler(n: int) -> None:
        ran.append(n)
        if n:
            await handler.enqueue(n - 1)

    handler.enqueue_sync(1)
    assert sync.drain(app) == Drained(done=2)
    handler.enqueue_sync(0)
    assert sync.drain(app) == Drained(done=1)
    assert ran == [1, 0, 0]
    app.sync_client.close()


# -- a worker in the background ---------------------------------------------------------------------------------------


async def test_a_worker_runs_while_the_block_does(app: TaskFlow, client: Client) -> None:
    @app.task("double", queue="numbers")
    async def double(n: int) -> int:
        return 2 * n

    async with running_worker(app):
        info = await double.with_options(retention=DAY).enqueue(4)
        assert await client.result(info, timeout=10) == 8
    await double.enqueue(1)

    assert (await Inspector(client.broker).queue_infos(["numbers"]))[0].pending == 1
    await Inspector(client.broker).delete_all("numbers", TaskState.PENDING)


async def test_a_worker_works_as_its_options_say(app: TaskFlow, inspector: Inspector, wait_until: WaitUntil) -> None:
    async with running_worker(app, WorkerOptions(queues={"mine": 1}, concurrency=3)) as worker:
        await wait_until(inspector.servers)
        (server,) = await inspector.servers()

    assert (server.id, server.queues, server.concurrency) == (worker.id, {"mine": 1}, 3)


async def test_what_still_runs_at_the_end_of_the_block_is_put_back(app: TaskFlow, inspector: Inspector) -> None:
    begun = asyncio.Event()

    @app.task("t")
    async def handler() -> None:
        begun.set()
        await asyncio.sleep(60)

    started = time.monotonic()
    async with running_worker(app):
        await handler.enqueue()
        await begun.wait()

    assert [(info.pending, info.active) for info in await inspector.queue_infos()] == [(1, 0)]
    assert time.monotonic() - started < 10
