"""TaskFlow: settings, handlers and clients in one object; what a user's module creates."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from taskflow.broker.inspector import Inspector
from taskflow.broker.queue import Broker
from taskflow.broker.schedule_entry import ScheduleEntry
from taskflow.client import Client, SyncClient
from taskflow.cron import Missed
from taskflow.definition import Decorator, TaskDefinition
from taskflow.errors import ConfigError
from taskflow.scheduler import Scheduler, effective_entries
from taskflow.task import Task
from taskflow.unique import Unique
from taskflow.worker.aggregates import AggregateFunction
from taskflow.worker.backoff import Backoff
from taskflow.worker.dependencies import Provide
from taskflow.worker.handler import Executor, Handler
from taskflow.worker.handlers import targets
from taskflow.worker.lifespan import LifespanFunction
from taskflow.worker.options import WorkerOptions
from taskflow.worker.processes import WarmUp
from taskflow.worker.registry import Middleware, Registry
from taskflow.worker.retry_policy import IsFailure, OnDead, RetryPolicy
from taskflow.worker.server import Worker

if TYPE_CHECKING:
    from taskflow.config import Settings

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A", bound=AggregateFunction)
M = TypeVar("M", bound=Middleware)
L = TypeVar("L", bound=LifespanFunction)
W = TypeVar("W", bound=WarmUp)


class Schedules:
    """The periodic tasks that the code names; a scheduler fires them."""

    def __init__(self) -> None:
        self._makers: dict[str, Callable[[], ScheduleEntry]] = {}

    @property
    def entries(self) -> dict[str, ScheduleEntry]:
        """The entries by id."""
        return {entry_id: make() for entry_id, make in self._makers.items()}

    def add(
        self,
        task: Task,
        spec: str,
        *,
        id: str | None = None,  # noqa: A002 - the entry's own word
        timezone: str | None = None,
        missed: Missed = "skip",
        catch_up: int = 100,
        jitter: timedelta = timedelta(0),
    ) -> ScheduleEntry:
        """Enqueue a task again and again; `ScheduleEntry` describes the arguments.

        Args:
            task: What to enqueue: `send_email.task("ada@example.org")`.
            spec: When: `*/5 * * * *`, `@hourly`, `@every 30s`, `CRON_TZ=Europe/Berlin 0 9 * * *`.
            id: Its name; default: the task's type.
            timezone: Time zone of the spec. Default UTC.
            missed: What becomes of times at which no scheduler ran: `skip`, `once`, or `all` up to `catch_up`.
            catch_up: See `missed`.
            jitter: Each task falls due up to this much later, at random.

        Raises:
            InvalidOption: An argument cannot be used.
            ConfigError: The name is taken.

        """
        entry = ScheduleEntry.of(
            task, spec, id=id or task.type, timezone=timezone, missed=missed, catch_up=catch_up, jitter=jitter
        )
        self.add_later(entry.id, lambda: entry)
        return entry

    def add_later(self, entry_id: str, make: Callable[[], ScheduleEntry]) -> None:
        """Add an entry that is made when it is asked for. Raises `ConfigError` if the name is taken."""
        if entry_id in self._makers:
            raise ConfigError(f"two schedules are called {entry_id!r}; give one of them another id")
        self._makers[entry_id] = make


class TaskFlow:
    """The application: what `taskflow worker module:app` runs.

    Args:
        redis_url: URL of the Redis server; default: the settings'.
        settings: Default: read from `taskflow.yaml` and `TASKFLOW_*` when first needed.
        middleware: Layers around every handler, the first the outermost.
        backoff: How long a failed task waits before its next attempt: a timedelta, a sequence of them (the last one
            repeats), or a function `(retried: int, error) -> timedelta` such as `exponential()`. Default: asynq's formula.
        is_failure: `(error) -> bool`; False: the task is tried again without that costing it a retry.
        on_dead: `(task: TaskInfo, error)`, `async def` or `def`: called when a task has been given up (archived), at most
            once. Not for cancelled tasks.

    Raises:
        ConfigError: An argument cannot be used.

    """

    def __init__(
        self,
        redis_url: str | None = None,
        *,
        settings: Settings | None = None,
        middleware: Iterable[Middleware] = (),
        backoff: Backoff | None = None,
        is_failure: IsFailure | None = None,
        on_dead: OnDead | None = None,
    ) -> None:
        self._redis_url = redis_url
        self._settings = settings
        self.registry = Registry(
            middleware=list(middleware),
            retries=RetryPolicy(backoff=backoff, is_failure=is_failure, on_dead=on_dead),
        )
        self.schedules = Schedules()
        self._has_targets = False

    @cached_property
    def settings(self) -> Settings:
        """The settings; read when first needed. Raises `ConfigError`."""
        if self._settings is None:
            from taskflow.config import load_settings  # noqa: PLC0415 - pydantic is slow to import

            return load_settings()
        return self._settings

    @property
    def redis_url(self) -> str:
        """URL of the Redis server; set it before a client or worker is made to point the application elsewhere."""
        return self._redis_url or self.settings.redis.effective_url

    @redis_url.setter
    def redis_url(self, url: str) -> None:
        self._redis_url = url

    @cached_property
    def client(self) -> Client:
        """The asyncio client; use it in one event loop."""
        return Client(self.redis_url)

    @property
    def inspector(self) -> Inspector:
        """Looks into queues and steers tasks, over the asyncio client's connection."""
        return Inspector(self.client.broker)

    @cached_property
    def sync_client(self) -> SyncClient:
        """The blocking client; threads may share it."""
        return SyncClient(self.redis_url)

    def task(
        self,
        task_type: str,
        *,
        queue: str | None = None,
        max_retries: int | None = None,
        timeout: timedelta | None = None,
        unique: timedelta | Unique | None = None,
        callback_url: str | None = None,
        executor: Executor | None = None,
        middleware: Iterable[Middleware] = (),
        backoff: Backoff | None = None,
        is_failure: IsFailure | None = None,
        on_dead: OnDead | None = None,
        version: str | None = None,
    ) -> Decorator:
        """Return a decorator that makes a function the handler of a type (of all that begin so, with a `*` at the end).

        Args:
            task_type: The type.
            queue: Where its tasks go. Default: the settings' (`default`).
            max_retries: How often a failed one is tried again. Default 25.
            timeout: How long an attempt may take. Default 30 minutes.
            unique: For how long no other one of the same payload and queue is enqueued, or a `Unique`. Default: no lock.
            callback_url: Where a webhook tells of the end of each task; its host must be one that the settings allow
                (`webhooks.allow_hosts`). Default: nowhere.
            executor: Where a `def` function runs: `thread` (default) or `process`.
            middleware: Layers around this handler only, inside the application's; the first the outermost.
            backoff: How long a failed one waits before its next attempt; see `TaskFlow`. Default: the application's.
            is_failure: Whether an error costs a retry; see `TaskFlow`. Default: the application's.
            on_dead: Whom to tell of a task that has been given up; see `TaskFlow`. Default: the application's.
            version: What the catalog of task types calls its version. Default: the setting `app.version`.

        Raises:
            ConfigError: The type has a handler, or the function's signature cannot be a handler's.
            InvalidOption: The type, the queue, the unique lock, the callback URL or the version cannot be used.

        """
        retries = RetryPolicy(backoff=backoff, is_failure=is_failure, on_dead=on_dead)

        def make(function: Callable[..., Any]) -> TaskDefinition[Any, Any]:
            handler = Handler(function, executor=executor)
            route = self.registry.add(
                task_type,
                handler,
                queue=queue,
                max_retries=max_retries,
                timeout=timeout,
                unique=unique,
                callback_url=callback_url,
                retries=retries,
                middleware=middleware,
                version=version,
            )
            return TaskDefinition(self, route, function)

        return Decorator(make)

    @overload
    def middleware(self, layer: M, /) -> M: ...
    @overload
    def middleware(self, types: str = "*", /) -> Callable[[M], M]: ...
    def middleware(self, layer: M | str = "*", /) -> M | Callable[[M], M]:
        """Make a function `layer(context, call_next)` a layer of middleware; see `Registry.use` for the order.

        It is called for each attempt instead of the handler, and awaits `call_next(context)` for what the handler returns.
        It may look at the context, do without the call, return another result, or raise what a handler may raise. Those for
        all types must be there before the worker starts.

        Args:
            layer: The layer; or the types whose handlers it is around: `image:resize`, `image:*`. Without arguments
                (`@app.middleware`), all.

        Raises:
            ConfigError: It cannot be called.

        """
        if not isinstance(layer, str):
            self.registry.use(layer)
            return layer
        types = layer

        def make(function: M) -> M:
            self.registry.use(function, types)
            return function

        return make

    @overload
    def aggregate(self, group: A, /) -> A: ...
    @overload
    def aggregate(self, group: str = "*", *, queue: str | None = None) -> Callable[[A], A]: ...
    def aggregate(self, group: A | str = "*", *, queue: str | None = None) -> A | Callable[[A], A]:
        """Make a function `aggregate(group: str, tasks: list[Task]) -> Task` the one that makes one task of a group's tasks.

        The tasks come oldest first, each with its type, payload (bytes), headers and id; the task that is returned goes to
        their queue and takes their place. An exception leaves them in their group; it is logged, and tried again. It runs
        on the event loop if it is `async def`, else in a thread.

        Args:
            group: A glob of the groups it serves. Without arguments (`@app.aggregate`), all. Of several functions, the
                first that was added and serves a group gets it.
            queue: Serve the groups of this queue only.

        Raises:
            ConfigError: The function cannot be called so.

        """
        if not isinstance(group, str):
            self.registry.aggregates.add(group)
            return group
        pattern = group

        def make(function: A) -> A:
            self.registry.aggregates.add(function, group=pattern, queue=queue)
            return function

        return make

    def lifespan(self, function: L, /) -> L:
        """Let every worker open something before it takes tasks, and close it after its last task has ended.

        The function is an async generator that yields once (with `@asynccontextmanager` around it or not); it may take the
        app. Several are opened in the order in which they were added, and closed in reverse. What it raises before its
        `yield` keeps the worker from starting.

        Raises:
            ConfigError: The function is none.

        """
        self.registry.lifespans.add(function, self)
        return function

    def warm_up(self, function: W, /) -> W:
        """Let each process that runs `executor="process"` handlers call a function at its start, such as to load a model.

        The processes of a worker are started and warmed up before it takes tasks, and again whenever one takes another's
        place. What a worker's own process needs is a dependency's or a lifespan's work.

        Raises:
            ConfigError: It is no `def` function at the top level of a module, or takes arguments.

        """
        self.registry.add_warm_up(function)
        return function

    @property
    def dependency_overrides(self) -> dict[Provide, Provide]:
        """What provides a dependency instead of the function that handlers name: for tests.

        `app.dependency_overrides[database] = fake_database`; it counts for workers that start after, and has the scope of
        what it stands for. `clear()` ends it.
        """
        return self.registry.dependency_overrides

    def schedule(
        self,
        spec: str,
        *,
        id: str | None = None,  # noqa: A002 - the entry's own word
        timezone: str | None = None,
        missed: Missed = "skip",
        catch_up: int = 100,
        jitter: timedelta = timedelta(0),
    ) -> Callable[[TaskDefinition[P, R]], TaskDefinition[P, R]]:
        """Return a decorator that enqueues a task without arguments again and again; see `Schedules.add`.

        It stands above `task`: `@app.schedule("@hourly")`, then `@app.task("report")`.
        """

        def make(definition: TaskDefinition[P, R]) -> TaskDefinition[P, R]:
            entry_of = partial(
                ScheduleEntry.of,
                spec=spec,
                id=id or definition.type,
                timezone=timezone,
                missed=missed,
                catch_up=catch_up,
                jitter=jitter,
            )
            # What is wrong is said now. The task's options come from the settings, which are not read at import.
            checked = entry_of(definition.task_without_arguments(options=False))
            self.schedules.add_later(checked.id, lambda: entry_of(definition.task_without_arguments()))
            return definition

        return make

    def scheduler(self, broker: Broker | None = None) -> Scheduler:
        """Return a scheduler for the app's periodic tasks, those of the settings, and those kept in Redis.

        Args:
            broker: A broker to share; it stays the caller's to close. Default: one of the scheduler's own.

        """
        entries = effective_entries(self.schedules.entries, self.settings)
        return Scheduler(broker or self.redis_url, entries, allow_eviction=self.settings.redis.allow_eviction)

    def worker(self, options: WorkerOptions | None = None) -> Worker:
        """Return a worker for the app's handlers; without options it works as the settings say."""
        self.add_targets()
        options = options or WorkerOptions.of(self.settings, named=self.registry.queues)
        return Worker(self.registry, self.redis_url, options)

    def add_targets(self) -> None:
        """Let the services that the settings name (`http_targets`, `grpc_services`) serve their types; once.

        Raises:
            ConfigError: A handler of the app serves one of the types, or a setting cannot be used.

        """
        if not self._has_targets:
            self._has_targets = True
            targets.register(self.registry, self.settings)

    async def close(self) -> None:
        """Close the clients' connections."""
        if "client" in self.__dict__:
            await self.client.close()
            del self.__dict__["client"]
        if "sync_client" in self.__dict__:
            self.sync_client.close()
            del self.__dict__["sync_client"]
