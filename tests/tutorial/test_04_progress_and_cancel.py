"""A long task tells how far it has come, and can be stopped."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from conftest import StartWorker, WaitUntil
from taskflow import Broker, Client, Inspector, TaskContext, TaskFailed, TaskFlow
from taskflow.broker.progress import ProgressStream


async def test_progress_and_cancel(
    app: TaskFlow,
    client: Client,
    broker: Broker,
    inspector: Inspector,
    start_worker: StartWorker,
    wait_until: WaitUntil,
) -> None:
    @app.task("video:encode")
    async def encode(context: TaskContext, seconds: int) -> str:
        for second in range(seconds):
            await context.progress(100 * second / seconds, "encoding", f"second {second}")
            await asyncio.sleep(0.02)
        return "encoded"

    await start_worker(app)

    # Progress is a stream: anybody may read its newest entry, or follow it from the first.
    short = await encode.with_options(retention=timedelta(minutes=5)).enqueue(seconds=4)
    assert await client.result(short, timeout=10) == "encoded"
    stream = ProgressStream(broker)

    async def ended() -> bool:
        latest = await stream.latest(short.id)
        return latest is not None and latest.is_final

    await wait_until(ended)
    history = await stream.history(short.id)
    assert [entry.progress.percentage for entry in history] == [0, 25, 50, 75, 100]
    assert history[-1].status == "completed"

    # A cancelled task is stopped wherever it is: here its handler gets a CancelledError at its next `await`.
    endless = await encode.enqueue(seconds=100_000)

    async def begun() -> bool:
        return await stream.length(endless.id) > 0

    await wait_until(begun)
    assert await inspector.cancel(endless.id) == "active"
    with pytest.raises(TaskFailed) as stopped:
        await client.result(endless, timeout=10)
    assert stopped.value.cancelled
