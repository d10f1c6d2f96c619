"""Lifespans: what is opened before a worker takes its first task, and closed after its last one has ended."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import structlog
from msgspec import Struct

from taskflow.errors import ConfigError, StartFailed
from taskflow.worker.outcome import describe

_LOG = structlog.get_logger("taskflow.worker")

LifespanFunction = Callable[..., AsyncIterator[Any] | AbstractAsyncContextManager[Any]]
"""An async generator function that yields once, with `@asynccontextmanager` around it or not."""


class Lifespan(Struct, frozen=True):
    """A function's name, and how to make a context manager of it."""

    name: str
    open: Callable[[], AbstractAsyncContextManager[Any]]


class Lifespans:
    """The lifespans of a registry: opened in the order in which they were added, closed in reverse."""

    def __init__(self) -> None:
        self._all: list[Lifespan] = []

    def add(self, function: LifespanFunction, *arguments: Any) -> None:
        """Add an async generator function that yields once; it is called with the arguments, or without if it takes none.

        Raises:
            ConfigError: It is none, or takes other arguments.

        """
        name = getattr(function, "__qualname__", repr(function))
        if not inspect.isasyncgenfunction(inspect.unwrap(function)):
            raise ConfigError(f"lifespan {name}: must be an `async def` function with one `yield` in it")
        if not _fits(function, *arguments):
            if not _fits(function):
                raise ConfigError(f"lifespan {name}: takes one parameter, the application, or none")
            arguments = ()
        make: Any = asynccontextmanager(function) if inspect.isasyncgenfunction(function) else function
        self._all.append(Lifespan(name, lambda: make(*arguments)))

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Keep them all open while the block runs.

        Each begins and ends in the caller's asyncio task, so task groups may span the `yield`, and context variables that
        it sets are seen by tasks that are made in the block.

        Raises:
            StartFailed: One raised before its `yield`; those before it have been closed.

        """
        async with AsyncExitStack() as stack:
            for lifespan in self._all:
                try:
                    await stack.enter_async_context(lifespan.open())
                except Exception as error:
                    _LOG.exception("a lifespan failed at the start", lifespan=lifespan.name)
                    raise StartFailed(f"lifespan {lifespan.name}", describe(error)) from error
            yield


def _fits(function: Callable[..., Any], *arguments: Any) -> bool:
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    return True
