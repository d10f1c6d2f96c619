"""Waiting for a condition: tests never sleep for a fixed time."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable


async def wait_until(condition: Callable[[], object | Awaitable[object]], timeout: float = 15.0) -> None:
    """Wait until a condition, plain or `async`, is true; fail after `timeout` seconds."""
    until = time.monotonic() + timeout
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return
        if time.monotonic() > until:
            raise AssertionError(f"not true after {timeout:g} s: {_source(condition)}")
        await asyncio.sleep(0.005)


def wait_until_sync(condition: Callable[[], object], timeout: float = 15.0) -> None:
    """Do as `wait_until` does, in a blocking test."""
    until = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"not true after {timeout:g} s: {_source(condition)}")
        time.sleep(0.005)


def _source(condition: Callable[[], object]) -> str:
    try:
        return inspect.getsource(condition).strip()
    except (OSError, TypeError):
        return repr(condition)
