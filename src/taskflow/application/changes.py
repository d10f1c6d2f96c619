"""Changes: what becomes different in the queues, for any number of viewers, found by one sampler that runs while anybody watches.

Nothing announces that a task is enqueued or taken: that would slow down every task. So samples are compared, once a second.
Which tasks have moved is seen in the first or newest `WINDOW` of each state; what happens between two samples is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import suppress
from typing import Any

from msgspec import Struct

from taskflow.broker.inspector import Inspector
from taskflow.broker.queue import Broker
from taskflow.broker.reading import LISTS, NEWEST_FIRST, STATES, key_of
from taskflow.errors import InvalidOption, QueueNotFound, TaskFlowError
from taskflow.task import QueueInfo, TaskState, check_queue
from taskflow.wire.keys import QueueKeys, queue_keys

SAMPLE_SECONDS = 1.0
"""How often the queues are looked at while anybody watches."""
WINDOW = 100
"""How many tasks of each state are looked at in a queue whose tasks somebody watches."""
_ORDER = (
    TaskState.PENDING,
    TaskState.SCHEDULED,
    TaskState.RETRY,
    TaskState.ACTIVE,
    TaskState.ARCHIVED,
    TaskState.COMPLETED,
)
"""A task that moves on while the states are read in this order counts with the later one."""

States = Mapping[str, TaskState | None]
"""Ids of tasks with their states; None if a task that was there is not any more."""


class TaskMoved(Struct, frozen=True):
    """A task that has another state than before: `state` is None if it is gone, `previous` if it was not seen before."""

    queue: str
    task_id: str
    state: TaskState | None
    previous: TaskState | None


class Changes(Struct, frozen=True):
    """What is different from the sample before: queues with their state now, the names of removed ones, and tasks."""

    queues: list[QueueInfo]
    removed: list[str]
    tasks: list[TaskMoved]


class _Sample(Struct, frozen=True):
    """How all queues were, and where the tasks of those were whose tasks are watched."""

    infos: Mapping[str, QueueInfo]
    tasks: Mapping[str, States]


class QueueChanges:
    """Tells what becomes different in the queues.

    Args:
        broker: Where the queues are.
        inspector: Tells how they are.

    """

    def __init__(self, broker: Broker, inspector: Inspector) -> None:
        self._broker = broker
        self._inspector = inspector
        self._viewers: dict[asyncio.Event, str | None] = {}
        """What wakes each viewer, and the queue whose tasks it watches."""
        self._newest: _Sample | TaskFlowError | None = None
        self._left = asyncio.Event()
        self._sampler: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Stop looking."""
        if self._sampler is not None:
            self._sampler.cancel()
            with suppress(asyncio.CancelledError):
                await self._sampler
            self._sampler = None

    async def follow(self, queue: str | None = None, *, tasks: bool = False) -> AsyncGenerator[Changes, None]:
        """Return what becomes different, at most once a second; at first all queues as they are.

        A viewer that is slow is told less often, and then of all that is different since.

        Args:
            queue: Only this queue; default: all.
            tasks: Tell also which of its tasks have moved.

        Raises:
            QueueNotFound: There is no such queue.
            InvalidOption: Tasks are asked for, but no queue is named.

        """
        if queue is not None:
            check_queue(queue)
        elif tasks:
            raise InvalidOption("tasks", "name the queue whose tasks to follow")
        known = await self._inspector.queues()
        if queue is not None and queue not in known:
            raise QueueNotFound(queue)
        return self._changes(queue, tasks=tasks)

    async def _changes(self, queue: str | None, *, tasks: bool) -> AsyncGenerator[Changes, None]:
        woken = asyncio.Event()
        seen, first = _Sample({}, {}), True
        self._viewers[woken] = queue if tasks else None
        self._start()
        try:
            while True:
                woken.clear()
                newest = self._newest
                if isinstance(newest, TaskFlowError):
                    raise newest
                if newest is not None and newest is not seen:
                    changes = _compare(seen, newest, queue, tasks=tasks)
                    if first or changes.queues or changes.removed or changes.tasks:
                        yield changes
                    seen, first = newest, False
                else:
                    await woken.wait()
        finally:
            del self._viewers[woken]
            self._left.set()

    def _start(self) -> None:
        if self._sampler is None or self._sampler.done():
            self._newest = None
            self._sampler = asyncio.create_task(self._run(), name="taskflow queue sampler")

    async def _run(self) -> None:
        while self._viewers:
            try:
                self._newest = await self._look()
            except TaskFlowError as error:
                self._newest = error
            for viewer in self._viewers:
                viewer.set()
            if isinstance(self._newest, TaskFlowError):
                return
            await self._pause()

    async def _pause(self) -> None:
        """Wait for the time of the next sample; no longer than there are viewers."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SAMPLE_SECONDS):
                while self._viewers:
                    self._left.clear()
                    await self._left.wait()

    async def _look(self) -> _Sample:
        infos = {info.queue: info for info in await self._inspector.queue_infos()}
        watched = {queue for queue in self._viewers.values() if queue is not None}
        before = self._newest.tasks if isinstance(self._newest, _Sample) else {}
        return _Sample(infos, {queue: await self._tasks(queue, before.get(queue, {})) for queue in sorted(watched)})

    async def _tasks(self, queue: str, before: States) -> States:
        """Return where the tasks of a queue are; of those that have come out of sight, where they have gone."""
        keys = queue_keys(queue)
        found: dict[str, TaskState | None] = {}
        replies = await self._broker.execute(*(_command(keys, state) for state in _ORDER))
        for state, ids in zip(_ORDER, replies, strict=True):
            found |= dict.fromkeys((task_id.decode(errors="replace") for task_id in ids), state)
        lost = [task_id for task_id, state in before.items() if state is not None and task_id not in found]
        if lost:
            replies = await self._broker.execute(*(("HGET", keys.task_prefix + task_id, "state") for task_id in lost))
            for task_id, reply in zip(lost, replies, strict=True):
                state_now = STATES.get(reply)
                if state_now is not before[task_id]:
                    found[task_id] = state_now
        return found


def _command(keys: QueueKeys, state: TaskState) -> tuple[Any, ...]:
    """Return the command that reads the tasks of a state: the newest, of waiting ones the next to fall due."""
    command = "LRANGE" if state in LISTS else "ZREVRANGE" if state in NEWEST_FIRST else "ZRANGE"
    return (command, key_of(keys, state), 0, WINDOW - 1)


def _compare(old: _Sample, new: _Sample, queue: str | None, *, tasks: bool) -> Changes:
    names = new.infos if queue is None else new.infos.keys() & {queue}
    gone = old.infos.keys() - new.infos.keys()
    moved: list[TaskMoved] = []
    if queue is not None and tasks and queue in old.tasks:
        moved = list(_moved(queue, old.tasks[queue], new.tasks.get(queue, {})))
    return Changes(
        queues=[new.infos[name] for name in names if old.infos.get(name) != new.infos[name]],
        removed=sorted(gone if queue is None else gone & {queue}),
        tasks=moved,
    )


def _moved(queue: str, old: States, new: States) -> Iterator[TaskMoved]:
    for task_id, state in new.items():
        previous = old.get(task_id)
        if state is not previous:
            yield TaskMoved(queue, task_id, state, previous)
