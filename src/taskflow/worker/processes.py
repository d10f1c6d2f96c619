"""ProcessPool: runs `def` handlers in processes of their own, which can be killed."""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
from typing import Any

import pebble

from taskflow.broker import connection, progress, scripts
from taskflow.broker.delivery import NO_LEASE, Delivery
from taskflow.errors import ConfigError
from taskflow.task import Progress
from taskflow.worker.context import RUNNING, Publish, TaskContext
from taskflow.worker.handler import Handler


class ProcessPool:
    """Up to `workers` processes, started when first needed.

    They are spawned, not forked: a fork of a program with threads may hang. So the handler's module is imported anew
    in each, and the handler must stand at the top level of a module.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool: pebble.ProcessPool | None = None

    async def run(self, handler: Handler, context: TaskContext, *, publish: Publish) -> Any:
        """Run a handler and return what it returns; if this call is cancelled, the process is killed.

        `publish` publishes its progress from there: it is pickled, and called without an event loop of the worker's.

        Raises:
            ConfigError: The handler does not stand at the top level of a module.
            Exception: What the handler raised; `pebble.ProcessExpired` if its process died.

        """
        function = handler.function
        if "." in function.__qualname__:
            raise ConfigError(
                f"handler {handler.name}: with executor='process' it must stand at the top level of a module"
            )
        if self._pool is None:
            self._pool = pebble.ProcessPool(self._workers, context=multiprocessing.get_context("spawn"))
        deadline = context.deadline.timestamp() if context.deadline is not None else None
        delivery = context.delivery
        call = (
            function.__module__,
            function.__qualname__,
            publish,
            delivery.queue,
            delivery.raw_id,
            delivery.data,
            deadline,
        )
        result, context.last_progress = await asyncio.wrap_future(self._pool.schedule(_child, args=call))
        return result

    def close(self) -> None:
        """Kill the processes."""
        if self._pool is not None:
            self._pool.stop()  # type: ignore[no-untyped-call]  # pebble's
            self._pool.join()
            self._pool = None


def _child(  # noqa: PLR0917 - pebble passes positional arguments
    module: str, name: str, publish: Publish, queue: str, raw_id: bytes, data: bytes, deadline: float | None
) -> tuple[Any, Progress | None]:
    """Run a handler in this process: the child's side."""
    found = getattr(importlib.import_module(module), name)
    handler = Handler(getattr(found, "function", found), executor="process")
    delivery = Delivery(queue, raw_id, data, NO_LEASE)
    assert delivery.message is not None  # noqa: S101 - the parent has decoded it
    context = TaskContext(delivery.message, delivery, deadline, None, publish, _refuse)
    RUNNING.set(context)
    args, kwargs = handler.bind(context.payload)
    return handler.call(context, args, kwargs), context.last_progress


class ChildPublisher:
    """Publishes progress from a child process, over a connection of its own, made when first needed."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self._client: connection.SyncRedis | None = None

    async def __call__(self, entry: Progress) -> None:
        """Publish an entry, blocking; it is a coroutine for the context's sake."""
        if self._client is None:
            self._client = connection.connect_sync(self._redis_url)
        scripts.execute_sync(self._client, progress.commands(entry))


async def _refuse(_: Delivery, __: bytes) -> None:
    raise NotImplementedError("write_result is not available with executor='process'; return the result")
