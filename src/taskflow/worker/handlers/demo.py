"""The demo handler: what `taskflow dev` runs, so that there is something to watch before there is code of one's own.

`taskflow worker taskflow.worker.handlers.demo:app` serves it alone; `register(app.registry)` adds it to an application.
"""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

from msgspec import Meta

from taskflow.worker.context import TaskContext
from taskflow.worker.handler import Handler
from taskflow.worker.registry import Registry

TASK_TYPE = "demo"
STEP_SECONDS = 0.5
MOST_STEPS = 10_000


async def demo(ctx: TaskContext, message: str, count: Annotated[int, Meta(ge=0, le=MOST_STEPS)] = 5) -> dict[str, Any]:
    """Take some steps of half a second each, and tell of every one.

    The result: the message, the number of steps, and the seconds they took. A cancelled task stops in the middle of a step.

    Args:
        ctx: The task.
        message: Said with every step.
        count: How many steps to take.

    Example:
        {"message": "hello", "count": 10}

    """
    started = time.monotonic()
    ctx.logger.info("demo started", message=message, count=count)
    for step in range(1, count + 1):
        await asyncio.sleep(STEP_SECONDS)
        await ctx.progress(100 * step / count, f"step {step}/{count}", message)
    elapsed = round(time.monotonic() - started, 3)
    ctx.logger.info("demo done", message=message, elapsed_seconds=elapsed)
    return {"message": message, "steps": count, "elapsed_seconds": elapsed}


def register(registry: Registry) -> None:
    """Let the demo handler serve the type `demo`. Raises `ConfigError` if another handler does."""
    registry.add(TASK_TYPE, Handler(demo))


app = Registry()
register(app)
