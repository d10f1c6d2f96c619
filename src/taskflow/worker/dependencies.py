"""Dependencies: what a handler asks for beside its payload, and how it is provided. Nothing is opened here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Literal

from msgspec import Struct

from taskflow.errors import ConfigError
from taskflow.worker.context import TaskContext
from taskflow.worker.signature import VARIADIC, parameters_of

Scope = Literal["worker", "task"]
"""For how long a resource is open: one for the whole life of the worker, or one for each attempt at a task."""
Provide = Callable[..., Any]
"""Provides a resource: a generator function that yields it once, or a function that returns it; `async def` or `def`."""
Kind = Literal["async generator", "generator", "async function", "function"]


class Dependency(Struct, frozen=True):
    """What `Depends` makes: which function provides a parameter, and for how long."""

    provide: Provide
    scope: Scope = "worker"


def Depends(provide: Provide, *, scope: Scope = "worker") -> Any:  # noqa: N802 - the name users know from FastAPI
    """Let a parameter of a handler be provided by a function instead of the payload.

    `db: Annotated[Database, Depends(database)]`, or `db: Database = Depends(database)`, which lets type checkers accept
    `enqueue` calls without it. The function may depend on others in the same way. A generator function (with contextlib's
    decorator around it or not) opens the resource before its `yield` and closes it after; any other function returns it.
    `async def` runs on the event loop, `def` in a thread.

    Args:
        provide: The function.
        scope: `worker` (default): opened once in each worker process, before it takes tasks, and shared by all of them.
            `task`: opened for each attempt; an exception of the handler is raised at the `yield`. It may take the
            `TaskContext`.

    Raises:
        ConfigError: The scope is neither.

    """
    if scope not in {"worker", "task"}:
        raise ConfigError(f"Depends: scope must be 'worker' or 'task', not {scope!r}")
    return Dependency(provide, scope)


def dependency_of(parameter: inspect.Parameter) -> Dependency | None:
    """Return what a parameter depends on; None: it is no dependency."""
    if isinstance(parameter.default, Dependency):
        return parameter.default
    metadata = getattr(parameter.annotation, "__metadata__", ())
    return next((item for item in metadata if isinstance(item, Dependency)), None)


class Provider(Struct, frozen=True):
    """A providing function, examined.

    Attributes:
        name: What it is called in errors.
        kind: How it provides: see `Provide`.
        call: The function; a generator function is made one that returns a context manager.
        needs: What it depends on, by parameter.
        context: The name of the parameter that takes the task's context, None if there is none.

    """

    name: str
    kind: Kind
    call: Callable[..., Any]
    needs: Mapping[str, Dependency]
    context: str | None

    @classmethod
    def of(cls, provide: Provide) -> Provider:
        """Examine a function. Raises `ConfigError` if it needs what nothing provides."""
        name = getattr(provide, "__qualname__", repr(provide))
        if not callable(provide):
            raise ConfigError(f"Depends: takes a function that provides the value, not {provide!r}")
        needs: dict[str, Dependency] = {}
        context = None
        for parameter in parameters_of(provide, f"dependency {name}"):
            needed = dependency_of(parameter)
            if needed is not None:
                needs[parameter.name] = needed
            elif parameter.annotation is TaskContext:
                context = parameter.name
            elif parameter.default is inspect.Parameter.empty and parameter.kind not in VARIADIC:
                raise ConfigError(
                    f"dependency {name}: nothing provides its parameter {parameter.name!r}; annotate it with Depends"
                )
        kind, call = _examined(provide)
        return cls(name, kind, call, needs, context)


def _examined(provide: Provide) -> tuple[Kind, Callable[..., Any]]:
    # Not by what it returns: a function may well return a lock or a client, which must not be entered.
    core = inspect.unwrap(provide)
    if inspect.isasyncgenfunction(core):
        return "async generator", asynccontextmanager(provide) if core is provide else provide
    if inspect.isgeneratorfunction(core):
        return "generator", contextmanager(provide) if core is provide else provide
    return ("async function" if inspect.iscoroutinefunction(provide) else "function"), provide


class Graph:
    """All that some handlers depend on, directly or not.

    Args:
        overrides: Functions to use instead of others.

    """

    def __init__(self, overrides: Mapping[Provide, Provide] | None = None) -> None:
        self._overrides = overrides or {}
        self._providers: dict[Provide, Provider] = {}

    def provider(self, dependency: Dependency) -> Provider:
        """Return what provides a dependency. Raises `ConfigError` if it cannot be used."""
        provide = self._overrides.get(dependency.provide, dependency.provide)
        if provide not in self._providers:
            self._providers[provide] = Provider.of(provide)
        return self._providers[provide]

    def shared(self, dependency: Dependency) -> Iterator[Dependency]:
        """Yield what must be open for as long as the worker works, itself among it, each after what it depends on."""
        for needed in self.provider(dependency).needs.values():
            yield from self.shared(needed)
        if dependency.scope == "worker":
            yield dependency

    def check(self, dependency: Dependency, path: Sequence[Provider] = ()) -> None:
        """Raise `ConfigError` if a dependency can never be provided."""
        provider = self.provider(dependency)
        if provider in path:
            circle = " -> ".join(one.name for one in (*path[path.index(provider) :], provider))
            raise ConfigError(f"dependencies in a circle: {circle}")
        if provider.context is not None and dependency.scope == "worker":
            raise ConfigError(
                f"dependency {provider.name}: takes the TaskContext, but is opened when no task runs; use scope='task'"
            )
        for needed in provider.needs.values():
            if dependency.scope == "worker" and needed.scope == "task":
                raise ConfigError(
                    f"dependency {provider.name}: lives as long as the worker, so it cannot depend on "
                    f"{self.provider(needed).name}, which is opened anew for each task"
                )
            self.check(needed, (*path, provider))
