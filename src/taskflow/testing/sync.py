"""The helpers for tests that are no coroutines: the same names and arguments, without `await`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, nullcontext
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from taskflow import testing
from taskflow.app import TaskFlow

P = ParamSpec("P")
R = TypeVar("R")


def _blocking(function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, R]:
    """Return a function that runs a coroutine function to its end, in an event loop of the call's own."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(in_a_loop(*args, **kwargs))
        name = function.__name__
        raise RuntimeError(f"an event loop is running: `await taskflow.testing.{name}(...)` in a coroutine")

    async def in_a_loop(*args: P.args, **kwargs: P.kwargs) -> R:
        app = args[0] if args else kwargs.get("app")
        async with _client_of_this_loop(app) if isinstance(app, TaskFlow) else nullcontext():
            return await function(*args, **kwargs)

    return call


@asynccontextmanager
async def _client_of_this_loop(app: TaskFlow) -> AsyncIterator[None]:
    """Let handlers use an asyncio client whose connections end with the loop; the one that is there belongs to another."""
    parts = vars(app)
    client = parts.pop("client", None)
    try:
        yield
    finally:
        if "client" in parts:
            await parts.pop("client").close()
        if client is not None:
            parts["client"] = client


all_enqueued = _blocking(testing.all_enqueued)
assert_enqueued = _blocking(testing.assert_enqueued)
assert_not_enqueued = _blocking(testing.assert_not_enqueued)
drain = _blocking(testing.drain)
run_task = _blocking(testing.run_task)
