"""Schedulers that run beside a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from taskflow import Scheduler


@asynccontextmanager
async def running(scheduler: Scheduler) -> AsyncIterator[Scheduler]:
    """Run a scheduler; it is stopped at the end."""
    task = asyncio.create_task(scheduler.run())
    async with asyncio.timeout(10):
        await scheduler.ready.wait()
    try:
        yield scheduler
    finally:
        scheduler.stop()
        await task
