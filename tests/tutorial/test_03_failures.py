"""A task that fails is tried again, later each time, until its retries are used up; then it is archived, never lost."""

from __future__ import annotations

from datetime import timedelta

import pytest

from conftest import StartWorker, WaitUntil
from taskflow import (
    Client,
    Inspector,
    Retry,
    RevokeTask,
    SkipRetry,
    TaskContext,
    TaskFailed,
    TaskFlow,
    TaskInfo,
    TaskNotFound,
    exponential,
)


async def test_failures(app: TaskFlow, client: Client, inspector: Inspector, start_worker: StartWorker) -> None:
    # Any exception is a failure, and waits for its backoff: 15 seconds and more. `Retry` chooses another delay.
    @app.task("order:ship", max_retries=3)
    async def ship(context: TaskContext, order: int) -> str:
        if context.retried < 2:
            raise Retry(timedelta(seconds=0.1), "the warehouse does not answer")
        return f"shipped at attempt {context.retried + 1}"

    # `SkipRetry` gives up at once: nothing would be better the next time.
    @app.task("order:refund")
    async def refund(order: int) -> None:
        raise SkipRetry(f"order {order} was never paid")

    # `RevokeTask` drops the task: it is not needed any more.
    @app.task("order:remind")
    async def remind(order: int) -> None:
        raise RevokeTask

    await start_worker(app)
    shipped = await ship.with_options(retention=timedelta(minutes=5)).enqueue(order=1)
    refunded = await refund.enqueue(order=2)
    reminded = await remind.enqueue(order=3)

    assert await client.result(shipped, timeout=10) == "shipped at attempt 3"
    with pytest.raises(TaskFailed, match="order 2 was never paid"):
        await client.result(refunded, timeout=10)
    with pytest.raises(TaskNotFound):
        await client.result(reminded, timeout=10)

    # What went wrong is kept with the task: the newest ten attempts, with their tracebacks.
    kept = await inspector.task(shipped.id)
    assert [attempt.error for attempt in kept.attempts] == ["the warehouse does not answer"] * 2


async def test_retries_of_a_type(app: TaskFlow, client: Client, start_worker: StartWorker) -> None:
    calls = 0

    # Waits that grow from 50 milliseconds to a second. That the other side is away costs no retry: it is not our failure.
    @app.task(
        "order:track",
        max_retries=1,
        backoff=exponential(timedelta(milliseconds=50), longest=timedelta(seconds=1)),
        is_failure=lambda error: not isinstance(error, ConnectionError),
    )
    async def track(context: TaskContext, order: int) -> int:
        nonlocal calls
        calls += 1
        if calls < 4:
            raise ConnectionError("the parcel service is away")
        return context.retried

    await start_worker(app)
    tracked = await track.with_options(retention=timedelta(minutes=5)).enqueue(order=1)

    assert await client.result(tracked, timeout=10) == 0  # three attempts, and all retries are left


async def test_being_told_of_the_dead(app: TaskFlow, start_worker: StartWorker, wait_until: WaitUntil) -> None:
    # Called once a task of the type has been given up and lies in the archive. `TaskFlow(on_dead=...)` is for all types.
    refunds: list[bytes] = []

    async def refund(task: TaskInfo, error: BaseException) -> None:
        refunds.append(task.payload)

    @app.task("order:pack", max_retries=0, on_dead=refund)
    async def pack(order: int) -> None:
        raise ValueError(f"order {order} does not fit in any box")

    await start_worker(app)
    await pack.enqueue(order=1)

    await wait_until(lambda: refunds == [b'{"order":1}'])
