"""A real worker with the user's say in what becomes of failed attempts."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from conftest import StartWorker, WaitUntil
from support.handlers import fail
from support.store import Store
from taskflow import Client, Inspector, Retry, SkipRetry, TaskContext, TaskFailed, TaskFlow, exponential

pytestmark = pytest.mark.usefixtures("invariants_hold")

KEPT = timedelta(minutes=5)
SOON = timedelta(milliseconds=50)


# -- backoff ------------------------------------------------------------------------------------------------------------


async def test_a_type_has_its_own_backoff_and_the_others_the_applications(
    redis_url: str, client: Client, start_worker: StartWorker, inspector: Inspector, store: Store, wait_until: WaitUntil
) -> None:
    app = TaskFlow(redis_url, backoff=timedelta(hours=2))

    @app.task("own", backoff=lambda _, error: timedelta(hours=5) if isinstance(error, KeyError) else SOON)
    async def own() -> None:
        raise KeyError("x")

    @app.task("other")
    async def other() -> None:
        raise KeyError("x")

    await start_worker(app)
    waits = {}
    for task_type in ("own", "other", "unknown"):
        info = await client.enqueue(task_type)
        await wait_until(lambda task_id=info.id: store.state(task_id) == "retry")
        due = (await inspector.task(info.id)).next_process_at
        assert due is not None
        waits[task_type] = round((due - datetime.now(UTC)) / timedelta(hours=1))

    assert waits == {"own": 5, "other": 2, "unknown": 2}


async def test_waits_follow_their_list(app: TaskFlow, client: Client, start_worker: StartWorker) -> None:
    ran_at: list[float] = []

    @app.task("t", backoff=[timedelta(0), timedelta(seconds=0.4)])
    async def handler() -> str:
        ran_at.append(time.monotonic())
        if len(ran_at) < 4:
            raise ValueError("not yet")
        return "done"

    await start_worker(app)
    info = await client.enqueue("t", retention=KEPT)

    assert await client.result(info, timeout=10) == "done"
    first, second, third = (later - sooner for sooner, later in pairwise(ran_at))
    assert first < min(second, third)
    assert min(second, third) > 0.39


async def test_a_backoff_that_cannot_be_used_does_not_lose_the_task(
    app: TaskFlow, client: Client, start_worker: StartWorker, inspector: Inspector, store: Store, wait_until: WaitUntil
) -> None:
    @app.task("t", backoff=lambda retried, _: timedelta(seconds=1 / retried))
    async def handler() -> None:
        raise ValueError("no luck")

    await start_worker(app)
    info = await client.enqueue("t")
    await wait_until(lambda: store.state(info.id) == "retry")

    kept = await inspector.task(info.id)
    assert kept.next_process_at is not None
    assert 14 < (kept.next_process_at - datetime.now(UTC)).total_seconds() < 45
    assert kept.last_error == "ValueError: no luck"


async def test_a_task_that_has_failed_more_often_than_a_calendar_holds_waits_all_the_same(
    app: TaskFlow, client: Client, start_worker: StartWorker, inspector: Inspector, store: Store, wait_until: WaitUntil
) -> None:
    """The fourth power of a number that Go's clients may write."""

    @app.task("t")
    async def handler() -> None:
        raise ValueError("no luck")

    info = await client.enqueue("t", max_retries=2**31 - 1)
    message = store.message(info.id)
    message.retried = 2**30
    store.client.hset(store.key(f"t:{info.id}"), "msg", message.SerializeToString())
    await start_worker(app)
    await wait_until(lambda: store.state(info.id) == "retry")

    kept = await inspector.task(info.id)
    assert kept.next_process_at is not None
    assert kept.next_process_at > datetime.now(UTC) + timedelta(days=36_000)


# -- what counts --------------------------------------------------------------------------------------------------------


async def test_an_error_that_is_no_failure_costs_no_retry_and_moves_no_counter(
    app: TaskFlow, client: Client, start_worker: StartWorker, inspector: Inspector, store: Store
) -> None:
    runs = 0

    @app.task("t", backoff=SOON, is_failure=lambda error: not isinstance(error, ConnectionError))
    async def handler(context: TaskContext) -> int:
        nonlocal runs
        runs += 1
        if runs <= 3:
            raise ConnectionError("the other side is away")
        if runs == 4:
            raise ValueError("a real one")
        return context.retried

    await start_worker(app)
    info = await client.enqueue("t", max_retries=1, retention=KEPT)

    assert await client.result(info, timeout=10) == 1
    kept = await inspector.task(info.id)
    assert [attempt.error.partition(":")[0] for attempt in kept.attempts] == ["ConnectionError"] * 3 + ["ValueError"]
    assert (store.number("processed"), store.number("failed")) == (2, 1)


async def test_a_task_that_may_not_be_retried_is_archived_even_by_what_is_no_failure(
    redis_url: str, client: Client, start_worker: StartWorker
) -> None:
    app = TaskFlow(redis_url, is_failure=lambda _: False)

    @app.task("t")
    async def handler() -> None:
        raise ConnectionError("the other side is away")

    await start_worker(app)
    info = await client.enqueue("t", max_retries=0)

    with pytest.raises(TaskFailed, match="the other side is away"):
        await client.result(info, timeout=20)


async def test_a_predicate_that_raises_counts_as_a_failure(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    @app.task("t", is_failure=lambda error: error.retryable)  # type: ignore[attr-defined]
    async def handler() -> None:
        raise ValueError("no such attribute")

    await start_worker(app)
    info = await client.enqueue("t")

    await wait_until(lambda: store.state(info.id) == "retry")
    assert store.message(info.id).retried == 1
    assert store.number("failed") == 1


async def test_a_timeout_may_be_no_failure(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    @app.task("t", backoff=timedelta(hours=1), is_failure=lambda error: not isinstance(error, TimeoutError))
    async def handler() -> None:
        await asyncio.sleep(60)

    await start_worker(app)
    info = await client.enqueue("t", timeout=timedelta(seconds=1))

    await wait_until(lambda: store.state(info.id) == "retry")
    assert store.message(info.id).retried == 0


# -- attempts -----------------------------------------------------------------------------------------------------------


async def test_every_kind_of_failed_attempt_is_kept_with_time_worker_error_and_traceback(
    app: TaskFlow, client: Client, start_worker: StartWorker, inspector: Inspector, store: Store, wait_until: WaitUntil
) -> None:
    app.task("process", executor="process")(fail)

    @app.task("async")
    async def in_the_loop() -> None:
        raise ValueError("in the loop")

    @app.task("thread")
    def in_a_thread() -> None:
        raise ValueError("in a thread")

    @app.task("slow")
    async def too_slow() -> None:
        await asyncio.sleep(60)

    @app.task("given up")
    async def given_up() -> None:
        raise SkipRetry("no use")

    worker = await start_worker(app)
    before = datetime.now(UTC) - timedelta(seconds=1)
    infos = {
        "async": await client.enqueue("async"),
        "thread": await client.enqueue("thread"),
        "process": await client.enqueue("process", {"reason": "in a process"}),
        "slow": await client.enqueue("slow", timeout=timedelta(seconds=1)),
        "given up": await client.enqueue("given up"),
        "unknown": await client.enqueue("unknown"),
    }
    await wait_until(lambda: all(store.state(info.id) in {"retry", "archived"} for info in infos.values()), 15)

    kept = {name: (await inspector.task(info.id)).attempts[0] for name, info in infos.items()}
    assert {name: attempt.error for name, attempt in kept.items()} == {
        "async": "ValueError: in the loop",
        "thread": "ValueError: in a thread",
        "process": "ValueError: in a process",
        "slow": "AttemptTimedOut: longer than its timeout or deadline",
        "given up": "no use",
        "unknown": "HandlerNotFound: no handler of this worker serves the type 'unknown'",
    }
    for name, line in {
        "async": 'raise ValueError("in the loop")',
        "thread": 'raise ValueError("in a thread")',
        "process": "raise ValueError(reason)",
        "given up": 'raise SkipRetry("no use")',
    }.items():
        assert line in (kept[name].traceback or ""), name
    assert all(before <= attempt.at <= datetime.now(UTC) for attempt in kept.values())
    assert {attempt.worker for attempt in kept.values()} == {f"{worker.host}:{worker.describe().pid}"}


async def test_the_handlers_own_delay_wins(app: TaskFlow, client: Client, start_worker: StartWorker) -> None:
    @app.task("t", backoff=exponential(timedelta(hours=1)))
    async def handler(context: TaskContext) -> int:
        if context.retried < 2:
            raise Retry(SOON)
        return context.retried

    await start_worker(app)
    info = await client.enqueue("t", retention=KEPT)

    assert await client.result(info, timeout=10) == 2
