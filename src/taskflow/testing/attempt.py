"""run_task: one attempt at a task, here and now, as a worker makes it, without Redis."""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Unpack

import msgspec
from msgspec import Struct

from taskflow.app import TaskFlow
from taskflow.broker import delivery as settling
from taskflow.broker import progress as stream
from taskflow.broker.clock import Clock
from taskflow.broker.delivery import NO_LEASE, Delivery
from taskflow.broker.placing import place
from taskflow.client import as_task, decode_result
from taskflow.errors import AttemptTimedOut, InvalidOption, RevokeTask
from taskflow.task import EnqueueOptions, Progress, Task
from taskflow.testing.observer import Observer
from taskflow.wire import message as wire
from taskflow.worker import loops, resources
from taskflow.worker.executor import Executor, Run
from taskflow.worker.outcome import TIMED_OUT, Stop
from taskflow.worker.registry import Registry

Ending = Literal["done", "retry", "archived", "revoked"]
"""What becomes of a task after an attempt."""


class TaskRun(Struct, frozen=True, kw_only=True):
    """How an attempt ended.

    Attributes:
        outcome: What a worker would make of the task now: `done`, `retry` (after `retry_in`), `archived` (given up), or
            `revoked` (dropped, as the handler raised `RevokeTask`).
        error: What the attempt raised, None if it returned. `AttemptTimedOut` if it took longer than its timeout.
        reason: The error's text, as it is kept with a task that is tried again or archived.
        retry_in: The wait before the next attempt, None unless the outcome is `retry`.
        counts: Whether the attempt costs the task one of its retries; False if it is tried again and `is_failure` says so.
        progress: What the handler published with `context.progress`, in order.
        written: The results it wrote with `context.write_result`, in order.
        returned: The result it returned, as it travels.

    """

    outcome: Ending
    error: BaseException | None = None
    reason: str = ""
    retry_in: timedelta | None = None
    counts: bool = True
    progress: tuple[Progress, ...] = ()
    written: tuple[bytes, ...] = ()
    returned: bytes = b""

    def result(self) -> Any:
        """Return the task's result, as `client.result` would; raise what the handler raised if it did."""
        if self.error is not None:
            raise self.error
        return decode_result(self.returned or (self.written[-1] if self.written else b""))


async def run_task(
    app: TaskFlow | Registry,
    task: str | Task,
    payload: Any = None,
    *,
    retried: int = 0,
    lifespan: bool = True,
    **options: Unpack[EnqueueOptions],
) -> TaskRun:
    """Make one attempt at a task in this process, without Redis, and tell what would become of the task.

    The task is described as for `Client.enqueue`: a type with its payload and options, or `send_email.task("ada@…")`. It
    travels as it would: the payload is encoded and bound anew, so what cannot travel fails here too. The app's middleware
    is around the handler, which runs where it would (event loop, thread, process), for as long as it may. What it depends
    on, or what overrides that, is open for the length of the call.

    Args:
        app: The application, or its registry.
        task: The task, or its type; a type has the queue, retries and timeout that its handler was registered with.
        payload: Its payload.
        retried: How often the task has failed before.
        lifespan: Whether the app's lifespans are open meanwhile, as they are in a worker.
        options: Its options, as for `enqueue`: `max_retries`, `timeout`, `headers`, `task_id`...

    Raises:
        InvalidOption: An option cannot be used, or the payload has no JSON form.
        StartFailed: A lifespan, a dependency that a worker opens at its start, or a warm-up raised.

    """
    if retried < 0:
        raise InvalidOption("retried", f"must not be negative: {retried}")
    registry = app.registry if isinstance(app, TaskFlow) else app
    clock = _StillClock()
    described = _described(registry, task, payload, options)
    delivery = _delivery(described, retried, clock)
    record = _Record()
    async with AsyncExitStack() as stack:
        in_child = FilePublisher(stack.enter_context(tempfile.TemporaryDirectory(prefix="taskflow-")))
        if lifespan:
            await stack.enter_async_context(registry.lifespans.opened())
        observed = resources.opened(record.observer.around(registry), [described.type])
        run, outcome = await _attempt(await stack.enter_async_context(observed), delivery, clock, record, in_child)
        record.progress += in_child.entries()
    return record.told(run, outcome, clock.now())


class FilePublisher:
    """Publishes progress to a file: from a handler's process, which may be killed, to the test's."""

    def __init__(self, folder: str) -> None:
        self._path = f"{folder}/progress"

    async def __call__(self, entry: Progress) -> None:
        """Append an entry."""
        stream.commands(entry)  # what has no JSON form fails here as it would on its way to Redis
        with open(self._path, "ab") as file:  # noqa: ASYNC230, PTH123 - the handler's process has no other work
            file.write(msgspec.json.encode(entry) + b"\n")

    def entries(self) -> list[Progress]:
        """Return what was published."""
        path = Path(self._path)
        lines = path.read_bytes().splitlines() if path.exists() else []
        return [msgspec.json.decode(line, type=Progress) for line in lines]


class _StillClock(Clock):
    """Stands still, so that a wait the handler asked for is told as it was asked for."""

    __slots__ = ("_now",)

    def __init__(self) -> None:
        super().__init__()
        self._now = round(time.time(), 6)

    def now(self) -> float:
        return self._now


class _Record:
    """What a handler does while it runs, and how it ends."""

    def __init__(self) -> None:
        self.observer = Observer()
        self.progress: list[Progress] = []
        self.written: list[bytes] = []

    async def publish(self, entry: Progress) -> None:
        stream.commands(entry)  # as above
        self.progress.append(entry)

    async def write_result(self, _: Delivery, result: bytes) -> None:
        self.written.append(bytes(result))

    def told(self, run: Run, outcome: settling.Outcome | None, now: float) -> TaskRun:
        error = AttemptTimedOut(TIMED_OUT) if run.stop is Stop.TIMEOUT else self.observer.errors.get(run.delivery)
        ending, reason, retry_in = _ending(outcome, error, now)
        return TaskRun(
            outcome=ending,
            error=error,
            reason=reason,
            retry_in=retry_in,
            counts=outcome.counts if isinstance(outcome, settling.Retry) else True,
            progress=tuple(self.progress),
            written=tuple(self.written),
            returned=self.observer.results.get(run.delivery, b""),
        )


def _described(registry: Registry, task: str | Task, payload: Any, options: EnqueueOptions) -> Task:
    """Return the task that the arguments describe; a type has the options its handler was registered with."""
    route = registry.find(task) if isinstance(task, str) else None
    return as_task(task, payload, options if route is None else {**route.options, **options})


def _delivery(task: Task, retried: int, clock: Clock) -> Delivery:
    placement, info = place(task, now=clock.now())
    message = wire.decode(placement.message)
    message.retried = retried
    return Delivery(info.queue, info.id.encode(), message.SerializeToString(), NO_LEASE)


async def _attempt(
    registry: Registry, delivery: Delivery, clock: Clock, record: _Record, in_child: FilePublisher
) -> tuple[Run, settling.Outcome | None]:
    """Run a task in the one slot of an executor."""
    ended: asyncio.Future[tuple[Run, settling.Outcome | None]] = asyncio.get_running_loop().create_future()
    executor = Executor(
        registry,
        clock=clock,
        worker="test",
        concurrency=1,
        threads=1,
        processes=1,
        publish=record.publish,
        publish_in_child=in_child,
        write_result=record.write_result,
        finished=lambda run, outcome: None if ended.done() else ended.set_result((run, outcome)),
        slot_freed=lambda: None,
    )
    try:
        route = registry.find(delivery.message.type) if delivery.message is not None else None
        if route is not None and route.handler.executor == "process":
            await executor.warm_up()
        executor.start(delivery)
        return await ended
    finally:
        left = [run.task for run in executor.running if run.task is not None]
        executor.close()
        await loops.cancel_all(left)


def _ending(
    outcome: settling.Outcome | None, error: BaseException | None, now: float
) -> tuple[Ending, str, timedelta | None]:
    """Return what becomes of the task, why, and when it is tried again."""
    match outcome:
        case settling.Retry(at=at, error=reason):
            return "retry", reason, timedelta(seconds=round(at - now, 6))
        case settling.Archive(error=reason):
            return "archived", reason, None
    return ("revoked", str(error), None) if isinstance(error, RevokeTask) else ("done", "", None)
