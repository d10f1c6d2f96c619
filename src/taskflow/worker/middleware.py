"""The middleware that every worker begins with."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import structlog

from taskflow.errors import HandlerExit, HandlerSignal
from taskflow.worker.context import TaskContext
from taskflow.worker.registry import Next

_LOG = structlog.get_logger("taskflow.worker")


async def recovery(context: TaskContext, call_next: Next) -> Any:
    """Keep a handler from ending the worker: `sys.exit()` in it is a failed task."""
    try:
        return await call_next(context)
    except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:
        raise HandlerExit(f"the handler raised {type(error).__name__}: {error}") from error


async def logging(context: TaskContext, call_next: Next) -> Any:
    """Log one line for each attempt that has ended."""
    started = time.perf_counter()
    try:
        result = await call_next(context)
    except asyncio.CancelledError:
        _line("warning", "task stopped", context, started)
        raise
    except HandlerSignal as signal:
        _line("info", "task steered", context, started, outcome=type(signal).__name__, reason=str(signal))
        raise
    except Exception as error:
        _line("error", "task failed", context, started, error=f"{type(error).__name__}: {error}")
        raise
    _line("info", "task done", context, started)
    return result


def _line(level: str, event: str, context: TaskContext, started: float, **more: Any) -> None:
    milliseconds = round((time.perf_counter() - started) * 1000, 3)
    getattr(_LOG, level)(
        event,
        task_id=context.id,
        type=context.type,
        queue=context.queue,
        retried=context.retried,
        duration_ms=milliseconds,
        **more,
    )
