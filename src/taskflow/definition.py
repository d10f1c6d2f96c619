"""TaskDefinition: a handler as the module that defines it sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, Unpack, overload

from taskflow.task import EnqueueOptions, Task, TaskInfo, TaskOptions
from taskflow.worker.context import TaskContext
from taskflow.worker.registry import Route

if TYPE_CHECKING:
    from taskflow.app import TaskFlow

P = ParamSpec("P")
R = TypeVar("R")


class TaskDefinition(Generic[P, R]):
    """A handler as its module sees it: call it like the function it was, or enqueue it with the function's own arguments.

    Attributes:
        type: Its task type.
        function: The function itself.

    """

    def __init__(
        self, app: TaskFlow, route: Route, function: Callable[..., R], options: EnqueueOptions | None = None
    ) -> None:
        self.type = route.type
        self.function = function
        self._app = app
        self._route = route
        self._options: EnqueueOptions = options or {}
        self.__doc__ = function.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        """Call the function, here and now."""
        return self.function(*args, **kwargs)

    def with_options(self, **options: Unpack[EnqueueOptions]) -> TaskDefinition[P, R]:
        """Return the same task with other options for what is enqueued through it; `TaskOptions` describes them."""
        return TaskDefinition(self._app, self._route, self.function, {**self._options, **options})

    def task(self, *args: P.args, **kwargs: P.kwargs) -> Task:
        """Return the task that stands for a call of the function, to enqueue with `enqueue_many`.

        Raises:
            TypeError: The arguments do not fit the function.
            InvalidPayload: A value does not fit its annotation.

        """
        return Task(self.type, self._route.handler.payload(*args, **kwargs), self._task_options())

    def task_without_arguments(self, *, options: bool = True) -> Task:
        """Return the task that stands for a call without arguments; with `options` False, with none.

        Raises:
            TypeError: The function needs arguments.

        """
        payload = self._route.handler.payload()
        return Task(self.type, payload, self._task_options()) if options else Task(self.type, payload)

    def _task_options(self) -> TaskOptions:
        options: EnqueueOptions = {**self._route.options, **self._options}
        if "queue" not in options:
            options["queue"] = self._app.settings.queues.default
        return TaskOptions(**options)

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> TaskInfo:
        """Enqueue a call of the function; raises as `task` and `Client.enqueue` do."""
        return await self._app.client.enqueue(self.task(*args, **kwargs))

    def enqueue_sync(self, *args: P.args, **kwargs: P.kwargs) -> TaskInfo:
        """Enqueue a call of the function from a blocking program; raises as `enqueue` does."""
        return self._app.sync_client.enqueue(self.task(*args, **kwargs))


class Decorator:
    """Makes a task of a function; the context, if the function takes one, is not among the arguments to enqueue."""

    def __init__(self, make: Callable[[Callable[..., Any]], TaskDefinition[Any, Any]]) -> None:
        self._make = make

    @overload
    def __call__(self, function: Callable[Concatenate[TaskContext, P], R], /) -> TaskDefinition[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> TaskDefinition[P, R]: ...
    def __call__(self, function: Callable[..., Any], /) -> TaskDefinition[Any, Any]:
        """Make a task of a function."""
        return self._make(function)
