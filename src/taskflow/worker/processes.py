"""ProcessPool: runs `def` handlers in processes of their own, which can be killed."""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
from typing import Any

import pebble

from taskflow.broker import connection, progress
from taskflow.errors import ConfigError
from taskflow.task import Progress
from taskflow.worker.context import TaskContext
from taskflow.worker.handler import Handler


class ProcessPool:
    """Up to `workers` processes, started when first needed.

    They are spawned, not forked: a fork of a program with threads may hang. So the handler's module is imported anew
    in each, and the handler must stand at the top level of a module.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool: pebble.ProcessPool | None = None

    async def run(self, handler: Handler, context: TaskContext, payload: bytes, *, redis_url: str) -> Any:
        """Run a handler and return what it returns; if this call is cancelled, the process is killed.

        Raises:
            ConfigError: The handler does not stand at the top level of a module.
            Exception: What the handler raised; `pebble.ProcessExpired` if its process died.

        """
        function = handler.function
        if "." in function.__qualname__:
            raise ConfigError(f"handler {handler.name}: with executor='process' it must stand at the top level of a module")
        if self._pool is None:
            self._pool = pebble.ProcessPool(self._workers, context=multiprocessing.get_context("spawn"))
        facts = {
            "task_id": context.id,
            "task_type": context.type,
            "queue": context.queue,
            "headers": dict(context.headers),
            "retried": context.retried,
            "max_retries": context.max_retries,
            "deadline": context.deadline,
        }
        future = self._pool.schedule(_child, args=(function.__module__, function.__qualname__, facts, payload, redis_url))
        result, context.last_progress = await asyncio.wrap_future(future)
        return result

    def close(self) -> None:
        """Kill the processes."""
        if self._pool is not None:
            self._pool.stop()
            self._pool.join()
            self._pool = None


def _child(
    module: str, name: str, facts: dict[str, Any], payload: bytes, redis_url: str
) -> tuple[Any, Progress | None]:
    """Run a handler in this process: the child's side."""
    found = getattr(importlib.import_module(module), name)
    handler = Handler(getattr(found, "function", found), executor="process")
    context = TaskContext(loop=None, publish=_Publisher(redis_url), write_result=_refuse, **facts)
    args, kwargs = handler.bind(payload)
    return handler.call(context, args, kwargs)(), context.last_progress


class _Publisher:
    """Publishes progress from a child process, over a connection of its own."""

    def __init__(self, redis_url: str) -> None:
        self._client = connection.connect_sync(redis_url)

    async def __call__(self, entry: Progress) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for command in progress.commands(entry):
            pipeline.execute_command(*command)
        pipeline.execute()


async def _refuse(_: bytes) -> None:
    raise NotImplementedError("write_result is not available with executor='process'; return the result")
