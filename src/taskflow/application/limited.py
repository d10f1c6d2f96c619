"""LimitedService: the use cases for whoever may see and touch only some of the queues."""

from __future__ import annotations

import builtins
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from msgspec import structs

from taskflow.application.changes import Changes, QueueChanges
from taskflow.application.commands import (
    ArchiveTask,
    CancelTask,
    CreateTask,
    DeleteTask,
    EditTask,
    RemoveQueue,
    RunTask,
    SteerMatching,
    SteerSelection,
    SteerTasks,
)
from taskflow.application.findings import Finding, queue_findings, sorted_findings
from taskflow.application.overview import Overview
from taskflow.application.progress import ProgressEvent, ProgressInfo, TaskProgress
from taskflow.application.queries import (
    GetTask,
    ListTasks,
    ScanTasks,
    Selection,
    SelectTasks,
    Steered,
    TaskChunk,
    TaskPage,
)
from taskflow.application.scanning import TaskScan
from taskflow.application.service import TaskService
from taskflow.broker.catalog import CatalogEntry
from taskflow.broker.inspector import Inspector
from taskflow.broker.progress import ProgressEntry
from taskflow.broker.queue import Broker
from taskflow.broker.redis_info import RedisInfo
from taskflow.broker.samples import Series
from taskflow.broker.steering import Progress
from taskflow.broker.type_stats import TypeStats
from taskflow.errors import Forbidden, TaskFlowError, TaskNotFound
from taskflow.task import DailyStats, GroupInfo, QueueInfo, Task, TaskInfo, TaskState, check_queue, check_task_id

Reaches = Callable[[str], bool]
"""Whether a queue is within the limits."""


class LimitedService(TaskService):
    """A service within limits: a queue beyond them that is named is refused, all else does as if there were none.

    Types are the same for all. What is about no queue, servers and schedules, is for the door to refuse.

    Args:
        service: The service without limits; its connections are used.
        reaches: The limits.

    Every method raises `Forbidden` for a named queue beyond them.

    """

    def __init__(self, service: TaskService, reaches: Reaches) -> None:
        # What is public is set below, or is not there: a new part of the service is closed until it knows limits.
        vars(self).update({name: value for name, value in vars(service).items() if name.startswith("_")})
        self._owns_client = False
        self._reaches = reaches
        self._inspector = _LimitedInspector(service._client.broker, reaches)  # noqa: SLF001 - its own class
        self.progress = _LimitedProgress(service.progress, self)
        self.scan = _LimitedScan(service.scan, self)
        self.changes = _LimitedChanges(service.changes, self)

    def reaches(self, queue: str) -> bool:
        """Whether a queue is within the limits."""
        return self._reaches(queue)

    def check(self, queue: str) -> None:
        """Refuse a queue beyond the limits. Raises `Forbidden`, or `InvalidQueue`."""
        check_queue(queue)
        if not self._reaches(queue):
            raise Forbidden(f"the key may not use the queue {queue!r}")

    async def _home(self, task_id: str, queue: str | None) -> str:
        """Return the queue of a task: the named one, or the one within the limits that it is in."""
        if queue is None:
            return (await self.get(GetTask(task_id))).queue
        self.check(queue)
        return queue

    async def _task(self, command: CreateTask) -> Task:
        task = await super()._task(command)
        self.check(task.options.queue)
        return task

    # -- tasks --------------------------------------------------------------------------------------------------------

    async def get(self, query: GetTask) -> TaskInfo:
        """Return what is known of a task."""
        if query.queue is not None:
            self.check(query.queue)
        return await super().get(query)

    async def list(self, query: ListTasks) -> TaskPage:
        """Return one page of a queue's tasks in a state."""
        self.check(self._default_queue if query.queue is None else query.queue)
        return await super().list(query)

    async def run(self, command: RunTask) -> TaskState:
        """Run a task now."""
        return await super().run(RunTask(command.task_id, await self._home(command.task_id, command.queue)))

    async def archive(self, command: ArchiveTask) -> TaskState:
        """Give up a task."""
        return await super().archive(ArchiveTask(command.task_id, await self._home(command.task_id, command.queue)))

    async def delete(self, command: DeleteTask) -> None:
        """Delete a task."""
        await super().delete(DeleteTask(command.task_id, await self._home(command.task_id, command.queue)))

    async def cancel(self, command: CancelTask) -> TaskState:
        """Stop a task for good."""
        return await super().cancel(CancelTask(command.task_id, await self._home(command.task_id, command.queue)))

    async def edit(self, command: EditTask) -> TaskInfo:
        """Change a waiting task."""
        home = await self._home(command.task_id, command.queue)
        return await super().edit(structs.replace(command, queue=home))

    async def steer(self, command: SteerTasks) -> builtins.list[TaskState | TaskFlowError]:
        """Do something to tasks."""
        if command.queue is not None:
            self.check(command.queue)
            return await super().steer(command)
        for task_id in command.task_ids:
            check_task_id(task_id)
        answers: builtins.list[TaskState | TaskFlowError] = []
        for task_id in command.task_ids:
            try:
                one = structs.replace(command, task_ids=(task_id,), queue=await self._home(task_id, None))
            except TaskNotFound as error:
                answers.append(error)
            else:
                answers += await super().steer(one)
        return answers

    async def select(self, query: SelectTasks, progress: Progress | None = None) -> Selection:
        """Return which tasks of a state fit."""
        self.check(self._default_queue if query.queue is None else query.queue)
        return await super().select(query, progress)

    async def steer_selection(self, command: SteerSelection, progress: Progress | None = None) -> int:
        """Do something to the tasks that were selected."""
        self.check(command.selection.queue)
        return await super().steer_selection(command, progress)

    # -- queues -------------------------------------------------------------------------------------------------------

    async def queue_stats(self, queues: Sequence[str] | None = None) -> builtins.list[QueueInfo]:
        """Return the state of some queues, or of all within the limits."""
        for queue in queues or ():
            self.check(queue)
        return [info for info in await super().queue_stats(queues) if self._reaches(info.queue)]

    async def groups(self, queue: str) -> builtins.list[GroupInfo]:
        """Return the groups of a queue."""
        self.check(queue)
        return await super().groups(queue)

    async def history(self, queue: str, days: int = 30) -> builtins.list[DailyStats]:
        """Return what a queue did by day."""
        self.check(queue)
        return await super().history(queue, days)

    async def memory(self, queue: str, samples: int = 20) -> int:
        """Return about how much memory a queue takes."""
        self.check(queue)
        return await super().memory(queue, samples)

    async def remove_queue(self, command: RemoveQueue, progress: Progress | None = None) -> int:
        """Remove a queue."""
        self.check(command.queue)
        return await super().remove_queue(command, progress)

    async def types(self) -> builtins.list[CatalogEntry]:
        """Return the task types: the same for all, but who serves them is no more to be seen than the servers themselves."""
        return [
            CatalogEntry(tuple(structs.replace(version, servers=()) for version in entry.versions))
            for entry in await super().types()
        ]

    async def pause(self, queue: str) -> None:
        """Pause a queue."""
        self.check(queue)
        await super().pause(queue)

    async def resume(self, queue: str) -> None:
        """Resume a queue."""
        self.check(queue)
        await super().resume(queue)

    # -- the system at a glance ---------------------------------------------------------------------------------------

    async def overview(self) -> Overview:
        """Return the queues within the limits; of servers only the ids of those that serve them."""
        return structs.replace(await super().overview(), servers=())

    async def samples(self, queue: str | None, span: str) -> Series:
        """Return how a queue, or all within the limits together, stood over a span."""
        if queue is not None:
            self.check(queue)
        return await super().samples(queue, span)

    async def type_stats(self, days: int = 1) -> dict[str, TypeStats]:  # noqa: ARG002 - as its parent's
        """Return nothing: attempts are counted by type, whatever their queue."""
        return {}

    async def findings(self, overview: Overview | None = None) -> builtins.list[Finding]:
        """Return what needs attention in the queues within the limits."""
        return sorted_findings(queue_findings(overview or await self.overview()))

    async def redis_info(self) -> RedisInfo:
        """Refuse: what holds the queues is no business of those who use some of them."""
        raise Forbidden("the key may not look at Redis, as it is for some queues only")


class _LimitedInspector(Inspector):
    """Searches only the queues within the limits for a task whose queue is not named."""

    def __init__(self, broker: Broker, reaches: Reaches) -> None:
        super().__init__(broker)
        self._reaches = reaches

    async def queues(self) -> list[str]:
        """Return the names of the queues within the limits, sorted."""
        return [queue for queue in await super().queues() if self._reaches(queue)]


class _LimitedScan(TaskScan):
    """Walks through the tasks of queues within the limits."""

    def __init__(self, scan: TaskScan, service: LimitedService) -> None:
        vars(self).update(vars(scan))
        self._check = service.check

    async def find(self, query: ScanTasks) -> TaskChunk:
        """Return the next tasks that fit."""
        self._check(self._default_queue if query.queue is None else query.queue)
        return await super().find(query)

    async def steer(self, command: SteerMatching, go_on: Callable[[], bool]) -> Steered:
        """Do something to all tasks that fit."""
        self._check(command.queue)
        return await super().steer(command, go_on)


class _LimitedChanges(QueueChanges):
    """Tells what becomes different in the queues within the limits; the sampler stays everybody's."""

    def __init__(self, changes: QueueChanges, service: LimitedService) -> None:
        self._shared = changes
        self._service = service

    async def follow(self, queue: str | None = None, *, tasks: bool = False) -> AsyncGenerator[Changes, None]:
        """Return what becomes different."""
        if queue is not None:
            self._service.check(queue)
        return self._within(await self._shared.follow(queue, tasks=tasks))

    async def _within(self, found: AsyncGenerator[Changes, None]) -> AsyncGenerator[Changes, None]:
        first = True
        async with aclosing(found):
            async for changes in found:
                queues = [info for info in changes.queues if self._service.reaches(info.queue)]
                removed = [name for name in changes.removed if self._service.reaches(name)]
                if first or queues or removed or changes.tasks:
                    yield Changes(queues, removed, changes.tasks)
                first = False


class _LimitedProgress(TaskProgress):
    """Reads the progress of tasks within the limits. Progress has no queue, so it is read while its task is there."""

    def __init__(self, progress: TaskProgress, service: LimitedService) -> None:
        vars(self).update(vars(progress))
        self._service = service

    async def _check(self, task_id: str, queue: str | None = None) -> str:
        return (await self._service.get(GetTask(task_id, queue))).queue

    async def latest(self, task_id: str, queue: str | None = None) -> ProgressEntry:
        """Return the newest entry."""
        return await super().latest(task_id, await self._check(task_id, queue))

    async def history(self, task_id: str, *, start: str | None = None) -> list[ProgressEntry]:
        """Return what is kept."""
        await self._check(task_id)
        return await super().history(task_id, start=start)

    async def info(self, task_id: str) -> ProgressInfo:
        """Return how much was published."""
        await self._check(task_id)
        return await super().info(task_id)

    async def has_told_all(self, task_id: str, stream_id: str) -> bool:
        """Whether an entry is the last of a task that has ended."""
        await self._check(task_id)
        return await super().has_told_all(task_id, stream_id)

    async def follow(
        self, task_id: str, *, queue: str | None = None, after: str | None = None, history: bool = False
    ) -> AsyncGenerator[ProgressEvent, None]:
        """Return the events of a task."""
        home = await self._check(task_id, queue)
        return await super().follow(task_id, queue=home, after=after, history=history)
