"""Resources: what handlers depend on, opened and closed."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

import structlog

from taskflow.errors import StartFailed
from taskflow.worker.context import TaskContext, current_context
from taskflow.worker.dependencies import Dependency, Graph, Provider
from taskflow.worker.handler import Handler
from taskflow.worker.outcome import describe
from taskflow.worker.registry import Next, Registry

T = TypeVar("T")
_LOG = structlog.get_logger("taskflow.worker")
_OF_ATTEMPT: ContextVar[Mapping[str, Any]] = ContextVar("taskflow_resources")
"""The arguments of the running handler that were opened for its attempt."""


@asynccontextmanager
async def opened(registry: Registry, types: Collection[str] | None = None) -> AsyncIterator[Registry]:
    """Open what handlers depend on, and give a registry of the same handlers that have it, while the block runs.

    Args:
        registry: The handlers, and the overrides of what they depend on; it stays as it is.
        types: Open only what handlers of these task types need. Default: of all.

    Raises:
        StartFailed: A dependency raised; those before it have been closed.
        ConfigError: An override cannot be used.

    """
    routes = registry.routes if types is None else [route for name in types if (route := registry.find(name))]
    needy = dict.fromkeys(route.handler for route in routes if route.handler.dependencies)
    graph = Graph(registry.dependency_overrides)
    async with AsyncExitStack() as stack:
        shared = Resources(graph, stack)
        bound = {handler: await _bound(handler, graph, shared) for handler in needy}
        provided = registry.replaced(bound)
        of_attempts = {bound[handler]: own for handler in needy if (own := _of_attempt(handler))}
        if of_attempts:
            provided.middleware.append(AttemptResources(provided, of_attempts, graph, shared))
        yield provided


class Resources:
    """What is open for as long as the worker works, or (with `shared`, the worker's) for one attempt at a task.

    Args:
        graph: What provides each dependency.
        stack: Closes what was opened, in reverse order.
        shared: What is open already.

    """

    def __init__(self, graph: Graph, stack: AsyncExitStack, shared: Resources | None = None) -> None:
        self._graph = graph
        self._stack = stack
        self._shared = shared
        self._values: dict[Callable[..., Any], Any] = {}

    async def get(self, dependency: Dependency) -> Any:
        """Return what a dependency provides; opened when first asked for."""
        if self._shared is not None and dependency.scope == "worker":
            return await self._shared.get(dependency)
        provider = self._graph.provider(dependency)
        if provider.call not in self._values:
            arguments = {name: await self.get(needed) for name, needed in provider.needs.items()}
            self._values[provider.call] = await self._open(provider, arguments)
        return self._values[provider.call]

    async def _open(self, provider: Provider, arguments: dict[str, Any]) -> Any:
        if self._shared is not None:
            return await self._enter(provider, arguments)
        try:
            return await self._enter(provider, arguments)
        except Exception as error:
            _LOG.exception("a dependency failed at the start", dependency=provider.name)
            raise StartFailed(f"dependency {provider.name}", describe(error)) from error

    async def _enter(self, provider: Provider, arguments: dict[str, Any]) -> Any:
        if provider.context is not None:
            arguments[provider.context] = current_context()
        match provider.kind:
            case "async generator":
                return await self._stack.enter_async_context(provider.call(**arguments))
            case "generator":
                return await self._stack.enter_async_context(_InThreads(provider.call(**arguments)))
            case "async function":
                return await provider.call(**arguments)
            case "function":
                return await _in_thread(partial(provider.call, **arguments))


class AttemptResources:
    """The innermost layer of middleware: opens what each attempt has for itself, and closes it when the attempt has ended.

    Args:
        registry: The handlers.
        needs: What to open for each, by parameter.
        graph: What provides each dependency.
        shared: What is open for as long as the worker works.

    """

    def __init__(
        self, registry: Registry, needs: Mapping[Handler, Mapping[str, Dependency]], graph: Graph, shared: Resources
    ) -> None:
        self._registry = registry
        self._needs = needs
        self._graph = graph
        self._shared = shared

    async def __call__(self, context: TaskContext, call_next: Next) -> Any:
        """Make an attempt with its resources open. What the handler raises counts, even if a dependency swallows it."""
        route = self._registry.find(context.type)
        needs = self._needs.get(route.handler) if route is not None else None
        if needs is None:
            return await call_next(context)
        async with AsyncExitStack() as stack:
            own = Resources(self._graph, stack, self._shared)
            _OF_ATTEMPT.set({name: await own.get(dependency) for name, dependency in needs.items()})
            try:
                return await call_next(context)
            except BaseException as error:
                failure = error
                raise
        raise failure


async def _bound(handler: Handler, graph: Graph, shared: Resources) -> Handler:
    """Return a handler that has what lives as long as the worker; what its attempts share is open then, too."""
    for dependency in handler.dependencies.values():
        graph.check(dependency)
        for needed in graph.shared(dependency):
            await shared.get(needed)
    of_attempt = _of_attempt(handler)
    values = {name: await shared.get(one) for name, one in handler.dependencies.items() if name not in of_attempt}
    bound = copy.copy(handler)
    bound.function = _with_own(handler.function, values) if of_attempt else partial(handler.function, **values)
    return bound


def _of_attempt(handler: Handler) -> dict[str, Dependency]:
    return {name: dependency for name, dependency in handler.dependencies.items() if dependency.scope == "task"}


def _with_own(function: Callable[..., T], values: Mapping[str, Any]) -> Callable[..., T]:
    def call(*args: Any, **kwargs: Any) -> T:
        return function(*args, **kwargs, **values, **_OF_ATTEMPT.get())

    return call


async def _in_thread(call: Callable[[], T]) -> T:
    """Call a function in a thread. Nothing stops a thread, so a cancellation waits for its end."""
    # No asyncio task around it, as `asyncio.to_thread` in one would be: `SystemExit` in a task ends the event loop.
    calling = asyncio.get_running_loop().run_in_executor(None, copy_context().run, call)
    try:
        return await asyncio.shield(calling)
    except asyncio.CancelledError:
        await asyncio.wait([calling])
        if not calling.cancelled():
            calling.exception()  # is nobody's any more
        raise


class _InThreads:
    """A blocking context manager, entered and left in threads."""

    def __init__(self, manager: AbstractContextManager[Any]) -> None:
        self._manager = manager
        self._entered = False

    def _enter(self) -> Any:
        value = self._manager.__enter__()
        self._entered = True
        return value

    async def __aenter__(self) -> Any:
        try:
            return await _in_thread(self._enter)
        except asyncio.CancelledError as error:
            if self._entered:
                await self.__aexit__(type(error), error, error.__traceback__)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await _in_thread(partial(self._manager.__exit__, kind, error, traceback))
