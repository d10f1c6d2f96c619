"""TaskService: the use cases. It checks what is asked, carries it out, and says in TaskFlow's errors what went wrong."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Self

from msgspec import UNSET

from taskflow.application.changes import QueueChanges
from taskflow.application.commands import (
    ArchiveTask,
    CancelTask,
    CreateTask,
    DeleteTask,
    EditTask,
    RemoveQueue,
    RunTask,
    SteerSelection,
    SteerTasks,
)
from taskflow.application.draining import Draining
from taskflow.application.findings import (
    Finding,
    queue_findings,
    redis_findings,
    schedule_findings,
    server_findings,
    sorted_findings,
    type_findings,
)
from taskflow.application.idempotency import Idempotency, RequestKey
from taskflow.application.known_types import KnownTypes, is_our_own
from taskflow.application.making import TaskMaker
from taskflow.application.overview import Overview, read_overview
from taskflow.application.progress import TaskProgress
from taskflow.application.queries import (
    GetTask,
    ListTasks,
    Selection,
    SelectTasks,
    TaskPage,
)
from taskflow.application.scanning import TaskScan
from taskflow.application.schedules import ScheduleService
from taskflow.application.search import TaskSearch
from taskflow.application.steering import TaskSteering
from taskflow.application.watches import Watches
from taskflow.broker.catalog import CatalogEntry, TaskCatalog
from taskflow.broker.inspector import Inspector
from taskflow.broker.orders import ServerOrders
from taskflow.broker.progress import ProgressStream
from taskflow.broker.redis_info import RedisInfo, read_redis_info
from taskflow.broker.sampler import Sampler
from taskflow.broker.samples import Series
from taskflow.broker.scan import Scan
from taskflow.broker.servers import ServerRecords
from taskflow.broker.steering import Progress
from taskflow.broker.subscriptions import Subscriptions
from taskflow.broker.type_stats import TypeStats, TypeTallies
from taskflow.client import Client
from taskflow.config import Settings
from taskflow.errors import (
    BrokerUnavailable,
    Forbidden,
    InvalidOption,
    InvalidPayload,
    ResultTimeout,
    TaskFlowError,
    TaskTypeNotFound,
)
from taskflow.task import (
    DailyStats,
    GroupInfo,
    QueueInfo,
    ServerInfo,
    Stall,
    Task,
    TaskInfo,
    TaskState,
    check_queue,
    check_task_id,
    close_types,
)

_BATCH = 1000
"""How many tasks of a batch are sent at a time; what the server refuses of one is not tried with the next."""


class TaskService:
    """What can be done with tasks and queues, whatever door the wish came through.

    Args:
        client: Where the tasks are; it stays the caller's to close.
        settings: The defaults of tasks, and which types are let through.

    Every method raises `BrokerUnavailable` if Redis does not answer or cannot write.

    """

    def __init__(self, client: Client, *, settings: Settings) -> None:
        broker = client.broker
        self._client = client
        self._owns_client = False
        self._default_queue = settings.queues.default
        self._inspector = Inspector(broker)
        self._idempotency = Idempotency(client, self._inspector)
        self._search = TaskSearch(self._inspector, default_queue=self._default_queue)
        self._steering = TaskSteering(self._inspector)
        self.scan = TaskScan(self._inspector, Scan(broker), self._steering, default_queue=self._default_queue)
        self._catalog = TaskCatalog(broker)
        self._known_types = KnownTypes(self._catalog, allowed=settings.api.allow_types)
        self._maker = TaskMaker(self._known_types, settings)
        self._subscriptions = Subscriptions(broker.url)
        self.schedules = ScheduleService(client, settings=settings, make_task=self._task)
        stream = ProgressStream(broker)
        self._watches = Watches(broker, stream, self._subscriptions)
        self.progress = TaskProgress(stream, self._inspector, self._watches)
        self.changes = QueueChanges(broker, self._inspector)
        self.draining = Draining(self._inspector, ServerOrders(broker))

    @classmethod
    def connect(cls, settings: Settings, redis_url: str | None = None) -> TaskService:
        """Return a service with a client of its own; it connects when first used.

        Args:
            settings: All settings.
            redis_url: Where Redis is, if not where the settings say.

        Raises:
            ConfigError: The URL cannot be used.

        """
        service = cls(Client(redis_url or settings.redis.effective_url), settings=settings)
        service._owns_client = True
        return service

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections of its own."""
        await self.changes.close()
        await self._watches.close()
        await self._subscriptions.close()
        if self._owns_client:
            await self._client.close()

    async def ping(self) -> None:
        """Ask Redis for a sign of life."""
        await self._client.broker.synchronise()

    # -- create -------------------------------------------------------------------------------------------------------

    async def create(self, command: CreateTask, key: RequestKey | None = None) -> TaskInfo:
        """Create a task; return once Redis has stored it, or the task that is there (`existing`) if that is asked for.

        With a key, the request may be made again: then it returns the task of the first time (`existing`).

        Raises:
            InvalidTaskType: The type is neither published by a worker nor allowed by the settings.
            InvalidPayload: The payload does not fit the type's schema, or is too large (`PayloadTooLarge`).
            InvalidOption: An option cannot be used.
            TaskConflict: The id or the unique lock is taken.
            IdempotencyConflict: The request's key came with another body before.

        """
        task = await self._task(command)
        return await (self._client.enqueue(task) if key is None else self._idempotency.create(task, key))

    async def create_many(self, commands: Sequence[CreateTask]) -> builtins.list[TaskInfo | TaskFlowError]:
        """Create tasks; return for each, in order, what `create` returns or the error it would raise.

        Raises:
            BrokerUnavailable: Redis takes none of them. Once it has taken some, each of the others has that error.

        """
        outcomes: builtins.list[TaskInfo | TaskFlowError] = []
        for first in range(0, len(commands), _BATCH):
            batch = commands[first : first + _BATCH]
            try:
                outcomes += await self._create_batch(batch)
            except BrokerUnavailable as error:
                if not outcomes:
                    raise
                outcomes += [error] * (len(commands) - len(outcomes))
                break
        return outcomes

    async def _create_batch(self, commands: Sequence[CreateTask]) -> builtins.list[TaskInfo | TaskFlowError]:
        outcomes: builtins.list[TaskInfo | TaskFlowError | None] = [None] * len(commands)
        tasks: builtins.list[Task] = []
        positions: builtins.list[int] = []
        for position, command in enumerate(commands):
            try:
                tasks.append(await self._task(command))
                positions.append(position)
            except (InvalidOption, Forbidden) as error:
                outcomes[position] = error
        for position, answer in zip(positions, await self._client.enqueue_many(tasks), strict=True):
            outcomes[position] = answer
        return [outcome for outcome in outcomes if outcome is not None]

    async def _task(self, command: CreateTask) -> Task:
        """Return the task that a command describes; see `TaskMaker.make`."""
        return await self._maker.make(command)

    # -- tasks --------------------------------------------------------------------------------------------------------

    async def get(self, query: GetTask) -> TaskInfo:
        """Return what is known of a task. Raises `TaskNotFound`."""
        check_task_id(query.task_id)
        return await self._inspector.task(query.task_id, query.queue)

    async def result(self, query: GetTask, wait: timedelta = timedelta(0)) -> TaskInfo | None:
        """Return what is known of a task that has ended; None if it has not within `wait`. Raises `TaskNotFound`."""
        info = await self.get(query)
        if info.state.finished:
            return info
        if not wait:
            return None
        try:
            return await self._client.wait(info.id, queue=info.queue, timeout=wait.total_seconds())
        except ResultTimeout:
            return None

    async def list(self, query: ListTasks) -> TaskPage:
        """Return one page of a queue's tasks in a state. The default queue is empty as long as it does not exist.

        Raises:
            QueueNotFound: The named queue does not exist.
            InvalidOption: The page cannot be one, or the group of aggregating tasks is missing.

        """
        return await self._search.page(query)

    async def run(self, command: RunTask) -> TaskState:
        """Run a task now; return the state it was in. Raises `TaskNotFound`, `TaskPending`, or `TaskActive`."""
        check_task_id(command.task_id)
        return await self._inspector.run(command.task_id, command.queue)

    async def archive(self, command: ArchiveTask) -> TaskState:
        """Give up a task; return the state it was in. Raises `TaskNotFound`, `TaskActive`, or `TaskFinished`."""
        check_task_id(command.task_id)
        return await self._inspector.archive(command.task_id, command.queue)

    async def delete(self, command: DeleteTask) -> None:
        """Delete a task. Raises `TaskNotFound`, or `TaskActive` if it runs."""
        check_task_id(command.task_id)
        await self._inspector.delete(command.task_id, command.queue)

    async def cancel(self, command: CancelTask) -> TaskState:
        """Stop a task for good; return the state it was in. Raises `TaskNotFound`, or `TaskFinished` if it has ended."""
        check_task_id(command.task_id)
        return await self._inspector.cancel(command.task_id, command.queue)

    async def edit(self, command: EditTask) -> TaskInfo:
        """Change the payload or the due time of a scheduled or retry task; return what is then known of it.

        Raises:
            TaskNotFound: There is none.
            TaskNotScheduled, TaskActive, TaskFinished: It is in another state.
            InvalidPayload: The payload does not fit the type's schema, or is too large (`PayloadTooLarge`).
            InvalidOption: Nothing is to be changed, or a value cannot be used.

        """
        info = await self.get(GetTask(command.task_id, command.queue))
        payload = command.payload
        if payload is not UNSET:
            if is_our_own(info.type):
                raise InvalidPayload("is that of a task of TaskFlow's own, which nobody else chooses")
            payload = self._maker.payload(payload, await self._known_types.serving(info.type))
        return await self._inspector.edit(info.id, info.queue, payload=payload, process_at=command.process_at)

    async def steer(self, command: SteerTasks) -> builtins.list[TaskState | TaskFlowError]:
        """Do something to tasks; return for each, in order, the state it was in or why it was left alone."""
        return await self._steering.tasks(command)

    async def select(self, query: SelectTasks, progress: Progress | None = None) -> Selection:
        """Return which tasks of a state fit, to do something to all of them; `progress` hears how many were looked at.

        Raises:
            QueueNotFound: There is no such queue.
            InvalidOption: A group is named, and the state is not aggregating.

        """
        return await self._search.select(query, progress)

    async def steer_selection(self, command: SteerSelection, progress: Progress | None = None) -> int:
        """Do something to the tasks that were selected, in bounded chunks; return to how many.

        Those that have left the state meanwhile are left alone. `progress` is told after each chunk.

        Raises:
            QueueNotFound: There is no such queue any more.
            InvalidTaskState: That cannot be done to tasks in the state.

        """
        return await self._steering.selection(command, progress)

    # -- queues, types, servers ---------------------------------------------------------------------------------------

    async def queue_stats(self, queues: Sequence[str] | None = None) -> builtins.list[QueueInfo]:
        """Return the state of some queues, or of all. Raises `QueueNotFound`."""
        for queue in queues or ():
            check_queue(queue)
        return await self._inspector.queue_infos(queues)

    async def groups(self, queue: str) -> builtins.list[GroupInfo]:
        """Return the groups of a queue with their sizes. Raises `QueueNotFound`."""
        check_queue(queue)
        return await self._inspector.groups(queue)

    async def history(self, queue: str, days: int = 30) -> builtins.list[DailyStats]:
        """Return what a queue did on each of the last days, today first. Raises `QueueNotFound`, or `InvalidOption`."""
        return await self._inspector.history(queue, days)

    async def memory(self, queue: str, samples: int = 20) -> int:
        """Return about how many bytes of Redis memory a queue takes. Raises `QueueNotFound`, or `InvalidOption`."""
        return await self._inspector.memory(queue, samples)

    async def remove_queue(self, command: RemoveQueue, progress: Progress | None = None) -> int:
        """Remove a queue with all its keys; return how many tasks were in it.

        Raises:
            QueueNotFound: There is no such queue.
            QueueNotEmpty: It holds tasks, and it is not forced.
            QueueActive: Tasks of it are running.

        """
        return await self._inspector.remove_queue(command.queue, force=command.force, progress=progress)

    async def pause(self, queue: str) -> None:
        """Stop workers from taking tasks of a queue; what runs goes on. Raises `QueueNotFound`."""
        check_queue(queue)
        await self._inspector.pause(queue)

    async def resume(self, queue: str) -> None:
        """Let workers take tasks of a queue again. Raises `QueueNotFound`."""
        check_queue(queue)
        await self._inspector.resume(queue)

    async def types(self) -> builtins.list[CatalogEntry]:
        """Return the task types that workers have published, with their versions and who serves them now."""
        return await self._catalog.with_servers()

    async def type(self, name: str) -> CatalogEntry:
        """Return a task type by its name: the type itself, or the prefix of types, with its `*` or without.

        Raises:
            TaskTypeNotFound: No worker has published it.

        """
        entries = await self.types()
        for entry in entries:
            if name in {entry.current.name, entry.current.type}:
                return entry
        raise TaskTypeNotFound(name, close=close_types(name, [entry.current.name for entry in entries]))

    async def type_stats(self, days: int = 1) -> dict[str, TypeStats]:
        """Return how attempts at each type ended and how long they took, today and on the days before; up to 8 in all."""
        return await TypeTallies(self._client.broker).days(days)

    async def servers(self) -> builtins.list[ServerInfo]:
        """Return the worker servers that are alive, with what each runs now."""
        return await self._inspector.servers()

    async def stalls(self, server_ids: Iterable[str]) -> dict[str, Stall]:
        """Return those of the servers whose event loop was blocked in the last ten minutes."""
        return await ServerRecords(self._client.broker).stalls(server_ids)

    # -- the system at a glance ---------------------------------------------------------------------------------------

    async def overview(self) -> Overview:
        """Return all queues with what they hold and do, and the worker servers."""
        return await read_overview(self._inspector, self._client.broker.clock.now())

    async def samples(self, queue: str | None, span: str) -> Series:
        """Return how a queue, or all together, stood over the last `1h`, `24h` or `30d`.

        Raises:
            QueueNotFound: There is no such queue.
            InvalidOption: There are no samples of such a span.

        """
        if queue is None:
            return await self._inspector.total_samples(span)
        return (await self._inspector.samples([queue], span))[queue]

    async def findings(self, overview: Overview | None = None) -> builtins.list[Finding]:
        """Return what needs attention, the worst first; `overview` is one that was read just now, if there is one."""
        overview, redis = overview or await self.overview(), await self.redis_info()
        stalls = await self.stalls(server.id for server in overview.servers)
        return sorted_findings(
            [
                *queue_findings(overview),
                *type_findings(await TypeTallies(self._client.broker).lately()),
                *server_findings(overview.servers, stalls),
                *schedule_findings(await self.schedules.list(), await self.schedules.pulse()),
                *redis_findings(redis),
            ]
        )

    async def redis_info(self) -> RedisInfo:
        """Return what the Redis servers say of themselves."""
        return await read_redis_info(self._client.broker)

    async def keep_sampling(self) -> None:
        """Sample the queues for the charts, until cancelled: where no TaskFlow worker runs, nobody else does."""
        await Sampler(self._client.broker).run()
