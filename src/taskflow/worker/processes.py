"""ProcessPool: runs `def` handlers in processes of their own, which can be killed."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import multiprocessing
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pebble
import structlog

from taskflow.broker import connection, progress, scripts
from taskflow.broker.delivery import NO_LEASE, Delivery
from taskflow.errors import BrokerUnavailable, ConfigError, StartFailed
from taskflow.task import Progress
from taskflow.worker.context import RUNNING, Publish, TaskContext
from taskflow.worker.handler import Handler
from taskflow.worker.outcome import describe

WarmUp = Callable[[], object]
Failure = tuple[str, str]
"""What failed at the start, and why."""

_LOG = structlog.get_logger("taskflow.worker")
_REPORT_CHECK = 0.02
"""How often (s) to look whether a process has warmed up."""


class ProcessPool:
    """Processes that run `def` handlers, started when first needed, or at `start` if there is something to warm up.

    They are spawned, not forked: a fork of a program with threads may hang. So the handler's module is imported anew
    in each, and the handler must stand at the top level of a module.

    Args:
        workers: How many.
        warm_ups: What each calls at its start.
        max_tasks: After how many tasks each is replaced, 0 for never.

    """

    def __init__(self, workers: int, warm_ups: Sequence[WarmUp] = (), *, max_tasks: int = 0) -> None:
        self._workers = workers
        self._max_tasks = max_tasks
        self._warm_ups = warm_ups
        self._spawn = multiprocessing.get_context("spawn")
        self._pool: pebble.ProcessPool | None = None

    async def start(self) -> None:
        """Start the processes and wait until each has warmed up; without anything to warm up, do nothing.

        Raises:
            StartFailed: A warm-up raised, or a process died of it.

        """
        if not self._warm_ups:
            return
        self._pool = self._make()
        for _ in range(self._workers):
            failure = await self._report()
            if failure is not None:
                raise StartFailed(*failure)

    async def _report(self) -> Failure | None:
        """Return how the warm-up of one process went; None: well."""
        while True:
            lives = self._lives()
            if not self._reports.empty():
                failure: Failure | None = self._reports.get()
                return failure
            if not lives:
                return "a process of the pool", "it died while it warmed up"
            await asyncio.sleep(_REPORT_CHECK)

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
        pool = await self._living()
        result, context.last_progress = await asyncio.wrap_future(pool.schedule(_child, args=call))
        return result

    async def _living(self) -> pebble.ProcessPool:
        """Return the pool; one that is broken, since a process of it died while it was idle, is replaced."""
        if self._pool is not None and not self._lives():
            _LOG.error("the pool of processes is broken: one died while it was idle; there is a new one now")
            broken, self._pool = self._pool, None
            await asyncio.to_thread(_end, broken)
        if self._pool is None:
            self._pool = self._make()
        while not self._reports.empty():
            self._reports.get()  # a process that took another's place; how it went, it has logged
        return self._pool

    def _lives(self) -> bool:
        return self._pool is not None and bool(self._pool.active)

    def _make(self) -> pebble.ProcessPool:
        self._reports = self._spawn.SimpleQueue()
        places = [(warm_up.__module__, warm_up.__qualname__) for warm_up in self._warm_ups]
        return pebble.ProcessPool(
            self._workers,
            max_tasks=self._max_tasks,
            initializer=_warm_up if places else None,
            initargs=(places, self._reports),
            context=self._spawn,
        )

    def close(self) -> None:
        """Kill the processes."""
        if self._pool is not None:
            _end(self._pool)
            self._pool = None


def _end(pool: pebble.ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]  # pebble's
    pool.join()


def check_warm_up(function: WarmUp) -> None:
    """Raise `ConfigError` unless a function can be called by each process of the pool."""
    name = getattr(function, "__qualname__", repr(function))
    if not inspect.isfunction(function) or inspect.iscoroutinefunction(function) or "." in name:
        raise ConfigError(f"warm-up {name}: must be a `def` function at the top level of a module")
    try:
        inspect.signature(function).bind()
    except TypeError:
        raise ConfigError(f"warm-up {name}: is called without arguments") from None


def _warm_up(places: Sequence[tuple[str, str]], reports: Any) -> None:
    """Do what this process is to do before its first task: the child's side."""
    for module, name in places:
        try:
            getattr(importlib.import_module(module), name)()
        except BaseException as error:
            reports.put((f"warm-up {name}", describe(error)))
            raise
    reports.put(None)


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
    """Publishes progress from a child process, over a connection of its own, made when first needed; see `Reports`."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self._client: connection.SyncRedis | None = None

    async def __call__(self, entry: Progress) -> None:
        """Publish an entry, blocking; it is a coroutine for the context's sake."""
        with suppress(BrokerUnavailable), scripts.redis_errors():
            if self._client is None:
                self._client = connection.connect_sync(self._redis_url)
            scripts.execute_sync(self._client, progress.commands(entry))


async def _refuse(_: Delivery, __: bytes) -> None:
    raise NotImplementedError("write_result is not available with executor='process'; return the result")
