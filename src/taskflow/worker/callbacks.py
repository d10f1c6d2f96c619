"""Callbacks: the user's functions that a worker calls beside its tasks, `async def` or `def`."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any


class Callbacks:
    """Calls `async def` functions on the event loop, `def` ones in a thread.

    Args:
        threads: How many `def` functions run at once.
        name: What the threads are called.

    """

    def __init__(self, threads: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"taskflow {name}")
        self._calls: set[Future[Any]] = set()

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function and return what it returns; raises what it raises, `SystemExit` and `KeyboardInterrupt` too."""
        made = (
            await asyncio.wrap_future(self._in_thread(partial(function, *arguments)))
            if is_blocking(function)
            else function(*arguments)
        )
        return await made if asyncio.iscoroutine(made) else made

    def _in_thread(self, call: Callable[[], Any]) -> Future[Any]:
        future = self._threads.submit(contextvars.copy_context().run, call)
        self._calls.add(future)
        future.add_done_callback(self._calls.discard)
        return future

    @property
    def left_behind(self) -> int:
        """How many threads run a function whose end nobody waits for: nothing can stop them."""
        return sum(not call.done() for call in list(self._calls))

    def close(self) -> None:
        """Call nothing more; threads that are still at work are left alone."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def is_blocking(function: object) -> bool:
    """Whether a function is a `def`, which must not run on the event loop."""
    call = getattr(function, "__call__", None)  # noqa: B004 - an object may have an async one
    return not (inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call))
