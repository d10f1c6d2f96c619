"""Handlers that run in processes of their own; those import this module anew."""

from __future__ import annotations

import os
import time
from pathlib import Path

from taskflow import Depends, SkipRetry, TaskContext, current_context

_LOADED: list[int] = []


def double(n: int) -> int:
    return 2 * n


def warm() -> None:
    """Load what `warmth` tells, in each process."""
    _LOADED.append(os.getpid())


def warmth() -> list[int]:
    return [*_LOADED, os.getpid()]


def cold() -> None:
    raise FileNotFoundError("no model")


def deadly() -> None:
    os._exit(3)


def endless() -> None:
    time.sleep(600)


def own_pid() -> int:
    return os.getpid()


def tell_pid(context: TaskContext, path: str) -> None:
    """Write down this process's pid, then wait for ever."""
    Path(path).write_text(str(os.getpid()))
    while True:
        time.sleep(0.05)


def die(code: int) -> None:
    """End the process in the middle of the task."""
    os._exit(code)


def report(context: TaskContext, steps: int) -> str:
    """Publish progress from the process."""
    for step in range(1, steps + 1):
        context.progress(100 * step / steps, "working", f"step {step}")
    return f"{context.type} {context.retried}/{context.max_retries} {dict(context.headers)}"


def current() -> list[str]:
    """What the running task is, by the context that nobody handed over."""
    context = current_context()
    return [context.type, context.id]


def with_dependency(n: int = Depends(os.getpid)) -> int:
    return n


def give_up() -> None:
    raise SkipRetry("no use")


def fail(reason: str) -> None:
    raise ValueError(reason)


def early_result(context: TaskContext) -> None:
    context.write_result(b"early")


def report_and_fail(context: TaskContext) -> None:
    context.progress(50, "half")
    raise ValueError("the other half")
