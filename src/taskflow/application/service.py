"""TaskService: the use cases. It checks what is asked, carries it out, and says in TaskFlow's errors what went wrong."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Self

import msgspec

from taskflow.application.commands import CancelTask, CreateTask, DeleteTask
from taskflow.application.known_types import KnownType, KnownTypes, decode_payload
from taskflow.application.progress import TaskProgress
from taskflow.application.queries import MAX_PAGE_SIZE, GetTask, ListTasks, TaskPage
from taskflow.application.schedules import ScheduleService
from taskflow.broker.catalog import TaskCatalog, TaskType
from taskflow.broker.inspector import Inspector
from taskflow.broker.progress import ProgressStream
from taskflow.broker.subscriptions import Subscriptions
from taskflow.client import Client
from taskflow.config import Settings
from taskflow.errors import (
    BrokerUnavailable,
    InvalidOption,
    PayloadTooLarge,
    QueueNotFound,
    ResultTimeout,
    TaskFlowError,
)
from taskflow.task import (
    GroupInfo,
    QueueInfo,
    ServerInfo,
    Task,
    TaskInfo,
    TaskOptions,
    TaskState,
    check_queue,
    check_task_id,
    check_task_type,
)
from taskflow.unique import Unique
from taskflow.wire.keys import queue_keys
from taskflow.wire.payload import encode_payload
from taskflow.wire.unique import lock_key

SCAN_LIMIT = 10_000
"""How many tasks a search looks at."""
_BATCH = 1000
"""How many tasks of a batch are sent at a time; what the server refuses of one is not tried with the next."""
_MAX_PAGE = 1_000_000_000


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
        self._settings = settings
        self._payload_limit = int(settings.tasks.payload_limit)
        self._inspector = Inspector(broker)
        self._catalog = TaskCatalog(broker)
        self._known_types = KnownTypes(self._catalog, allowed=settings.api.allow_types)
        self._subscriptions = Subscriptions(broker.url)
        self.schedules = ScheduleService(client, settings=settings, make_task=self._task)
        self.progress = TaskProgress(ProgressStream(broker), self._inspector, self._subscriptions)

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
        await self._subscriptions.close()
        if self._owns_client:
            await self._client.close()

    async def ping(self) -> None:
        """Ask Redis for a sign of life."""
        await self._client.broker.synchronise()

    # -- create -------------------------------------------------------------------------------------------------------

    async def create(self, command: CreateTask) -> TaskInfo:
        """Create a task; return once Redis has stored it, or the task that is there (`existing`) if that is asked for.

        Raises:
            InvalidTaskType: The type is neither published by a worker nor allowed by the settings.
            InvalidPayload: The payload does not fit the type's schema, or is too large (`PayloadTooLarge`).
            InvalidOption: An option cannot be used.
            TaskConflict: The id or the unique lock is taken.

        """
        return await self._client.enqueue(await self._task(command))

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
            except InvalidOption as error:
                outcomes[position] = error
        for position, answer in zip(positions, await self._client.enqueue_many(tasks), strict=True):
            outcomes[position] = answer
        return [outcome for outcome in outcomes if outcome is not None]

    async def _task(self, command: CreateTask) -> Task:
        """Return the task that a command describes, checked, with its defaults."""
        check_task_type(command.type)
        known = await self._known_types.find(command.type)
        payload = self._payload(command.payload, known)
        options = self._options(command, known)
        if isinstance(options.unique, Unique):  # what is wrong with one task of a batch is said before any is sent
            lock_key(queue_keys(options.queue), command.type, payload, options.unique)
        return Task(command.type, payload, options)

    def _payload(self, payload: object, known: KnownType | None) -> bytes:
        """Return the bytes of a payload that fits its type; JSON text without the space between its tokens."""
        if isinstance(payload, msgspec.Raw):
            text = bytes(payload)
            if known is None or known.validator is None:
                decode_payload(text)
            data = msgspec.json.format(text, indent=-1)
        else:
            data = encode_payload(payload)
        if known is not None:
            known.check(data)
        if len(data) > self._payload_limit:
            raise PayloadTooLarge(len(data), self._payload_limit)
        return data

    def _options(self, command: CreateTask, known: KnownType | None) -> TaskOptions:
        defaults = self._settings.tasks
        queue, max_retries, timeout, unique = command.queue, command.max_retries, command.timeout, command.unique
        if known is not None:
            entry = known.entry
            queue = entry.queue if queue is None else queue
            max_retries = entry.max_retries if max_retries is None else max_retries
            unique = entry.unique if unique is None else unique
            if not timeout and entry.timeout_seconds:
                timeout = timedelta(seconds=entry.timeout_seconds)
        if not timeout and command.deadline is None:
            timeout = defaults.timeout
        return TaskOptions(
            queue=self._settings.queues.default if queue is None else queue,
            max_retries=defaults.max_retries if max_retries is None else max_retries,
            timeout=timeout,
            deadline=command.deadline,
            process_at=command.process_at,
            process_in=command.process_in,
            unique=unique,
            task_id=command.task_id,
            retention=defaults.retention if command.retention is None else command.retention,
            group=command.group,
            headers=command.metadata,
        )

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
        _check_page(query)
        queue = query.queue if query.queue is not None else self._settings.queues.default
        check_queue(queue)
        try:
            if query.type is not None or query.text is not None or query.state is TaskState.AGGREGATING:
                return await self._search(queue, query)
            (info,) = await self._inspector.queue_infos([queue])
            tasks = await self._inspector.tasks(queue, query.state, page=query.page, size=query.size)
            return TaskPage(tasks, getattr(info, query.state))
        except QueueNotFound:
            if query.queue is None:
                return TaskPage([], 0)
            raise

    async def _search(self, queue: str, query: ListTasks) -> TaskPage:
        fits = _filter(query)
        found: builtins.list[TaskInfo] = []
        for page in range(SCAN_LIMIT // MAX_PAGE_SIZE):
            tasks = await self._inspector.tasks(queue, query.state, page=page, size=MAX_PAGE_SIZE, group=query.group)
            if not tasks:
                break
            found += filter(fits, tasks)
        first = query.page * query.size
        return TaskPage(found[first : first + query.size], len(found))

    async def delete(self, command: DeleteTask) -> None:
        """Delete a task. Raises `TaskNotFound`, or `TaskActive` if it runs."""
        info = await self.get(GetTask(command.task_id, command.queue))
        await self._inspector.delete(info.id, info.queue)

    async def cancel(self, command: CancelTask) -> TaskState:
        """Stop a task for good; return the state it was in. Raises `TaskNotFound`, or `TaskFinished` if it has ended."""
        check_task_id(command.task_id)
        return await self._inspector.cancel(command.task_id, command.queue)

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

    async def pause(self, queue: str) -> None:
        """Stop workers from taking tasks of a queue; what runs goes on. Raises `QueueNotFound`."""
        check_queue(queue)
        await self._inspector.pause(queue)

    async def resume(self, queue: str) -> None:
        """Let workers take tasks of a queue again. Raises `QueueNotFound`."""
        check_queue(queue)
        await self._inspector.resume(queue)

    async def types(self) -> builtins.list[TaskType]:
        """Return the task types that workers have published."""
        return await self._catalog.types()

    async def servers(self) -> builtins.list[ServerInfo]:
        """Return the worker servers that are alive, with what each runs now."""
        return await self._inspector.servers()


def _check_page(query: ListTasks) -> None:
    if not 0 <= query.page <= _MAX_PAGE:
        raise InvalidOption("page", f"must be a number from 0 to {_MAX_PAGE}, not {query.page}")
    if not 1 <= query.size <= MAX_PAGE_SIZE:
        raise InvalidOption("size", f"must be a number from 1 to {MAX_PAGE_SIZE}, not {query.size}")
    if query.state is TaskState.AGGREGATING and query.group is None:
        raise InvalidOption("group", "name the group whose tasks are to be listed")


def _filter(query: ListTasks) -> Callable[[TaskInfo], bool]:
    wanted = query.text or ""

    def fits(task: TaskInfo) -> bool:
        if query.type is not None and task.type != query.type:
            return False
        return wanted in task.id or wanted in (task.last_error or "") or wanted.encode() in task.payload

    return fits
