"""Aggregator: closes the groups that are due, and lets the user's function make one task of each.

Until that task is stored, in one script that removes the members, they are safe: if the function fails they go back into
their group at once, if the worker dies when the set's deadline has passed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from contextlib import suppress

import msgspec
import structlog

from taskflow.broker.clock import Clock
from taskflow.broker.groups import Aggregation, ClosedSet, GroupPolicy, Groups, Member
from taskflow.broker.placement import Placement
from taskflow.broker.placing import place
from taskflow.errors import AggregateFailed, BrokerUnavailable, InvalidOption, TaskFlowError
from taskflow.task import Task, TaskOptions, check_task_id
from taskflow.wire.callback import own_headers
from taskflow.worker import loops
from taskflow.worker.aggregates import Aggregate, Aggregates
from taskflow.worker.callbacks import Callbacks

_LOG = structlog.get_logger("taskflow.worker")

AT_ONCE = 8
"""How many groups are aggregated at once."""
IDLE_CHECK = 1.0
BUSY_CHECK = 0.25
"""How often (s) to look at the groups while there are none, and while some fill; at most half of the grace period."""
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""How long (s) a group whose function failed is left alone; doubled each time."""
_REPEAT = 0.5
"""How long (s) to wait before Redis is asked again to take an aggregate task."""


class Aggregator:
    """Aggregates the groups of a worker's queues.

    Args:
        groups: Where they are.
        aggregates: The user's functions; groups that none serves are left alone.
        queues: Names of the queues; read anew for each look at the groups.
        policy: When a group is due.
        clock: The one clock.

    """

    def __init__(
        self, groups: Groups, aggregates: Aggregates, queues: Collection[str], policy: GroupPolicy, *, clock: Clock
    ) -> None:
        self._groups = groups
        self._aggregates = aggregates
        self._queues = queues
        self._policy = policy
        self._clock = clock
        self._running: set[asyncio.Task[None]] = set()
        self._failures: dict[tuple[str, bytes], tuple[int, float]] = {}
        self._wake = asyncio.Event()
        self._stopping = False
        self._pause = 0.0
        self._full = False
        self._callbacks = Callbacks(AT_ONCE, "aggregate")

    # -- the loop -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look at the groups again and again. An outage is waited out; a bug is raised."""
        try:
            while True:
                await self._check_unless_down()
                self._wake.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._pause):
                        await self._wake.wait()
                self._raise_bugs()
        finally:
            await self.close()

    async def _check_unless_down(self) -> None:
        try:
            await self.check()
        except BrokerUnavailable:
            self._pause = IDLE_CHECK
        except TaskFlowError:
            self._pause = IDLE_CHECK
            _LOG.exception("Redis refused to close groups; is another kind of value under a queue's key?")

    def _raise_bugs(self) -> None:
        for task in [task for task in self._running if task.done()]:
            self._running.discard(task)
            task.result()

    async def check(self) -> int:
        """Close the groups that are due and start to aggregate them, as many as there is room for; return how many."""
        if self._stopping:
            return 0
        started = time.monotonic()
        queues = list(self._queues)
        names = await self._groups.names(queues)
        count = 0
        for queue in queues:
            candidates = [name for name in names[queue] if self._ready(queue, name)]
            free = AT_ONCE - len(self._running)
            if candidates and free > 0:
                closed = await self._groups.close(queue, self._policy, candidates, most=free)
                count += len(closed)
                for one in closed:
                    self._start(one)
        self._full = len(self._running) >= AT_ONCE
        often = BUSY_CHECK if any(names.values()) else IDLE_CHECK
        self._pause = max(min(often, self._policy.grace / 2), time.monotonic() - started)
        return count

    def _ready(self, queue: str, name: bytes) -> bool:
        """Whether a group has a function, and has not failed lately."""
        _, until = self._failures.get((queue, name), (0, 0.0))
        return until <= time.monotonic() and self._find(queue, name) is not None

    def _find(self, queue: str, name: bytes) -> Aggregate | None:
        return self._aggregates.find(queue, name.decode(errors="replace"))

    def _start(self, closed: ClosedSet) -> None:
        task = asyncio.create_task(self._work(closed), name=f"aggregate {closed.group}")
        self._running.add(task)
        task.add_done_callback(self._on_end)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:
            self._running.discard(task)
        if self._full or task in self._running:
            self._wake.set()

    def stop(self) -> None:
        """Close no more groups."""
        self._stopping = True

    async def drain(self) -> None:
        """Wait until nothing is being aggregated."""
        while self._running:
            await asyncio.wait(list(self._running))
            self._raise_bugs()

    async def close(self) -> None:
        """Stop what is under way; its tasks go back into their groups."""
        self.stop()
        await loops.cancel_all(self._running)
        self._callbacks.close()

    @property
    def left_behind(self) -> int:
        """How many threads run a function whose end nobody waits for: nothing can stop them."""
        return self._callbacks.left_behind

    # -- one set ------------------------------------------------------------------------------------------------------

    async def _work(self, closed: ClosedSet) -> None:
        """Aggregate a set, and whatever of its group is due then: a group may hold more than a set takes."""
        queue, name = closed.queue, closed.name
        waiting = [closed]
        while waiting:
            await self._aggregate(waiting.pop())
            if not self._stopping and self._ready(queue, name):
                with suppress(TaskFlowError):
                    waiting += await self._groups.close(queue, self._policy, [name], most=1)

    async def _aggregate(self, closed: ClosedSet) -> None:
        try:
            await self._carry_out(closed)
        except asyncio.CancelledError:
            with suppress(TaskFlowError):
                await self._groups.reopen(closed)
            raise
        except BrokerUnavailable as error:
            self._note_failure(closed)
            _LOG.warning(
                "a group waits for Redis; its set is put back later",
                queue=closed.queue,
                group=closed.group,
                error=str(error),
            )
        except TaskFlowError as error:
            pause = self._note_failure(closed)
            _LOG.error(
                "a group was not aggregated; its tasks go back into it",
                queue=closed.queue,
                group=closed.group,
                tasks=closed.size,
                again_in_seconds=pause,
                error=str(error),
                exc_info=error.__cause__,
            )
            with suppress(TaskFlowError):
                await self._groups.reopen(closed)

    def _note_failure(self, closed: ClosedSet) -> float:
        """Leave a group alone for a while; return for how long (s)."""
        now = time.monotonic()
        self._failures = {key: one for key, one in self._failures.items() if now < one[1] + 2 * LONGEST_PAUSE}
        times, _ = self._failures.get((closed.queue, closed.name), (0, 0.0))
        pause = min(FIRST_PAUSE * 2.0**times, LONGEST_PAUSE)
        self._failures[closed.queue, closed.name] = (min(times + 1, 60), now + pause)
        return pause

    async def _carry_out(self, closed: ClosedSet) -> None:
        aggregate = self._find(closed.queue, closed.name)
        members = await self._groups.members(closed)
        if members is None or aggregate is None:
            return
        good = await self._sorted_out(closed, members)
        if not good:
            await self._groups.reopen(closed)
            return
        task = await self._call(aggregate, closed, good)
        if task is None:
            _LOG.warning(
                "a set was lost while its function ran; nothing is written", queue=closed.queue, group=closed.group
            )
            return
        answer = await self._settle(closed, self._placement(closed, task))
        if answer in {Aggregation.ID_TAKEN, Aggregation.LOCKED}:
            raise AggregateFailed(closed.group, _REASONS[answer])
        if answer is Aggregation.CHANGED:
            await self._groups.reopen(closed)
        if answer.done:
            self._failures.pop((closed.queue, closed.name), None)
            _LOG.info("aggregated a group", queue=closed.queue, group=closed.group, tasks=len(good), type=task.type)

    async def _sorted_out(self, closed: ClosedSet, members: Sequence[Member]) -> list[Task]:
        """Return the members as tasks; those that cannot be aggregated are archived, or dropped if they have no hash."""
        bad = [member for member in members if member.message is None]
        if bad:
            taken = await self._groups.reject(closed, bad)
            for member in bad[: max(0, taken)]:
                _LOG.error(
                    "a task of a group cannot be aggregated", queue=closed.queue, group=closed.group, task_id=member.id
                )
        return [_task(closed, member) for member in members if member.message is not None]

    async def _call(self, aggregate: Aggregate, closed: ClosedSet, tasks: list[Task]) -> Task | None:
        """Return what the user's function makes of the tasks; None if the set is lost meanwhile.

        Raises:
            AggregateFailed: It raises, or returns what is no task.

        """
        call = asyncio.create_task(self._function(aggregate, closed.group, tasks))
        try:
            while not (await asyncio.wait([call], timeout=self._groups.set_seconds / 3))[0]:
                if not await self._kept(closed):
                    return None
            if call.cancelled():
                raise AggregateFailed(closed.group, "the function was cancelled")
            return call.result()
        finally:
            await loops.cancel_all([call])

    async def _kept(self, closed: ClosedSet) -> bool:
        """Move the set's deadline; whether the set is still ours, as far as is known."""
        try:
            return await self._groups.extend(closed)
        except BrokerUnavailable:
            return self._clock.now() < closed.deadline

    async def _function(self, aggregate: Aggregate, group: str, tasks: list[Task]) -> Task:
        try:
            made = await self._callbacks.call(aggregate.function, group, tasks)
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # it must not end the worker
            raise AggregateFailed(group, f"the function raised {type(error).__name__}: {error}") from error
        if not isinstance(made, Task):
            raise AggregateFailed(group, f"the function must return a Task, not {type(made).__name__}")
        if made.options.group == group:
            raise AggregateFailed(group, "the aggregate task may not go back into the group it was made of")
        return made

    def _placement(self, closed: ClosedSet, task: Task) -> Placement:
        options = msgspec.structs.replace(task.options, queue=closed.queue)
        return place(Task(task.type, task.payload, options), now=self._clock.now())[0]

    async def _settle(self, closed: ClosedSet, task: Placement) -> Aggregation:
        """Store the aggregate task; while Redis does not answer, try again until the set's deadline has passed."""
        while True:
            try:
                return await self._groups.settle(closed, task)
            except BrokerUnavailable:
                if self._clock.now() >= closed.deadline:
                    raise
            await asyncio.sleep(_REPEAT)


_REASONS = {
    Aggregation.ID_TAKEN: "another task has the id of the aggregate task",
    Aggregation.LOCKED: "another task holds the unique lock of the aggregate task",
}


def _task(closed: ClosedSet, member: Member) -> Task:
    """Return a member as the user's function sees it: type, raw payload, headers, id, queue and group."""
    message = member.message
    assert message is not None  # noqa: S101 - the others were sorted out
    task_id: str | None = member.id
    try:
        check_task_id(task_id)
    except InvalidOption:
        task_id = None  # longer than ours may be: another program's
    options = TaskOptions(queue=closed.queue, task_id=task_id, group=closed.group, headers=own_headers(message))
    return Task(message.type, message.payload, options)
