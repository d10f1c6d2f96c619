"""Steering: run, archive, delete and cancel tasks, some by their ids or all of a state, in bounded chunks; edit one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from msgspec import Struct

from taskflow.broker.placement import CHUNK
from taskflow.broker.queue import Broker
from taskflow.broker.reading import LISTS, STATES, key_of
from taskflow.broker.scripts import Call, Script
from taskflow.errors import (
    InvalidOption,
    InvalidTaskState,
    MessageInvalid,
    TaskActive,
    TaskFinished,
    TaskFlowError,
    TaskNotFound,
    TaskNotScheduled,
    TaskPending,
)
from taskflow.task import TaskState, check_queue
from taskflow.wire import message as wire
from taskflow.wire.keys import CANCEL_CHANNEL, DUE_CHANNEL, ENDED_CHANNEL, QueueKeys, queue_keys

EDIT = Script("edit")

CANCELLED = "task cancelled"
"""The error text of a cancelled task."""
_CHUNK_OF_MESSAGES = 100
"""The most tasks whose messages are read and written again at a time: a message can be large."""

Progress = Callable[[int, int], None]
"""Told after each chunk: how many tasks are done, and how many there were in all."""


class Order(Struct, frozen=True):
    """Something that can be done to a task: its name as it is said of tasks, its script, and in which states it can be done."""

    name: str
    script: Script
    states: frozenset[TaskState]


RUN = Order("run", Script("run"), frozenset(TaskState) - {TaskState.PENDING, TaskState.ACTIVE})
ARCHIVE = Order("archived", Script("give_up"), frozenset(TaskState) - {TaskState.ACTIVE, TaskState.ARCHIVED})
DELETE = Order("deleted", Script("delete"), frozenset(TaskState) - {TaskState.ACTIVE})
CANCEL = Order("cancelled", Script("cancel"), frozenset(TaskState) - {TaskState.ARCHIVED, TaskState.COMPLETED})


class Steering:
    """Carries out orders on a broker's tasks. Every method raises `BrokerUnavailable` if Redis does not answer."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def one(self, order: Order, task_id: str, queue: str) -> TaskState:
        """Carry out an order on one task; return the state it was in, or raise the error that `many` returns."""
        (answer,) = await self.many(order, [task_id], queue)
        if isinstance(answer, TaskFlowError):
            raise answer
        return answer

    async def many(
        self, order: Order, ids: Sequence[str], queue: str, state: TaskState | None = None
    ) -> list[TaskState | TaskFlowError]:
        """Carry out an order on tasks; return for each, in order, the state it was in, or why it was left alone.

        With a state, only tasks in that one: another is not found. Raises `InvalidTaskState` as `all` does.
        """
        check_queue(queue)
        if state is not None:
            _check_state(order, state)
        states = order.states if state is None else frozenset({state})
        keys = queue_keys(queue)
        raw_ids = [task_id.encode(errors="surrogatepass") for task_id in ids]
        found: list[bytes | None] = []
        for first in range(0, len(ids), CHUNK):
            found += await self._act(order, keys, raw_ids[first : first + CHUNK], states)
        return [_answer(order, states, task_id, queue, one) for task_id, one in zip(ids, found, strict=True)]

    async def all(
        self, order: Order, queue: str, state: TaskState, *, group: str | None = None, progress: Progress | None = None
    ) -> int:
        """Carry out an order on all tasks of a state, the next to run or the oldest first; return on how many.

        At most as many as there were at the start, so that new ones cannot keep it going for ever.

        Raises:
            InvalidTaskState: The order cannot be carried out in that state.
            InvalidOption: A group is named, and the state is not aggregating.

        """
        _check_state(order, state)
        check_group(group, state)
        check_queue(queue)
        places = await self._places(queue_keys(queue), state, group)
        total = sum(size for _, size in places)
        done = 0
        for place, size in places:
            async for acted in self._sweep(order, queue_keys(queue), state, place, size):
                done += acted
                if progress is not None:
                    progress(done, total)
        return done

    async def _places(self, keys: QueueKeys, state: TaskState, group: str | None) -> list[tuple[str | bytes, int]]:
        """Return the lists or sets that hold the tasks of a state, with their sizes."""
        places: list[str | bytes]
        if state is TaskState.AGGREGATING and group is None:
            (names,) = await self._broker.execute(("SMEMBERS", keys.groups))
            places = [keys.group_prefix.encode() + name for name in sorted(names)]
        else:
            places = [key_of(keys, state, group)]
        command = "LLEN" if state in LISTS else "ZCARD"
        sizes: list[Any] = []
        for first in range(0, len(places), CHUNK):
            sizes += await self._broker.attempt(*((command, place) for place in places[first : first + CHUNK]))
        return [(place, size) for place, size in zip(places, sizes, strict=True) if isinstance(size, int) and size]

    async def _sweep(
        self, order: Order, keys: QueueKeys, state: TaskState, place: str | bytes, size: int
    ) -> AsyncIterator[int]:
        """Carry out an order on up to `size` tasks of a list or set; yield after each chunk on how many it was."""
        kept: set[bytes] = set()  # what still stands there: running tasks that were marked, and what was left alone
        while size > 0:
            most = min(CHUNK, size) + len(kept)
            ids = [task_id for task_id in await self._read(state, place, most) if task_id not in kept][:CHUNK]
            if not ids:
                return
            states = await self._act(order, keys, ids, {state}, place)
            acted = {task_id for task_id, found in zip(ids, states, strict=True) if found == state.value.encode()}
            kept.update(ids if state is TaskState.ACTIVE else set(ids) - acted)
            size -= len(ids)
            yield len(acted)

    async def _read(self, state: TaskState, place: str | bytes, count: int) -> list[bytes]:
        """Return the first ids of a list or set: the next to run, to fall due or to be forgotten."""
        ids: list[bytes]
        if state in LISTS:
            (ids,) = await self._broker.execute(("LRANGE", place, -count, -1))
            return ids[::-1]
        (ids,) = await self._broker.execute(("ZRANGE", place, 0, count - 1))
        return ids

    async def edit(self, task_id: str, queue: str, *, payload: bytes | None = None, due: float | None = None) -> None:
        """Change the payload or the due time (Unix s) of a scheduled or retry task; None: as it was.

        Raises:
            TaskNotFound: There is no such task.
            TaskActive, TaskFinished, TaskNotScheduled: It is in another state.
            MessageInvalid: The payload is to be changed, and its message cannot be decoded.

        """
        check_queue(queue)
        keys = queue_keys(queue)
        state: bytes | None = b"changed"
        while state == b"changed":
            (data,) = await self._broker.attempt(("HGET", keys.task(task_id), "msg"))
            if not isinstance(data, bytes):
                raise TaskNotFound(task_id, queue)
            written = data if payload is None else wire.with_payload(wire.decode(data), payload)
            args = [task_id, data, written, "" if due is None else repr(due), DUE_CHANNEL, queue]
            script_keys = (keys.task(task_id), keys.scheduled, keys.retry, keys.due)
            (state,) = await self._broker.run([Call(EDIT, script_keys, args)])
        current = _state(state)
        if current is None:
            raise TaskNotFound(task_id, queue)
        if current in {TaskState.PENDING, TaskState.AGGREGATING}:
            raise TaskNotScheduled(task_id, queue, current)
        if current not in {TaskState.SCHEDULED, TaskState.RETRY}:
            raise _refusal(task_id, queue, current)

    # -- one chunk ----------------------------------------------------------------------------------------------------

    async def _act(
        self,
        order: Order,
        keys: QueueKeys,
        ids: Sequence[bytes],
        states: frozenset[TaskState] | set[TaskState],
        place: str | bytes = "",
    ) -> list[bytes | None]:
        """Carry out an order on those tasks of a chunk that are in some states; return the state that each was in."""
        args: list[Any] = [keys.prefix, keys.due, f" {' '.join(sorted(states))} "]
        now_ns = self._broker.clock.now_ns()
        now = now_ns // 1_000_000_000
        if order is CANCEL:
            return await self._cancel(keys, ids, [*args, now, ENDED_CHANNEL, CANCEL_CHANNEL])
        if order is ARCHIVE:
            return await self._give_up(keys, ids, [*args, now, ENDED_CHANNEL])
        more = (now_ns,) if order is RUN else (place,)
        (found,) = await self._broker.run([Call(order.script, (keys.pending,), [*args, *more, *ids])])
        return list(found)

    async def _give_up(self, keys: QueueKeys, ids: Sequence[bytes], args: list[Any]) -> list[bytes | None]:
        script_keys = (keys.pending, keys.archived, keys.outbox)
        parts = (ids[first : first + _CHUNK_OF_MESSAGES] for first in range(0, len(ids), _CHUNK_OF_MESSAGES))
        replies = await self._broker.run([Call(ARCHIVE.script, script_keys, [*args, *part]) for part in parts])
        return [state for reply in replies for state in reply]

    async def _cancel(self, keys: QueueKeys, ids: Sequence[bytes], args: list[Any]) -> list[bytes | None]:
        found: list[bytes | None] = [b"changed"] * len(ids)
        while True:
            waiting = [i for i, state in enumerate(found) if state == b"changed"][:_CHUNK_OF_MESSAGES]
            if not waiting:
                return found
            for i, state in zip(waiting, await self._cancel_part(keys, [ids[i] for i in waiting], args), strict=True):
                found[i] = state

    async def _cancel_part(self, keys: QueueKeys, ids: Sequence[bytes], args: list[Any]) -> list[bytes | None]:
        now = self._broker.clock.now()
        prefix = keys.task_prefix.encode()
        messages = await self._broker.attempt(*(("HGET", prefix + task_id, "msg") for task_id in ids))
        tasks: list[bytes] = []
        for task_id, message in zip(ids, messages, strict=True):
            data = message if isinstance(message, bytes) else b""
            tasks += (task_id, data, _cancelled(keys.queue, task_id, data, now))
        (found,) = await self._broker.run(
            [Call(CANCEL.script, (keys.pending, keys.archived, keys.outbox), [*args, *tasks])]
        )
        return list(found)


def _cancelled(queue: str, task_id: bytes, data: bytes, now: float) -> bytes:
    """Return the message under which a cancelled task is archived."""
    try:
        message = wire.decode(data)
    except MessageInvalid:
        message = wire.undecodable(task_id.decode(errors="replace"), queue, data)
    return wire.failed(message, at=now, error=CANCELLED, count=False)


def check_group(group: str | None, state: TaskState) -> None:
    """Raise `InvalidOption` if a group is named for tasks that are in none."""
    if group is not None and state is not TaskState.AGGREGATING:
        raise InvalidOption("group", f"only aggregating tasks have one, not those that are {state}")


def _check_state(order: Order, state: TaskState) -> None:
    if state not in order.states:
        raise InvalidTaskState(f"tasks that are {state} cannot be {order.name}")


def _answer(
    order: Order, states: frozenset[TaskState], task_id: str, queue: str, found: bytes | None
) -> TaskState | TaskFlowError:
    """Return the state that a task was in, or why it was left alone."""
    state = _state(found)
    if state is not None and state in states:
        return state
    if state is None or state in order.states:
        return TaskNotFound(task_id, queue)
    return _refusal(task_id, queue, state)


def _refusal(task_id: str, queue: str, state: TaskState) -> TaskFlowError:
    if state is TaskState.ACTIVE:
        return TaskActive(task_id, queue)
    return TaskFinished(task_id, queue, state) if state.finished else TaskPending(task_id, queue)


def _state(found: bytes | None) -> TaskState | None:
    """Return the state that a script found; None for no task, and for one in a state that there is not."""
    return None if found is None else STATES.get(found)
