"""Loops: do a sweep again and again. An outage is waited out, a bug stops the worker."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any

import structlog

from taskflow.errors import BrokerUnavailable, TaskFlowError

_LOG = structlog.get_logger("taskflow.worker")
_CANCEL_AGAIN = 0.5
"""How long (s) a cancelled task may take to end before it is cancelled again."""


async def every(seconds: float, sweep: Callable[[], Awaitable[object]], *, name: str) -> None:
    """Do a sweep now and then every so many seconds, up to a tenth sooner, so that servers do not march in step.

    While Redis does not answer, or refuses (somebody put another kind of value under one of a queue's keys), the sweep is
    tried again at its next turn. Any other error is a bug, and raised.
    """
    available = True
    while True:
        try:
            await sweep()
            available = True
        except BrokerUnavailable as error:
            if available:
                _LOG.warning("a sweep waits for Redis", sweep=name, error=str(error))
            available = False
        except TaskFlowError:
            _LOG.exception("Redis refused a sweep", sweep=name)
        await asyncio.sleep(seconds * random.uniform(0.9, 1.0))  # noqa: S311 - jitter


async def cancel_all(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait for their end; what they raise is theirs.

    One that goes on is cancelled again: on Python 3.11 a cancellation that meets the end of what `asyncio.wait_for` waits for
    is lost, and redis-py sends its commands with that. For the same reason this function is not cut short by a cancellation
    of its own, but ends with it. One that was cancelled before may be closing its connections: it is left that time first.
    """
    cancelled = False
    waiting = set(tasks)
    for task in waiting:
        if not task.cancelling():
            task.cancel()
    while waiting:
        try:
            await asyncio.wait(waiting, timeout=_CANCEL_AGAIN)
        except asyncio.CancelledError:
            cancelled = True
        waiting = {task for task in waiting if not task.done()}
        for task in waiting:
            task.cancel()
    for task in tasks:
        if not task.cancelled():
            task.exception()
    if cancelled:
        raise asyncio.CancelledError


async def wait_at_most(seconds: float, *events: Coroutine[Any, Any, object]) -> None:
    """Wait until one of the events has come, or the time is over."""
    tasks = [asyncio.create_task(event) for event in events]
    await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    await cancel_all(tasks)
