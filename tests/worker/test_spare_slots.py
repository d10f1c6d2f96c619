"""A watch that keeps a slot, to take a task at the moment of its push, gives it up when slots are scarce."""

from __future__ import annotations

import asyncio
from typing import Any

from taskflow import TaskFlow


async def test_every_slot_can_be_used_by_one_busy_queue(app: TaskFlow, start_worker: Any, wait_until: Any) -> None:
    running = 0
    end = asyncio.Event()

    @app.task("hold")
    async def hold() -> None:
        nonlocal running
        running += 1
        await end.wait()

    await start_worker(app, queues={"a": 1, "b": 1, "c": 1, "d": 1}, concurrency=5)
    await asyncio.sleep(0.1)  # the watches of the empty queues keep slots now

    await app.client.enqueue_many([hold.with_options(queue="a").task() for _ in range(5)])

    await wait_until(lambda: running == 5, timeout=3)
    end.set()
