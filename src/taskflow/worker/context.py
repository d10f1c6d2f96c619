"""TaskContext: what a handler may know of its task, and tell of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import structlog

from taskflow.broker.delivery import Delivery
from taskflow.errors import InvalidOption, NoCurrentTask
from taskflow.task import Progress
from taskflow.wire.callback import own_headers
from taskflow.wire.message import TaskMessage

Publish = Callable[[Progress], Awaitable[None]]
WriteResult = Callable[[Delivery, bytes], Awaitable[None]]

TRACE_HEADERS = ("traceparent", "tracestate", "baggage")
"""Headers of a task that carry its trace (W3C Trace Context), which services that carry it out are given under these names."""


class _Nothing:
    """An awaitable that is done: what a blocking call returns, so that one signature serves `def` and `async def`."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


_DONE = _Nothing()


class TaskContext:
    """Given to a handler whose first parameter is annotated with it.

    Attributes:
        id: The task's id.
        type: Its type.
        queue: Its queue.
        retried: How often it has failed before.
        max_retries: How often it may be tried again.
        payload: The payload as it travelled.

    """

    __slots__ = (
        "_cancelled",
        "_deadline",
        "_headers",
        "_logger",
        "_loop",
        "_message",
        "_publish",
        "_thread",
        "_write_result",
        "delivery",
        "id",
        "last_progress",
        "max_retries",
        "payload",
        "queue",
        "retried",
        "type",
    )

    def __init__(  # noqa: PLR0917 - called once a task by the executor; keywords would cost a microsecond
        self,
        message: TaskMessage,
        delivery: Delivery,
        deadline: float | None,
        loop: asyncio.AbstractEventLoop | None,
        publish: Publish,
        write_result: WriteResult,
    ) -> None:
        self.id = delivery.id
        self.type: str = message.type
        self.queue = delivery.queue
        self.retried: int = message.retried
        self.max_retries: int = message.retry
        self.payload: bytes = message.payload
        self.delivery = delivery
        self.last_progress: Progress | None = None
        self._message = message
        self._headers: Mapping[str, str] | None = None
        self._deadline = deadline
        self._loop = loop
        self._thread = threading.get_ident()
        self._publish = publish
        self._write_result = write_result
        self._cancelled: threading.Event | None = None
        self._logger: Any = None

    @property
    def headers(self) -> Mapping[str, str]:
        """What the producer sent along."""
        if self._headers is None:
            self._headers = own_headers(self._message)
        return self._headers

    @property
    def deadline(self) -> datetime | None:
        """When this attempt must have ended (None: never)."""
        return None if self._deadline is None else datetime.fromtimestamp(self._deadline, UTC)

    @property
    def logger(self) -> Any:
        """A structlog logger that knows the task."""
        if self._logger is None:
            self._logger = structlog.get_logger("taskflow.task").bind(
                task_id=self.id, type=self.type, queue=self.queue, retried=self.retried
            )
        return self._logger

    @property
    def cancelled(self) -> bool:
        """Whether the handler should stop: cancelled, timed out, or the worker is going down.

        For `def` handlers, which nothing can interrupt; in an `async def` one `CancelledError` is raised.
        """
        return self._cancelled is not None and self._cancelled.is_set()

    def stop_flag(self) -> threading.Event:
        """Return the flag behind `cancelled`, for the executor to set."""
        if self._cancelled is None:
            self._cancelled = threading.Event()
        return self._cancelled

    def progress(
        self, percentage: float, stage: str = "", message: str = "", *, metadata: Mapping[str, Any] | None = None
    ) -> Awaitable[None]:
        """Publish how far the task has come: 0 to 100 percent, and a word on what it does.

        `await` it in an `async def` handler; in a `def` one the call returns when it is published. What Redis cannot take, as it
        does not answer or its memory is full, is dropped and logged: that costs the task nothing.

        Raises:
            InvalidOption: The percentage is not a number from 0 to 100.

        """
        if not 0 <= percentage <= 100:  # noqa: PLR2004 - percent
            raise InvalidOption("percentage", f"must be a number from 0 to 100, not {percentage!r}")
        self.last_progress = Progress(
            task_id=self.id,
            percentage=percentage,
            stage=stage,
            message=message,
            timestamp_ms=int(datetime.now(UTC).timestamp() * 1000),
            metadata=metadata,
        )
        return self._perform(self._publish(self.last_progress))

    def write_result(self, result: bytes) -> Awaitable[None]:
        """Write a result while the task runs, as asynq's ResultWriter does; what the handler returns replaces it."""
        return self._perform(self._write_result(self.delivery, result))

    def _perform(self, action: Awaitable[None]) -> Awaitable[None]:
        """Let an `async def` handler await the action; do it at once for a `def` one."""
        if self._loop is not None and threading.get_ident() == self._thread:
            return action
        _run_blocking(action, self._loop)
        return _DONE


RUNNING: ContextVar[TaskContext | None] = ContextVar("taskflow_context", default=None)
"""The context of the task that runs here; set once for each attempt, in a context (of `contextvars`) of its own."""


def current_context() -> TaskContext:
    """Return the context of the running task, wherever in its calls: helpers, middleware, threads, log processors.

    Raises:
        NoCurrentTask: No task runs here: at import, in a lifespan, in a thread that the handler started by itself.

    """
    context = RUNNING.get()
    if context is None:
        raise NoCurrentTask
    return context


def _run_blocking(action: Awaitable[None], loop: asyncio.AbstractEventLoop | None) -> None:
    async def perform() -> None:
        await action

    if loop is None:
        asyncio.run(perform())
    else:
        asyncio.run_coroutine_threadsafe(perform(), loop).result()
