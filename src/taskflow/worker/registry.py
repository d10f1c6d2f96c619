"""Registry: task type -> handler, with the middleware around it."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec
from msgspec import Struct

from taskflow.broker.catalog import TaskType
from taskflow.errors import ConfigError, HandlerNotFound
from taskflow.errors.missing import did_you_mean
from taskflow.task import (
    EnqueueOptions,
    check_callback_url,
    check_queue,
    check_task_type,
    check_version,
    close_types,
)
from taskflow.unique import Unique
from taskflow.worker.aggregates import Aggregates
from taskflow.worker.context import TaskContext
from taskflow.worker.dependencies import Provide
from taskflow.worker.handler import Handler
from taskflow.worker.lifespan import Lifespans
from taskflow.worker.processes import WarmUp, check_warm_up
from taskflow.worker.retry_policy import ASYNQ, RetryPolicy

Next = Callable[[TaskContext], Awaitable[Any]]
"""The rest of the onion: give it the context, get the handler's result."""
Middleware = Callable[[TaskContext, Next], Awaitable[Any]]
"""A layer around handlers: `async def layer(context, call_next)`, which awaits `call_next(context)`."""


class Route(Struct, frozen=True, eq=False):
    """A handler with the types it serves and the defaults of tasks enqueued through it (None: the program's)."""

    type: str
    handler: Handler
    prefix: bool = False
    queue: str | None = None
    max_retries: int | None = None
    timeout: timedelta | None = None
    unique: timedelta | Unique | None = None
    callback_url: str | None = None
    retries: RetryPolicy = ASYNQ
    layers: tuple[Middleware, ...] = ()
    """The middleware around this handler only, the first the outermost."""
    version: str | None = None
    """What its version is called, None: as the program's is."""

    @property
    def options(self) -> EnqueueOptions:
        """The defaults that are set."""
        options: EnqueueOptions = {}
        if self.queue is not None:
            options["queue"] = self.queue
        if self.max_retries is not None:
            options["max_retries"] = self.max_retries
        if self.timeout is not None:
            options["timeout"] = self.timeout
        if self.unique is not None:
            options["unique"] = self.unique
        if self.callback_url is not None:
            options["callback_url"] = self.callback_url
        return options

    def published(self, version: str | None = None) -> TaskType:
        """What the catalog says of it; `version` is the program's."""
        return TaskType(
            type=self.type,
            prefix=self.prefix,
            schema=self.handler.schema,
            doc=self.handler.doc.partition("\n\n")[0],
            queue=self.queue,
            max_retries=self.max_retries,
            timeout_seconds=self.timeout.total_seconds() if self.timeout is not None else None,
            unique=self.unique,
            callback_url=self.callback_url,
            version=self.version or version,
        )


class Registry:
    """Which handler runs which type: the exact type first, then the longest prefix (`image:*` serves `image:resize`).

    Args:
        middleware: Layers around every handler, the first the outermost.
        retries: What becomes of failed attempts, where a type has no policy of its own.

    """

    def __init__(self, *, middleware: Sequence[Middleware] = (), retries: RetryPolicy = ASYNQ) -> None:
        self.middleware: list[Middleware] = list(middleware)
        self.aggregates = Aggregates()
        """The functions that make one task of a group's tasks."""
        self.lifespans = Lifespans()
        """What each worker opens at its start and closes at its end."""
        self.warm_ups: list[WarmUp] = []
        """What each process that runs `executor="process"` handlers calls at its start; see `add_warm_up`."""
        self.dependency_overrides: dict[Provide, Provide] = {}
        """What provides a dependency instead of the function it names: for tests. Looked at when a worker starts."""
        self.retries = retries
        self._routes: dict[str, Route] = {}
        self._prefixes: dict[str, Route] = {}
        self._found: dict[str, Route | None] = {}
        self._layers: list[tuple[str, Middleware]] = []
        self._layered: dict[tuple[Route, int], Route] = {}

    def use(self, layer: Middleware, types: str = "*") -> None:
        """Put a layer of middleware around the handlers of a type, or with a `*` at the end of all types that begin so.

        The layers of all types are the outermost, then come those of prefixes, the longer the further in, those of the
        type, and those that the handler was added with; among equals, what was added first is outside.

        Raises:
            ConfigError: The layer cannot be called.
            InvalidOption: The type cannot be used.

        """
        check_task_type(types)
        _check_layer(layer)
        if types == "*":
            self.middleware.append(layer)
            return
        self._layers.append((types, layer))
        self._layers.sort(key=lambda pair: (not pair[0].endswith("*"), len(pair[0])))
        self._forget()

    def _forget(self) -> None:
        self._found.clear()
        self._layered.clear()

    def add(
        self,
        task_type: str,
        handler: Handler,
        *,
        queue: str | None = None,
        max_retries: int | None = None,
        timeout: timedelta | None = None,
        unique: timedelta | Unique | None = None,
        callback_url: str | None = None,
        retries: RetryPolicy | None = None,
        middleware: Iterable[Middleware] = (),
        version: str | None = None,
    ) -> Route:
        """Let a handler serve a type, or with a `*` at the end every type that begins so.

        Args:
            task_type: The type.
            handler: The handler.
            queue: Where tasks go that are enqueued through the handler; `max_retries`, `timeout`, `unique` and `callback_url` are
                theirs, too.
            max_retries: See `queue`.
            timeout: See `queue`.
            unique: See `queue`.
            callback_url: See `queue`.
            retries: What becomes of failed attempts; where it says nothing, the registry's does.
            middleware: Layers around this handler only, the first the outermost.
            version: What the catalog calls its version. Default: the program's.

        Raises:
            ConfigError: Another handler serves the type, or a layer cannot be called.
            InvalidOption: The type, the queue, the unique lock, the callback URL or the version cannot be used.

        """
        check_task_type(task_type)
        if version is not None:
            check_version(version)
        if queue is not None:
            check_queue(queue)
        if isinstance(unique, timedelta):
            Unique(unique)
        if callback_url is not None:
            check_callback_url(callback_url)
        prefix = task_type.endswith("*")
        name = task_type.removesuffix("*")
        routes = self._prefixes if prefix else self._routes
        if name in routes:
            raise ConfigError(f"task type {task_type!r} has two handlers: {routes[name].handler.name}, {handler.name}")
        layers = tuple(middleware)
        for layer in layers:
            _check_layer(layer)
        route = Route(
            name,
            handler,
            prefix=prefix,
            queue=queue,
            max_retries=max_retries,
            timeout=timeout,
            unique=unique,
            callback_url=callback_url,
            retries=self.retries if retries is None else retries.over(self.retries),
            layers=layers,
            version=version,
        )
        routes[name] = route
        self._forget()
        return route

    def add_warm_up(self, function: WarmUp) -> None:
        """Let each process that runs `executor="process"` handlers call a function at its start.

        Raises:
            ConfigError: It is no `def` function at the top level of a module, or takes arguments.

        """
        check_warm_up(function)
        self.warm_ups.append(function)

    @property
    def routes(self) -> list[Route]:
        """All routes: exact types, then prefixes."""
        return [*self._routes.values(), *self._prefixes.values()]

    @property
    def queues(self) -> list[str]:
        """The queues that routes name, sorted."""
        return sorted({route.queue for route in self.routes if route.queue is not None})

    def find(self, task_type: str) -> Route | None:
        """Return the route that serves a type, None if there is none."""
        try:
            return self._found[task_type]
        except KeyError:
            return self._find(task_type)

    def _find(self, task_type: str) -> Route | None:
        route = self._routes.get(task_type)
        if route is None:
            serving = [prefix for prefix in self._prefixes if task_type.startswith(prefix)]
            route = self._prefixes[max(serving, key=len)] if serving else None
        if route is not None and self._layers:
            route = self._within_layers(route, task_type)
        if len(self._found) < 10_000:  # noqa: PLR2004 - types are strangers' text, so the memory of them is bounded
            self._found[task_type] = route
        return route

    def _within_layers(self, route: Route, task_type: str) -> Route:
        """Return a route with the layers of a type around it: the same one for all types that have the same."""
        around = [serves(types, task_type) for types, _ in self._layers]
        key = (route, sum(served << place for place, served in enumerate(around)))
        if key not in self._layered:
            layers = [layer for (_, layer), served in zip(self._layers, around, strict=True) if served]
            self._layered[key] = msgspec.structs.replace(route, layers=(*layers, *route.layers))
        return self._layered[key]

    def not_found(self, task_type: str) -> HandlerNotFound:
        """Return the error for a type that no handler serves."""
        known = [route.type + "*" * route.prefix for route in self.routes]
        hint = did_you_mean(close_types(task_type, known))
        return HandlerNotFound(f"no handler of this worker serves the type {task_type!r}{hint}")

    def retries_of(self, task_type: str) -> RetryPolicy:
        """Return what becomes of failed attempts at tasks of a type, one without a handler too."""
        route = self.find(task_type)
        return self.retries if route is None else route.retries

    def replaced(self, handlers: Mapping[Handler, Handler]) -> Registry:
        """Return a copy with other handlers in the place of some, and a list of middleware of its own."""
        other = copy.copy(self)
        other.middleware = list(self.middleware)
        if handlers:
            routes, prefixes = _replaced(self._routes, handlers), _replaced(self._prefixes, handlers)
            other._routes, other._prefixes, other._found = routes, prefixes, {}  # noqa: SLF001 - one of its own class
        return other

    def extended(self, task_type: str, handler: Handler) -> Registry:
        """Return a copy that serves one type more. Raises `ConfigError` if another handler serves it."""
        other = self.replaced({})
        other._routes, other._found = dict(self._routes), {}  # noqa: SLF001 - one of its own class
        other.add(task_type, handler)
        return other

    def wrap(self, innermost: Next) -> Next:
        """Return a call with the middleware of all types around it."""
        return wrap(self.middleware, innermost)


def _replaced(routes: Mapping[str, Route], handlers: Mapping[Handler, Handler]) -> dict[str, Route]:
    return {
        name: msgspec.structs.replace(route, handler=handlers.get(route.handler, route.handler))
        for name, route in routes.items()
    }


def wrap(layers: Sequence[Middleware], innermost: Next) -> Next:
    """Return a call with layers around it, the first the outermost."""
    call = innermost
    for layer in reversed(layers):
        call = _around(layer, call)
    return call


def _around(layer: Middleware, call_next: Next) -> Next:
    return lambda context: layer(context, call_next)


def _check_layer(layer: object) -> None:
    if not callable(layer):
        raise ConfigError(f"middleware: must be `async def layer(context, call_next)`, not {layer!r}")


def serves(types: str, task_type: str) -> bool:
    """Whether a type is meant by another, or by a beginning with a `*` behind it."""
    return task_type.startswith(types[:-1]) if types.endswith("*") else task_type == types
