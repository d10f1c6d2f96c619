"""A task is a function call that happens elsewhere, later: enqueue it here, a worker runs it there."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from taskflow import TaskFlow

if TYPE_CHECKING:
    from conftest import StartWorker


async def test_enqueue_and_run(app: TaskFlow, start_worker: StartWorker) -> None:
    # A handler is a plain function, named by a task type. Its arguments are the task's payload.
    @app.task("numbers:add")
    async def add(a: int, b: int) -> int:
        return a + b

    # It can still be called as the function it is ...
    assert await add(1, 2) == 3

    # ... or enqueued: the call returns once Redis has stored the task. With a retention its result is kept.
    info = await add.with_options(retention=timedelta(minutes=5)).enqueue(20, b=22)
    assert info.state == "pending"

    # A worker takes it and runs it. (`taskflow worker module:app` starts one in a process of its own.)
    await start_worker(app)
    assert await app.client.result(info, timeout=10) == 42
