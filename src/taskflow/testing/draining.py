"""drain: run what waits in the queues until nothing is left, with a real worker in the test's event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from taskflow.app import TaskFlow
from taskflow.broker.delivery import Archive, Complete, Delivery, Done, Outcome, Retry
from taskflow.broker.inspector import Inspector
from taskflow.errors import AttemptError, HandlerSignal, InvalidOption, RevokeTask
from taskflow.task import QueueInfo, TaskState
from taskflow.testing.observer import Observer
from taskflow.testing.reading import reader, tasks_in
from taskflow.testing.wanted import report
from taskflow.testing.workers import CONCURRENCY, observed_worker, queues_of, worker_options

_CHECK = 0.05
"""How often (s) the queues are looked at while nothing is settled."""
_NO_GRACE = timedelta(milliseconds=10)
_DUE_STATES = (TaskState.SCHEDULED, TaskState.RETRY)


class Drained(Struct, frozen=True, kw_only=True):
    """How the attempts that were made have ended: a task that was tried three times counts three times.

    `done`: it succeeded; `retried`: it is tried again, later; `archived`: it was given up; `revoked`: it was dropped.
    """

    done: int = 0
    retried: int = 0
    archived: int = 0
    revoked: int = 0


async def drain(
    app: TaskFlow,
    queues: Iterable[str] | None = None,
    *,
    with_scheduled: bool = False,
    with_groups: bool = False,
    raise_errors: bool = True,
    concurrency: int = CONCURRENCY,
    timeout: float = 30.0,
) -> Drained:
    """Run the tasks that wait, and those that they enqueue, until none is left; tell how they ended.

    A worker does that, in the test's event loop: a real one, with the app's middleware and lifespans.

    Args:
        app: The application.
        queues: Which queues. Default: all.
        with_scheduled: Run also what falls due later: scheduled tasks, and failed ones until they succeed or are archived.
        with_groups: Aggregate also the groups, without waiting for their time to come.
        raise_errors: At the end, raise the exception of the first task that has failed, in its last attempt, from the
            handler's own traceback. A handler that steers (`Retry`, `SkipRetry`, `RevokeTask`) has not failed.
        concurrency: How many tasks run at once; 1: one after the other. Default 10.
        timeout: How long (s) all may take. Default 30 s.

    Raises:
        Exception: What a handler raised.
        TimeoutError: Something is left; it says what. It has been put back into its queue.
        BrokerUnavailable: Redis does not answer.
        StartFailed: A lifespan, a dependency or a warm-up raised.

    """
    if isinstance(queues, str):
        raise InvalidOption("queues", f"must be names of queues, e.g. [{queues!r}]")
    until = time.monotonic() + timeout
    tally = _Tally()
    async with reader(app) as (inspector, _):
        left = _Left(inspector, None if queues is None else sorted(set(queues)), with_scheduled, with_groups)
        while await left.look():
            names = left.queues or queues_of(app, left.there)
            grace = _NO_GRACE if with_groups else timedelta(seconds=60)
            options = worker_options(names, concurrency=concurrency, group_grace=grace)
            async with observed_worker(app, options, tally.observer, tally.settled) as worker:
                await _until_empty(left, set(names), tally, worker, until)
    if raise_errors and tally.failures:
        raise tally.failure()
    return tally.drained()


async def _until_empty(left: _Left, served: set[str], tally: _Tally, worker: asyncio.Task[None], until: float) -> None:
    """Wait until the queues that a worker serves are empty."""
    while served & await left.look():
        if (remaining := until - time.monotonic()) <= 0:
            raise TimeoutError(await left.description())
        waiting = asyncio.create_task(tally.news.wait())
        await asyncio.wait([waiting, worker], timeout=min(_CHECK, remaining), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        tally.news.clear()
        if worker.done():
            worker.result()


class _Left:
    """What is left to be run.

    Args:
        inspector: Reads the queues.
        queues: Which, None: all that there are.
        due: Whether tasks that fall due later are to be run too.
        groups: Whether groups are to be aggregated too.

    """

    def __init__(self, inspector: Inspector, queues: list[str] | None, due: bool, groups: bool) -> None:
        self.queues = queues
        self.there: list[str] = []
        self._inspector = inspector
        self._due = due
        self._groups = groups

    async def look(self) -> set[str]:
        """Return the queues that hold something to be run; of these, what falls due later falls due now."""
        known = await self._inspector.queues()
        self.there = known if self.queues is None else [queue for queue in self.queues if queue in known]
        infos = await self._inspector.queue_infos(self.there)
        return {info.queue for info in infos if await self._holds(info)}

    async def _holds(self, info: QueueInfo) -> bool:
        if self._due and info.scheduled + info.retry:
            for state in _DUE_STATES:
                await self._inspector.run_all(info.queue, state)
            return True
        return bool(info.pending + info.active + (info.aggregating if self._groups else 0))

    async def description(self) -> str:
        """Say what is left."""
        states = [TaskState.ACTIVE, TaskState.PENDING]
        states += [*_DUE_STATES] if self._due else []
        states += [TaskState.AGGREGATING] if self._groups else []
        left = await tasks_in(self._inspector, states, queues=self.there)
        paused = [info.queue for info in await self._inspector.queue_infos(self.there) if info.paused]
        remark = f" (paused: {', '.join(paused)})" if paused else ""
        return report(f"the queues are not empty in time{remark}", left, datetime.now(UTC), verb="left")


class _Tally:
    """Counts how attempts end, and keeps the exceptions of tasks that have failed."""

    def __init__(self) -> None:
        self.observer = Observer()
        self.news = asyncio.Event()
        self.failures: dict[tuple[str, str], tuple[Delivery, Exception]] = {}
        self._counts = {"done": 0, "retried": 0, "archived": 0, "revoked": 0}

    def settled(self, delivery: Delivery, outcome: Outcome) -> None:
        """Take note of a settlement."""
        error = self.observer.forget(delivery)
        task = (delivery.queue, delivery.id)
        self.failures.pop(task, None)
        match outcome:
            case Done() | Complete():
                self._counts["revoked" if isinstance(error, RevokeTask) else "done"] += 1
            case Retry(error=reason):
                self._counts["retried"] += 1
                self._failed(delivery, error, reason)
            case Archive(error=reason, cancelled=cancelled):
                self._counts["archived"] += 1
                if not cancelled:
                    self._failed(delivery, error, reason)
        self.news.set()

    def _failed(self, delivery: Delivery, error: BaseException | None, reason: str) -> None:
        if isinstance(error, HandlerSignal):
            return
        # A handler that was stopped got `CancelledError`, which is not for the test; and some tasks never reach one.
        failure = error if isinstance(error, Exception) else AttemptError(reason)
        self.failures[delivery.queue, delivery.id] = (delivery, failure)

    def failure(self) -> Exception:
        """Return the first exception, with a note on whose it is."""
        delivery, error = next(iter(self.failures.values()))
        what = delivery.message.type if delivery.message is not None else "a message that cannot be decoded"
        more = f"; {len(self.failures) - 1} more failed" if len(self.failures) > 1 else ""
        error.add_note(f"raised by {what}, task {delivery.id} in queue {delivery.queue}{more}")
        return error

    def drained(self) -> Drained:
        """Return the counts."""
        return Drained(**self._counts)
