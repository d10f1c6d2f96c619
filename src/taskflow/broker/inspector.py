"""Inspector: look into queues and steer tasks, as asynq's Inspector does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import UNSET

from taskflow.broker.figures import Figures
from taskflow.broker.groups import Groups
from taskflow.broker.queue import Broker
from taskflow.broker.reading import LISTS, NEWEST_FIRST, is_task, key_of, read_call, read_tasks, task_info
from taskflow.broker.removal import Removal
from taskflow.broker.sample_lists import Sample
from taskflow.broker.samples import Samples, Series
from taskflow.broker.servers import ServerRecords
from taskflow.broker.steering import ARCHIVE, CANCEL, DELETE, RUN, Order, Progress, Steering
from taskflow.errors import InvalidOption, QueueNotFound, TaskFlowError, TaskNotFound
from taskflow.task import (
    DailyStats,
    GroupInfo,
    QueueInfo,
    ServerInfo,
    TaskInfo,
    TaskOptions,
    TaskState,
    check_queue,
)
from taskflow.wire.keys import ALL_QUEUES, QueueKeys, queue_keys
from taskflow.wire.payload import encode_payload

MAX_HISTORY_DAYS = 3660
MAX_SAMPLES = 1000


class Inspector:
    """Reads and steers what a broker's Redis server holds.

    Every method raises `BrokerUnavailable` if it does not answer, and `InvalidQueue` for a name that no queue can have.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._figures = Figures(broker)
        self._samples = Samples(broker)
        self._steering = Steering(broker)
        self._removal = Removal(broker)

    # -- queues -------------------------------------------------------------------------------------------------------

    async def queues(self) -> list[str]:
        """Return the names of all queues, sorted."""
        return sorted(name.decode(errors="replace") for name in await self._broker.queue_names())

    async def queue_infos(self, queues: Sequence[str] | None = None) -> list[QueueInfo]:
        """Return the state of some queues, or of all.

        Raises:
            QueueNotFound: One of the named queues does not exist.

        """
        if queues is None:
            return await self._figures.infos(await self.queues())
        await self._check_all_exist(queues)
        return await self._figures.infos(queues)

    async def history(self, queue: str, days: int = 30) -> list[DailyStats]:
        """Return what a queue did on each of the last days (UTC), today first; the counters are kept for 90 days.

        Raises:
            QueueNotFound: There is no such queue.
            InvalidOption: `days` is not from 1 to 3,660.

        """
        if not 1 <= days <= MAX_HISTORY_DAYS:
            raise InvalidOption("days", f"must be a number from 1 to {MAX_HISTORY_DAYS}, not {days}")
        await self._check_exists(queue)
        return await self._figures.history(queue, days)

    async def samples(self, queues: Sequence[str], span: str) -> dict[str, Series]:
        """Return how each queue stood over the last hour (`1h`), day (`24h`) or month (`30d`): rates, latency and backlog.

        Raises:
            QueueNotFound: One of the queues does not exist.
            InvalidOption: There are no samples of such a span.

        """
        await self._check_all_exist(queues)
        return await self._samples.read(queues, span)

    async def total_samples(self, span: str) -> Series:
        """Return how all queues stood over a span, together: rates and tasks added up. Raises `InvalidOption`."""
        return await self._samples.total(await self.queues(), span)

    async def recent_samples(self, queues: Sequence[str], seconds: int) -> dict[str, Sequence[Sample]]:
        """Return the samples of queues of the last seconds, up to an hour, and the one before; the newest last."""
        return await self._samples.recent(queues, seconds)

    async def memory(self, queue: str, samples: int = 20) -> int:
        """Return about how many bytes of Redis memory a queue takes: its lists and sets, its tasks and their locks.

        The tasks of each state are measured by `samples` of them, spread evenly, so it costs the same however many there
        are. It is right within a tenth where the tasks of a state are of similar size; where few are much larger than the
        others, more samples help. Progress and the daily counters are not in it.

        Raises:
            QueueNotFound: There is no such queue.
            InvalidOption: `samples` is not from 1 to 1,000.

        """
        if not 1 <= samples <= MAX_SAMPLES:
            raise InvalidOption("samples", f"must be a number from 1 to {MAX_SAMPLES}, not {samples}")
        await self._check_exists(queue)
        return await self._figures.memory(queue, samples)

    async def pause(self, queue: str) -> None:
        """Stop workers from taking tasks of a queue; what runs goes on. Raises `QueueNotFound`."""
        await self._check_exists(queue)
        await self._broker.execute(("SET", queue_keys(queue).paused, int(self._broker.clock.now()), "NX"))

    async def resume(self, queue: str) -> None:
        """Let workers take tasks of a queue again. Raises `QueueNotFound`."""
        await self._check_exists(queue)
        await self._broker.execute(("DEL", queue_keys(queue).paused))

    async def remove_queue(self, queue: str, *, force: bool = False, progress: Progress | None = None) -> int:
        """Remove a queue with all its keys; return how many tasks were in it.

        It is empty from one moment to the next; its tasks, with the locks they hold, are then deleted in chunks of 500, so
        that Redis is not held up. A removal that was cut off is finished by another. Tasks that are enqueued meanwhile, or
        later, make the queue anew. What expires by itself is left to do so: marks of periodic tasks (a day), unique locks
        of tasks that are gone (their time), a note for clients that think the queue known (a minute).

        Args:
            queue: The queue.
            force: Whether tasks in it, those that are kept after their end too, are deleted.
            progress: Told after each chunk how many tasks are deleted, and how many there were.

        Raises:
            QueueNotFound: There is no such queue.
            QueueNotEmpty: It holds tasks, and `force` is false.
            QueueActive: Tasks of it are running; not even force deletes those.

        """
        check_queue(queue)
        (info,) = await self.queue_infos([queue])
        return await self._removal.remove(info, force=force, progress=progress)

    async def groups(self, queue: str) -> list[GroupInfo]:
        """Return the groups of a queue with their sizes, by name. Raises `QueueNotFound`."""
        await self._check_exists(queue)
        return await Groups(self._broker).infos(queue)

    async def _check_all_exist(self, queues: Sequence[str]) -> None:
        known = await self.queues() if queues else []
        missing = [queue for queue in queues if queue not in known]
        if missing:
            raise QueueNotFound(missing[0])

    async def _check_exists(self, queue: str) -> None:
        check_queue(queue)
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
        self,
        queue: str,
        state: TaskState,
        *,
        page: int = 0,
        size: int = 20,
        group: str | None = None,
        most_bytes: int | None = None,
    ) -> list[TaskInfo]:
        """Return one page of a queue's tasks in a state.

        The next to run, to fall due or to end stands first; of ended tasks, the newest. `page` counts from 0. With `most_bytes`,
        what is longer of payloads and results is cut off: they can be large, and a page has many.

        Raises:
            QueueNotFound: There is no such queue.

        """
        await self._check_exists(queue)
        keys = queue_keys(queue)
        ids = await self._ids(keys, state, page * size, page * size + size - 1, group)
        if not ids:
            return []
        (replies,) = await self._broker.run([read_call(keys, ids, most_bytes)])
        found = read_tasks(queue, state, ids, replies, now=self._broker.clock.now())
        return [task for task in found if task is not None]

    async def _ids(self, keys: QueueKeys, state: TaskState, first: int, last: int, group: str | None) -> list[bytes]:
        key = key_of(keys, state, group)
        ids: list[bytes]
        if state in LISTS:
            (ids,) = await self._broker.execute(("LRANGE", key, -last - 1, -first - 1))
            return ids[::-1]
        command = "ZREVRANGE" if state in NEWEST_FIRST else "ZRANGE"
        (ids,) = await self._broker.execute((command, key, first, last))
        return ids

    # -- one task -----------------------------------------------------------------------------------------------------

    async def run(self, task_id: str, queue: str | None = None) -> TaskState:
        """Make a task pending, at the back of its queue; return the state it was in. Without a queue, every one is searched.

        Scheduled, retry, archived, completed and aggregating tasks can be run; one that was cancelled really runs again. Its
        message stays as it is: a task whose retries are used up is archived at its next failure, as in asynq.

        Raises:
            TaskNotFound: There is none.
            TaskPending: It is pending already.
            TaskActive: It is running.

        """
        return await self._one(RUN, task_id, queue)

    async def archive(self, task_id: str, queue: str | None = None) -> TaskState:
        """Give up a task that is not running, and free its unique lock; return the state it was in.

        Raises:
            TaskNotFound: There is none.
            TaskActive: It is running; cancel it.
            TaskFinished: It is archived already.

        """
        return await self._one(ARCHIVE, task_id, queue)

    async def delete(self, task_id: str, queue: str | None = None) -> TaskState:
        """Delete a task that is not running, and free its unique lock; return the state it was in.

        Raises:
            TaskNotFound: There is none.
            TaskActive: It is running; cancel it first.

        """
        return await self._one(DELETE, task_id, queue)

    async def cancel(self, task_id: str, queue: str | None = None) -> TaskState:
        """Stop a task for good; return the state it was in.

        A waiting task is archived at once. A running one is marked and its worker told: when its handler has ended, it
        is archived instead of tried again.

        Raises:
            TaskNotFound: There is none.
            TaskFinished: It is completed or archived.

        """
        return await self._one(CANCEL, task_id, queue)

    async def _one(self, order: Order, task_id: str, queue: str | None) -> TaskState:
        return await self._steering.one(order, task_id, await self._queue_of(task_id, queue))

    async def _queue_of(self, task_id: str, queue: str | None) -> str:
        return queue if queue is not None else (await self.task(task_id)).queue

    async def edit(
        self, task_id: str, queue: str | None = None, *, payload: Any = UNSET, process_at: datetime | None = None
    ) -> TaskInfo:
        """Change the payload, the due time, or both, of a scheduled or retry task; return what is then known of it.

        Nothing else of its message changes. A unique lock that it holds stays the one of the payload it was enqueued with,
        as in asynq; when the task is put off, the lock's end is put off by as much.

        Args:
            task_id: The task.
            queue: Its queue; None: every queue is searched.
            payload: As in `enqueue`: JSON made of any value, `bytes` as they are, None for an empty one.
            process_at: When it falls due; a time in the past means now.

        Raises:
            TaskNotFound: There is none.
            TaskNotScheduled: It is pending or aggregating, so somebody may take it at any moment.
            TaskActive, TaskFinished: It is running, or has ended.
            InvalidOption: Neither was given, or the value cannot be used.
            MessageInvalid: The payload is to be changed, and the task's message cannot be decoded.

        """
        if payload is UNSET and process_at is None:
            raise InvalidOption("payload", "give a payload, process_at, or both")
        due = TaskOptions(process_at=process_at).process_at
        name = await self._queue_of(task_id, queue)
        await self._steering.edit(
            task_id,
            name,
            payload=None if payload is UNSET else encode_payload(payload),
            due=None if due is None else round(due.timestamp(), 6),
        )
        return await self.task(task_id, name)

    # -- many tasks ---------------------------------------------------------------------------------------------------

    async def run_many(
        self, ids: Sequence[str], queue: str, *, state: TaskState | None = None
    ) -> list[TaskState | TaskFlowError]:
        """Run tasks; return for each, in order, what `run` returns or the error it would raise. 500 go in a round trip.

        Args:
            ids: The tasks.
            queue: Their queue.
            state: Only those in this state: to look for tasks and to steer them are two steps. Others are not found.

        Raises:
            InvalidTaskState: Tasks in the state cannot be run.

        """
        return await self._steering.many(RUN, ids, queue, state)

    async def archive_many(
        self, ids: Sequence[str], queue: str, *, state: TaskState | None = None
    ) -> list[TaskState | TaskFlowError]:
        """Give up tasks; return for each, in order, what `archive` returns or the error it would raise; see `run_many`."""
        return await self._steering.many(ARCHIVE, ids, queue, state)

    async def delete_many(
        self, ids: Sequence[str], queue: str, *, state: TaskState | None = None
    ) -> list[TaskState | TaskFlowError]:
        """Delete tasks; return for each, in order, what `delete` returns or the error it would raise; see `run_many`."""
        return await self._steering.many(DELETE, ids, queue, state)

    async def cancel_many(
        self, ids: Sequence[str], queue: str, *, state: TaskState | None = None
    ) -> list[TaskState | TaskFlowError]:
        """Stop tasks for good; return for each, in order, what `cancel` returns or the error it would raise; see `run_many`."""
        return await self._steering.many(CANCEL, ids, queue, state)

    async def run_all(
        self, queue: str, state: TaskState, *, group: str | None = None, progress: Progress | None = None
    ) -> int:
        """Run all tasks of a state, in chunks of 500, the next to fall due or the oldest first; return how many.

        It handles at most as many as there were when it began, so new tasks cannot keep it going for ever. It can be
        stopped between two chunks by cancelling it.

        Args:
            queue: The queue.
            state: The state.
            group: Only this group, for aggregating tasks; None: all groups. Members that are being aggregated are left alone.
            progress: Told after each chunk how many tasks are done, and how many there were.

        Raises:
            QueueNotFound: There is no such queue.
            InvalidTaskState: Tasks in this state cannot be run.
            InvalidOption: A group is named, and the state is not aggregating.

        """
        return await self._all(RUN, queue, state, group, progress)

    async def archive_all(
        self, queue: str, state: TaskState, *, group: str | None = None, progress: Progress | None = None
    ) -> int:
        """Give up all tasks of a state; see `run_all`. Workers keep the newest 10,000 archived tasks of a queue."""
        return await self._all(ARCHIVE, queue, state, group, progress)

    async def delete_all(
        self, queue: str, state: TaskState, *, group: str | None = None, progress: Progress | None = None
    ) -> int:
        """Delete all tasks of a state; see `run_all`. Ids that no task belongs to leave the state's list too."""
        return await self._all(DELETE, queue, state, group, progress)

    async def cancel_all(
        self, queue: str, state: TaskState, *, group: str | None = None, progress: Progress | None = None
    ) -> int:
        """Stop all tasks of a state for good, as `cancel` does; see `run_all`."""
        return await self._all(CANCEL, queue, state, group, progress)

    async def _all(
        self, order: Order, queue: str, state: TaskState, group: str | None, progress: Progress | None
    ) -> int:
        await self._check_exists(queue)
        return await self._steering.all(order, queue, state, group=group, progress=progress)

    # -- servers ------------------------------------------------------------------------------------------------------

    async def servers(self) -> list[ServerInfo]:
        """Return the worker servers that are alive, Go's too, with what each runs now."""
        return await ServerRecords(self._broker).infos()
