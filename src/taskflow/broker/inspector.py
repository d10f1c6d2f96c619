"""Inspector: look into queues and steer single tasks, as asynq's Inspector does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from taskflow.broker.groups import Groups
from taskflow.broker.queue import Broker
from taskflow.broker.reading import is_task, read_call, task_info, whole
from taskflow.broker.scripts import Call, Script
from taskflow.errors import MessageInvalid, QueueNotFound, TaskActive, TaskFinished, TaskNotFound
from taskflow.task import GroupInfo, QueueInfo, ServerInfo, TaskInfo, TaskState, check_queue
from taskflow.wire import message as wire
from taskflow.wire.keys import (
    ALL_QUEUES,
    ALL_SERVERS,
    ALL_WORKERS,
    CANCEL_CHANNEL,
    ENDED_CHANNEL,
    QueueKeys,
    day_name,
    queue_keys,
)

STATS, DELETE, CANCEL = map(Script, ("stats", "delete", "cancel"))
_LISTS = {TaskState.PENDING, TaskState.ACTIVE}
_NEWEST_FIRST = {TaskState.ARCHIVED, TaskState.COMPLETED}
CANCELLED = "task cancelled"
"""The error text of a cancelled task."""


class Inspector:
    """Reads and steers what a broker's Redis server holds. Every method raises `BrokerUnavailable` if it does not answer."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    # -- queues -------------------------------------------------------------------------------------------------------

    async def queues(self) -> list[str]:
        """Return the names of all queues, sorted."""
        (names,) = await self._broker.execute(("SMEMBERS", ALL_QUEUES))
        return sorted(name.decode(errors="replace") for name in names)

    async def queue_infos(self, queues: Sequence[str] | None = None) -> list[QueueInfo]:
        """Return the state of some queues, or of all.

        Raises:
            QueueNotFound: One of the named queues does not exist.

        """
        known = await self.queues()
        missing = [queue for queue in queues or () if queue not in known]
        if missing:
            raise QueueNotFound(missing[0])
        names = known if queues is None else list(queues)
        day = day_name(self._broker.clock.now())
        replies = await self._broker.run([_stats_call(queue_keys(name), day) for name in names]) if names else []
        return [self._queue_info(name, reply) for name, reply in zip(names, replies, strict=True)]

    def _queue_info(self, queue: str, reply: list[Any]) -> QueueInfo:
        pending, active, scheduled, retry, archived, completed, aggregating, groups, paused = reply[:9]
        processed, failed, processed_total, failed_total, oldest = map(whole, reply[9:])
        age_ns = max(0, self._broker.clock.now_ns() - oldest) if oldest else 0
        return QueueInfo(
            queue=queue,
            pending=pending,
            active=active,
            scheduled=scheduled,
            retry=retry,
            archived=archived,
            completed=completed,
            aggregating=aggregating,
            groups=groups,
            processed=processed,
            failed=failed,
            processed_total=processed_total,
            failed_total=failed_total,
            paused=bool(paused),
            latency=timedelta(microseconds=age_ns // 1000),
        )

    async def pause(self, queue: str) -> None:
        """Stop workers from taking tasks of a queue; what runs goes on. Raises `QueueNotFound`."""
        await self._check_exists(queue)
        await self._broker.execute(("SET", queue_keys(queue).paused, int(self._broker.clock.now()), "NX"))

    async def resume(self, queue: str) -> None:
        """Let workers take tasks of a queue again. Raises `QueueNotFound`."""
        await self._check_exists(queue)
        await self._broker.execute(("DEL", queue_keys(queue).paused))

    async def groups(self, queue: str) -> list[GroupInfo]:
        """Return the groups of a queue with their sizes, by name. Raises `QueueNotFound`."""
        await self._check_exists(queue)
        return await Groups(self._broker).infos(queue)

    async def _check_exists(self, queue: str) -> None:
        if not (await self._broker.execute(("SISMEMBER", ALL_QUEUES, queue)))[0]:
            raise QueueNotFound(queue)

    # -- tasks --------------------------------------------------------------------------------------------------------

    async def task(self, task_id: str, queue: str | None = None) -> TaskInfo:
        """Return what is known of a task; without a queue, every queue is searched.

        Raises:
            TaskNotFound: There is none.

        """
        if queue is not None:
            check_queue(queue)
        names = [queue] if queue is not None else await self.queues()
        replies = await self._broker.run([read_call(queue_keys(name), [task_id.encode()]) for name in names])
        for name, (reply,) in zip(names, replies, strict=True):
            if is_task(reply):
                return task_info(name, task_id, reply, now=self._broker.clock.now())
        raise TaskNotFound(task_id, queue)

    async def tasks(
        self, queue: str, state: TaskState, *, page: int = 0, size: int = 20, group: str | None = None
    ) -> list[TaskInfo]:
        """Return one page of a queue's tasks in a state.

        The next to run, to fall due or to end stands first; of ended tasks, the newest. `page` counts from 0.

        Raises:
            QueueNotFound: There is no such queue.

        """
        await self._check_exists(queue)
        keys = queue_keys(queue)
        ids = await self._ids(keys, state, page * size, page * size + size - 1, group)
        if not ids:
            return []
        (replies,) = await self._broker.run([read_call(keys, ids)])
        now = self._broker.clock.now()
        found = [
            task_info(queue, task_id.decode(errors="replace"), reply, now=now)
            for task_id, reply in zip(ids, replies, strict=True)
            if is_task(reply)
        ]
        return [task for task in found if task.state is state]

    async def _ids(self, keys: QueueKeys, state: TaskState, first: int, last: int, group: str | None) -> list[bytes]:
        key = keys.group(group or "") if state is TaskState.AGGREGATING else _state_key(keys, state)
        ids: list[bytes]
        if state in _LISTS:
            (ids,) = await self._broker.execute(("LRANGE", key, -last - 1, -first - 1))
            return ids[::-1]
        command = "ZREVRANGE" if state in _NEWEST_FIRST else "ZRANGE"
        (ids,) = await self._broker.execute((command, key, first, last))
        return ids

    async def delete(self, task_id: str, queue: str) -> None:
        """Delete a task that is not running, and free its unique lock.

        Raises:
            TaskNotFound: There is none.
            TaskActive: It is running; cancel it first.

        """
        check_queue(queue)
        keys = queue_keys(queue)
        ((code,),) = await self._broker.run([Call(DELETE, (keys.lease,), [keys.prefix, keys.due, task_id])])
        if code == 0:
            raise TaskNotFound(task_id, queue)
        if code < 0:
            raise TaskActive(task_id, queue)

    async def cancel(self, task_id: str, queue: str | None = None) -> TaskState:
        """Stop a task for good; return the state it was in.

        A waiting task is archived at once. A running one is marked and its worker told: when its handler has ended, it
        is archived instead of tried again.

        Raises:
            TaskNotFound: There is none.
            TaskFinished: It is completed or archived.

        """
        while True:
            info = await self.task(task_id, queue)
            keys = queue_keys(info.queue)
            state = await self._cancel(keys, task_id)
            if state is None:
                raise TaskNotFound(task_id, queue)
            if state == "changed":
                continue
            if TaskState(state).finished:
                raise TaskFinished(task_id, info.queue, state)
            return TaskState(state)

    async def _cancel(self, keys: QueueKeys, task_id: str) -> str | None:
        now = self._broker.clock.now()
        data = (await self._broker.execute(("HGET", keys.task(task_id), "msg")))[0] or b""
        try:
            message = wire.decode(data)
        except MessageInvalid:
            message = wire.undecodable(task_id, keys.queue, data)
        archived = wire.failed(message, at=now, error=CANCELLED, count=False)
        args = [keys.prefix, keys.due, task_id, int(now), data, archived, ENDED_CHANNEL + task_id, CANCEL_CHANNEL]
        (state,) = await self._broker.run([Call(CANCEL, (keys.task(task_id), keys.archived), args)])
        return None if state is None else state.decode()

    # -- servers ------------------------------------------------------------------------------------------------------

    async def servers(self) -> list[ServerInfo]:
        """Return the worker servers that are alive, Go's too, with what each runs now."""
        now = int(self._broker.clock.now())
        (members,) = await self._broker.execute(("ZRANGEBYSCORE", ALL_SERVERS, now, "+inf"))
        workers = [member.replace(ALL_SERVERS.encode(), ALL_WORKERS.encode(), 1) for member in members]
        records = await self._broker.execute(*(("GET", member) for member in members))
        running = await self._broker.execute(*(("HVALS", key) for key in workers))
        return [
            wire.decode_server(record, tasks)
            for record, tasks in zip(records, running, strict=True)
            if record is not None
        ]


def _state_key(keys: QueueKeys, state: TaskState) -> str:
    return keys.prefix + state.value


def _stats_call(keys: QueueKeys, day: str) -> Call:
    states = (keys.pending, keys.active, keys.scheduled, keys.retry, keys.archived, keys.completed)
    counters = (keys.processed_on(day), keys.failed_on(day), keys.processed, keys.failed)
    return Call(STATS, (*states, keys.groups, keys.paused, *counters), [keys.task_prefix, keys.group_prefix])
