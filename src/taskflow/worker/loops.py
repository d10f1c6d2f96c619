"""Loops: do a sweep again and again. An outage is waited out, a bug stops the worker."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog

from taskflow.errors import BrokerUnavailable, TaskFlowError

_LOG = structlog.get_logger("taskflow.worker")


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
