"""Client (asyncio) and SyncClient (blocking): task and options -> message -> queue.

Concurrent calls of one `Client` coalesce: whatever gathered while the last round trip was under way goes out with the
next, one script a queue.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

import msgspec
from msgspec import structs
from redis import RedisCluster

from taskflow.broker import connection, scripts
from taskflow.broker.clock import Clock
from taskflow.broker.coalescer import BATCH, PAUSE_BEFORE_REPEAT, Coalescer, all_sent
from taskflow.broker.inspector import Inspector
from taskflow.broker.known_queues import KnownQueues, queue_news
from taskflow.broker.placement import Placed, Placement, all_placed, enqueue_calls, read_placed
from taskflow.broker.placing import place
from taskflow.broker.queue import Broker
from taskflow.broker.reading import is_task, task_info
from taskflow.broker.subscriptions import Subscriptions
from taskflow.errors import BrokerUnavailable, DuplicateTask, ResultTimeout, TaskConflict, TaskFailed, TaskIdTaken
from taskflow.task import EnqueueOptions, Task, TaskInfo, TaskOptions, TaskState
from taskflow.wire.keys import ALL_QUEUES, ENDED_CHANNEL

_FALLBACK_CHECK = 1.0
"""How often (s) a waiting result is looked up without being called: a Go worker announces no end."""


def _answer(task: Task, info: TaskInfo, placed: Placed, *, repeated: bool, clock: Clock) -> TaskInfo | TaskConflict:
    if placed.stored and not _another_stored_it(task, placed, repeated=repeated):
        anew = placed.holder is None or placed.holder == info.id
        return info if anew else structs.replace(info, replaced=placed.holder)
    if placed.holder is not None:
        return _answer_despite_lock(info, placed, placed.holder, repeated=repeated, clock=clock)
    if repeated and task.options.task_id is None:
        return info  # the first try stored it under this random id; it has moved on since
    return TaskIdTaken(info.id, info.queue)


def _raised(answer: TaskInfo | TaskConflict) -> TaskInfo:
    if isinstance(answer, TaskConflict):
        raise answer
    return answer


def _answer_despite_lock(
    info: TaskInfo, placed: Placed, holder: str, *, repeated: bool, clock: Clock
) -> TaskInfo | TaskConflict:
    own = repeated and holder == info.id  # the first try stored it
    if placed.found is not None and is_task(placed.found):
        return structs.replace(task_info(info.queue, holder, placed.found, now=clock.now()), existing=not own)
    return info if own else DuplicateTask(info.id, info.queue, holder, state=placed.state)


def _another_stored_it(task: Task, placed: Placed, *, repeated: bool) -> bool:
    """Whether an earlier call stored this very message: it had the same id, type, payload and options as ours."""
    return placed.repeat and not repeated and task.options.task_id is not None


def as_task(task: str | Task, payload: Any, options: EnqueueOptions) -> Task:
    """Return the task that the arguments of `enqueue` describe."""
    if isinstance(task, Task):
        if payload is not None or options:
            raise TypeError("a Task carries its payload and options; give a type to set them here")
        return task
    return Task(task, payload, TaskOptions(**options)) if options else Task(task, payload)


class Client:
    """Enqueues tasks and waits for results, for asyncio programs.

    Args:
        redis: URL of the Redis server, or a `Broker` to share.

    """

    def __init__(self, redis: str | Broker) -> None:
        self.broker = redis if isinstance(redis, Broker) else Broker(redis)
        self._owns_broker = not isinstance(redis, Broker)
        self._coalescer = Coalescer(self.broker)
        self._inspector = Inspector(self.broker)
        self._subscriptions: Subscriptions | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._subscriptions is not None:
            await self._subscriptions.close()
        if self._owns_broker:
            await self.broker.close()

    async def enqueue(self, task: str | Task, payload: Any = None, **options: Unpack[EnqueueOptions]) -> TaskInfo:
        """Enqueue a task: a type with its payload and options (`TaskOptions` describes them), or a whole `Task`.

        Returns once Redis has stored it; an answer that was lost is asked for again, so the task is stored once. A `unique`
        lock may ask for the task that holds it (then that one is returned, with `existing`), or to take its place.

        Raises:
            InvalidOption: An option or the payload cannot be used; nothing was sent.
            TaskIdTaken: A task with the id exists.
            DuplicateTask: Another task holds the unique lock.
            BrokerUnavailable: Redis does not answer, or its memory is full.

        """
        described = as_task(task, payload, options)
        placement, info = place(described, now=self.broker.clock.now())
        placed, repeated = await self._coalescer.place(placement)
        return _raised(_answer(described, info, placed, repeated=repeated, clock=self.broker.clock))

    async def enqueue_once(self, task: Task, *, once: str) -> bool:
        """Enqueue a task unless one was enqueued under the same text, to the same queue, within a day; return whether it was.

        If an answer was lost and the task's id is the caller's own choice, another call with this id may be the one that did.

        Raises as `enqueue` does, and `DuplicateTask` instead of returning the task that holds the lock.
        """
        placement, info = place(task, now=self.broker.clock.now(), once=once)
        placed, repeated = await self._coalescer.place(placement)
        if placed.stored:
            return not placed.repeat or (repeated and not placed.marked)
        answer = _raised(_answer(task, info, placed, repeated=repeated, clock=self.broker.clock))
        if answer.existing:
            raise DuplicateTask(info.id, info.queue, answer.id)
        return True

    async def enqueue_as_before(self, task: Task, *, once: str) -> TaskInfo:
        """Enqueue a task as `enqueue` does, but of calls with the same text, queue and id, only one does it within a day.

        The others return it, as it was enqueued, with `existing`; one whose first answer was lost may return it without.
        """
        placement, info = place(task, now=self.broker.clock.now(), once=once)
        placed, repeated = await self._coalescer.place(placement)
        if placed.repeat and not repeated:
            return structs.replace(info, existing=True)
        return _raised(_answer(task, info, placed, repeated=repeated, clock=self.broker.clock))

    async def enqueue_many(self, tasks: Iterable[Task]) -> list[TaskInfo | TaskConflict]:
        """Enqueue tasks in batches; return for each, in order, what `enqueue` returns or the conflict it would raise.

        Raises:
            InvalidOption: A payload cannot be used; tasks of earlier batches (1,000 each) are stored.
            BrokerUnavailable: Redis does not answer; tasks of earlier batches are stored.

        """
        answers: list[TaskInfo | TaskConflict] = []
        waiting = list(tasks)
        for first in range(0, len(waiting), BATCH):
            batch = waiting[first : first + BATCH]
            now = self.broker.clock.now()
            described = [place(task, now=now) for task in batch]
            sent = all_sent(await self._coalescer.send([placement for placement, _ in described]))
            answers += [
                _answer(task, info, outcome, repeated=repeated, clock=self.broker.clock)
                for task, (_, info), (outcome, repeated) in zip(batch, described, sent, strict=True)
            ]
        return answers

    async def result(self, task: TaskInfo | str, *, queue: str | None = None, timeout: float | None = None) -> Any:
        """Wait until a task has ended and return its result, decoded from JSON (`bytes` if it is not JSON).

        The task must be kept after its end: give it a `retention`. `timeout` is in seconds, None waits for ever.

        Raises:
            TaskFailed: The task was archived: given up or cancelled.
            TaskNotFound: There is no such task (any more).
            ResultTimeout: It has not ended in time.

        """
        task_id, queue = (task.id, task.queue) if isinstance(task, TaskInfo) else (task, queue)
        info = await self.wait(task_id, queue=queue, timeout=timeout)
        return result_of(info)

    async def wait(self, task_id: str, *, queue: str | None = None, timeout: float | None = None) -> TaskInfo:
        """Wait until a task has ended and return what is known of it then. Raises as `result` does, but `TaskFailed`."""
        info = await self._inspector.task(task_id, queue)
        if info.state.finished:
            return info
        if self._subscriptions is None:
            self._subscriptions = Subscriptions(self.broker.url)
        until = time.monotonic() + timeout if timeout is not None else float("inf")
        async with self._subscriptions.listen(ENDED_CHANNEL + task_id) as listener:
            while True:
                info = await self._inspector.task(task_id, queue)
                left = until - time.monotonic()
                if info.state.finished:
                    return info
                if left <= 0:
                    raise ResultTimeout(task_id, info.state)
                await listener.wait(min(left, _FALLBACK_CHECK))


def result_of(info: TaskInfo) -> Any:
    """Return the result of a task that has ended. Raises `TaskFailed` if it was archived."""
    if info.state is TaskState.ARCHIVED:
        raise TaskFailed(info.id, info.last_error or "", cancelled=info.cancelled)
    return decode_result(info.result or b"")


def decode_result(result: bytes) -> Any:
    """Return the value of a result: decoded from JSON, `bytes` if it is not JSON, None if it is empty."""
    if not result:
        return None
    try:
        return msgspec.json.decode(result)
    except msgspec.MsgspecError:
        return result


class SyncClient:
    """Enqueues tasks from blocking programs: Django, Flask, a script. Threads may share it; a fork gets connections of its own.

    Args:
        redis_url: URL of the Redis server.

    """

    def __init__(self, redis_url: str) -> None:
        self._client = connection.connect_sync(redis_url)
        self._server: connection.Server | None = None
        self._clock = Clock()
        self._known_queues = KnownQueues()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def enqueue(self, task: str | Task, payload: Any = None, **options: Unpack[EnqueueOptions]) -> TaskInfo:
        """Enqueue a task; see `Client.enqueue`."""
        return _raised(self.enqueue_many([as_task(task, payload, options)])[0])

    def enqueue_many(self, tasks: Iterable[Task]) -> list[TaskInfo | TaskConflict]:
        """Enqueue tasks in batches; see `Client.enqueue_many`."""
        answers: list[TaskInfo | TaskConflict] = []
        waiting = list(tasks)
        for first in range(0, len(waiting), BATCH):
            batch = waiting[first : first + BATCH]
            self._open()
            now = self._clock.now()
            described = [place(task, now=now) for task in batch]
            placed, repeated = self._send([placement for placement, _ in described])
            answers += [
                _answer(task, info, outcome, repeated=repeated, clock=self._clock)
                for task, (_, info), outcome in zip(batch, described, placed, strict=True)
            ]
        return answers

    def _open(self) -> connection.Server:
        if self._server is None:
            (info,) = scripts.execute_sync(self._client, [("INFO",)])
            server = connection.read_server(info)
            asked_at = time.time()
            ((seconds, micros),) = scripts.execute_sync(self._client, [("TIME",)])
            self._clock.synchronise(int(seconds) + int(micros) / 1e6, asked_at=asked_at, answered_at=time.time())
            self._server = server
        return self._server

    def _send(self, placements: Sequence[Placement]) -> tuple[list[Placed], bool]:
        try:
            return self._place(placements), False
        except BrokerUnavailable:
            self._known_queues.forget()  # after a failover, what was written last may be gone
            time.sleep(PAUSE_BEFORE_REPEAT)
            return self._place(placements), True

    def _place(self, placements: Sequence[Placement]) -> list[Placed]:
        new = self._known_queues.unknown({placement.queue for placement in placements})
        if new:
            self._name_new(new)
        calls = enqueue_calls(placements, now_ns=self._clock.now_ns())
        flags = self._open().understands_flags
        replies = scripts.checked(scripts.run_sync(self._client, [call for call, _ in calls], flags=flags))
        if notes := self._known_queues.notes(calls, replies):
            self._name(notes)
            self._known_queues.heed(notes)
        return all_placed(read_placed(calls, replies, len(placements)))

    def _name_new(self, queues: Collection[str]) -> None:
        """Write the names of queues, as `Broker` does."""
        try:
            self._name(queues)
        except BrokerUnavailable:
            if not (isinstance(self._client, RedisCluster) and self._known_queues.had(queues)):
                raise
        else:
            self._known_queues.learn(queues)

    def _name(self, queues: Collection[str]) -> None:
        (added,) = scripts.execute_sync(self._client, [("SADD", ALL_QUEUES, *queues)])
        if added:
            scripts.execute_sync(self._client, queue_news(queues))
