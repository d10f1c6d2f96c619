"""Executor: runs tasks, each in a slot. A slot is free only when its handler has really ended."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog

from taskflow.broker.clock import Clock
from taskflow.broker.delivery import Archive, Delivery, Outcome
from taskflow.broker.steering import CANCELLED
from taskflow.wire.message import UNDECODABLE, TaskMessage
from taskflow.wire.payload import encode_payload
from taskflow.worker import outcome as policy
from taskflow.worker.context import RUNNING, Publish, TaskContext, WriteResult
from taskflow.worker.deadlines import Deadlines
from taskflow.worker.handler import Handler
from taskflow.worker.outcome import Stop
from taskflow.worker.processes import ProcessPool
from taskflow.worker.registry import Next, Registry, Route, wrap

_LOG = structlog.get_logger("taskflow.worker")

CLEANUP = 10.0
"""How long (s) a handler may go on after it was cancelled."""
REMIND_EVERY = 0.5
"""How often (s) it is cancelled again when that time is over."""
REMINDERS = 4
"""How many of these cancellations a handler may swallow before its task is given up."""

Finished = Callable[["Run", Outcome | None], None]
"""Called when an attempt has ended; without an outcome when nothing may be written for it."""


class Run:
    """An attempt that is under way."""

    __slots__ = ("context", "delivery", "given_up", "reminded", "stop", "task", "thread")

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        self.task: asyncio.Task[None] | None = None
        self.stop: Stop | None = None
        self.context: TaskContext | None = None
        self.thread: Future[Any] | None = None
        self.reminded = 0
        """How often it was cancelled again."""
        self.given_up = False
        """Whether its task was settled although the handler goes on."""

    def stopped_by(self) -> Stop | None:
        """Why it was stopped, None if it was not: asked anew after each wait."""
        return self.stop


class Executor:
    """Runs deliveries in `concurrency` slots, and tells `finished` what becomes of each.

    Args:
        registry: Which handler runs which type.
        clock: The one clock.
        worker: This server's name in the records of failed attempts.
        concurrency: How many tasks run at once.
        threads: How many `def` handlers run at once.
        processes: How many handlers run at once that have a process of their own.
        max_tasks: After how many of its tasks such a process is replaced, 0 for never.
        publish: Publishes progress.
        publish_in_child: Publishes it from the process of a handler that has one; it is pickled.
        write_result: Writes a result while its handler runs.
        finished: See `Finished`.
        slot_freed: Called when a slot has become free.
        cleanup: How long (s) a handler may go on after it was cancelled, before it is cancelled again and again.

    """

    def __init__(
        self,
        registry: Registry,
        *,
        clock: Clock,
        worker: str,
        concurrency: int,
        threads: int,
        processes: int,
        max_tasks: int = 0,
        publish: Publish,
        publish_in_child: Publish,
        write_result: WriteResult,
        finished: Finished,
        slot_freed: Callable[[], None],
        cleanup: float = CLEANUP,
    ) -> None:
        self.free = concurrency
        self.concurrency = concurrency
        self._clock = clock
        self._worker = worker
        self._publish = publish
        self._publish_in_child = publish_in_child
        self._write_result = write_result
        self._finished = finished
        self._slot_freed = slot_freed
        self._loop = asyncio.get_running_loop()
        self._running: dict[Delivery, Run] = {}
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="taskflow handler")
        self._processes = ProcessPool(processes, registry.warm_ups, max_tasks=max_tasks)
        self._deadlines = Deadlines[Run](lambda run: self.stop(run, Stop.TIMEOUT))
        self._cleanup = cleanup
        self._cleanups = Deadlines[Run](self._insist)
        self.use(registry)
        self._idle = asyncio.Event()
        self._idle.set()

    async def warm_up(self) -> None:
        """Do what comes before the first task. Raises `StartFailed`."""
        if any(route.handler.executor == "process" for route in self._registry.routes):
            await self._processes.start()

    def use(self, registry: Registry) -> None:
        """Run the handlers of a registry from now on."""
        self._registry = registry
        self._call = registry.wrap(self._innermost)
        self._layered: dict[Route, Next] = {}

    @property
    def running(self) -> list[Run]:
        """The attempts under way."""
        return list(self._running.values())

    @property
    def left_behind(self) -> int:
        """How many slots are held by handlers whose task has been given up: threads, and such as swallow each cancellation."""
        return self.concurrency - self.free - len(self._running)

    def start(self, delivery: Delivery) -> None:
        """Run a task in a free slot."""
        self.free -= 1
        self._idle.clear()
        run = Run(delivery)
        self._running[delivery] = run
        run.task = self._loop.create_task(self._run(run))

    def stop(self, run: Run, why: Stop) -> None:
        """Stop an attempt that is under way; a `def` handler in a thread is asked to, by `context.cancelled`."""
        if run.stop is None and run.task is not None:
            run.stop = why
            if run.context is None:
                return  # it has not begun, and will not: a task that is cancelled before its first step runs no `finally`
            if run.thread is not None:
                run.context.stop_flag().set()
            run.task.cancel()
            self._cleanups.add(run, self._cleanup)

    def _insist(self, run: Run) -> None:
        """Cancel a handler again that has swallowed its cancellation; in the end its task no longer waits for it."""
        assert run.task is not None  # noqa: S101 - it was cancelled before
        run.reminded += 1
        if run.reminded == 1:
            _LOG.warning(
                "a handler goes on after it was cancelled; it is cancelled again and again",
                task_id=run.delivery.id,
                queue=run.delivery.queue,
            )
        elif run.reminded > REMINDERS and not run.given_up:
            self.give_up(run)
        run.task.cancel()
        self._cleanups.add(run, REMIND_EVERY)

    def give_up(self, run: Run) -> None:
        """Settle a stopped task although its handler goes on: it keeps its slot, and what it returns no longer counts."""
        message, why = run.delivery.message, run.stop
        assert message is not None and why is not None  # noqa: S101, PT018 - it was running, and was stopped
        _LOG.error(
            "a handler swallows each cancellation; its task is given up, it keeps its slot",
            task_id=run.delivery.id,
            queue=run.delivery.queue,
            type=message.type,
        )
        run.given_up = True
        self._conclude(run, self._stopped(message, why))
        self._note_idle()

    async def drain(self) -> None:
        """Wait until nothing runs."""
        await self._idle.wait()

    def close(self) -> None:
        """Let go of threads and processes, and of what still runs; threads that are still at work are left alone."""
        for run in self.running:
            self.stop(run, Stop.LOST)
        self._deadlines.close()
        self._cleanups.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._processes.close()

    async def _run(self, run: Run) -> None:
        outcome: Outcome | None = None
        try:
            outcome = await self._attempt(run)
        finally:
            self._deadlines.discard(run)
            if run.stop is not None:
                self._cleanups.discard(run)
            if not run.given_up:
                self._conclude(run, outcome)
            if run.thread is not None and not run.thread.done():
                self._keep_slot(run)
            else:
                self._free_slot()

    def _conclude(self, run: Run, outcome: Outcome | None) -> None:
        del self._running[run.delivery]
        self._finished(run, outcome)

    def _keep_slot(self, run: Run) -> None:
        _LOG.warning("a thread goes on after its task was stopped; it keeps its slot", task_id=run.delivery.id)
        loop = self._loop
        assert run.thread is not None  # noqa: S101 - the caller has looked
        run.thread.add_done_callback(lambda _: loop.is_closed() or loop.call_soon_threadsafe(self._free_slot))

    def _free_slot(self) -> None:
        self.free += 1
        self._note_idle()
        self._slot_freed()

    def _note_idle(self) -> None:
        if not self._running:
            self._idle.set()

    async def _attempt(self, run: Run) -> Outcome | None:
        delivery = run.delivery
        message = delivery.message
        if message is None:
            _LOG.error(
                "a task message cannot be decoded; the task is archived", task_id=delivery.id, queue=delivery.queue
            )
            return Archive(UNDECODABLE)
        if delivery.cancelled:
            return Archive(CANCELLED, cancelled=True)
        if (why := run.stopped_by()) is not None:
            return self._stopped(message, why)
        return await self._carry_out(run, message)

    async def _carry_out(self, run: Run, message: TaskMessage) -> Outcome | None:
        run.delivery.started_at = now = self._clock.now()
        deadline = deadline_of(message, now)
        if deadline is not None:
            self._deadlines.add(run, deadline - now)
        try:
            result = await self._perform(run, message, deadline)
        except asyncio.CancelledError as error:
            if (why := run.stopped_by()) is not None:
                return self._stopped(message, why)
            if run.task is not None and run.task.cancelling():
                raise
            return self._failed(message, error)  # the handler's own
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is its task's failure
            return self._failed(message, error)
        return None if run.stopped_by() is Stop.LOST else policy.succeeded(message, result)

    def _stopped(self, message: TaskMessage, why: Stop) -> Outcome | None:
        retries = self._registry.retries_of(message.type)
        return policy.stopped(message, why, now=self._clock.now(), worker=self._worker, retries=retries)

    def _failed(self, message: TaskMessage, error: BaseException) -> Outcome:
        retries = self._registry.retries_of(message.type)
        return policy.failed(message, error, now=self._clock.now(), worker=self._worker, retries=retries)

    async def _perform(self, run: Run, message: TaskMessage, deadline: float | None) -> bytes | None:
        run.context = TaskContext(message, run.delivery, deadline, self._loop, self._publish, self._write_result)
        RUNNING.set(run.context)
        result = await self._call(run.context)
        return None if result is None else encode_payload(result)

    def _innermost(self, context: TaskContext) -> Awaitable[Any]:
        """Return the call of the handler, within its own layers of the onion."""
        route = self._registry.find(context.type)
        if route is None:
            raise self._registry.not_found(context.type)
        if not route.layers:
            return self._handle(route.handler, context)
        call = self._layered.get(route)
        if call is None:
            call = self._layered[route] = wrap(route.layers, partial(self._handle, route.handler))
        return call(context)

    async def _handle(self, handler: Handler, context: TaskContext) -> Any:
        args, kwargs = handler.bind(context.payload)
        if handler.executor == "async":
            return await handler.call(context, args, kwargs)
        if handler.executor == "thread":
            return await self._in_thread(context, handler, args, kwargs)
        return await self._processes.run(handler, context, publish=self._publish_in_child)

    async def _in_thread(
        self, context: TaskContext, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        context.stop_flag()
        run = self._running[context.delivery]
        in_context = contextvars.copy_context().run
        run.thread = self._threads.submit(in_context, handler.call, context, args, kwargs)
        return await asyncio.wrap_future(run.thread)


LAST_MOMENT = datetime(9000, 1, 1, tzinfo=UTC).timestamp()
"""A deadline from then on (Unix s) counts as none: Go can write times that a `datetime` cannot hold."""


def deadline_of(message: TaskMessage, started_at: float) -> float | None:
    """Return when an attempt begun at a time (Unix s) must have ended: its timeout or deadline, whichever is sooner."""
    ends = [started_at + message.timeout] if message.timeout > 0 else []
    if message.deadline > 0:
        ends.append(float(message.deadline))
    end = min(ends, default=LAST_MOMENT)
    return end if end < LAST_MOMENT else None
