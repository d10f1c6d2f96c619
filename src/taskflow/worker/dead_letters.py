"""DeadLetters: tells the user's `on_dead` functions of the tasks that have been given up.

It is told at most once: if this worker dies between the settlement and the call, the task stands in the archive all the
same, but nobody is told. So it never holds up a settlement, a slot, or for long a stop.
"""

from __future__ import annotations

import asyncio
from collections import deque

import structlog

from taskflow.broker.clock import Clock
from taskflow.broker.delivery import Archive, Delivery
from taskflow.broker.reading import archived_info
from taskflow.errors import MessageInvalid
from taskflow.task import TaskInfo
from taskflow.worker import loops
from taskflow.worker.callbacks import Callbacks
from taskflow.worker.registry import Registry
from taskflow.worker.retry_policy import OnDead

_LOG = structlog.get_logger("taskflow.worker")

AT_ONCE = 8
"""How many calls are under way at once."""
LONGEST_CALL = 30.0
"""How long (s) a call may take before it is given up."""
MOST_WAITING = 10_000
"""How many tasks may wait for their call; further ones are not told of."""


class DeadLetters:
    """Calls the functions, a few at a time, in the order in which the tasks died.

    Args:
        registry: Knows which function is told of which type.
        clock: The one clock.

    """

    def __init__(self, registry: Registry, *, clock: Clock) -> None:
        self._registry = registry
        self._clock = clock
        self._waiting: deque[tuple[OnDead, TaskInfo, BaseException]] = deque()
        self._callers: set[asyncio.Task[None]] = set()
        self._callbacks = Callbacks(AT_ONCE, "dead letter")

    @property
    def busy(self) -> bool:
        """Whether a call is under way, or waits."""
        return bool(self._callers)

    @property
    def left_behind(self) -> int:
        """How many threads run a function whose end nobody waits for: nothing can stop them."""
        return self._callbacks.left_behind

    def add(self, delivery: Delivery, outcome: Archive) -> None:
        """Tell of a task that has been archived, unless it was cancelled or nobody wants to know."""
        message = delivery.message
        on_dead = (self._registry.retries if message is None else self._registry.retries_of(message.type)).on_dead
        if on_dead is None or outcome.cancelled:
            return
        if len(self._waiting) >= MOST_WAITING:
            _LOG.error("too many tasks die at once: on_dead is not told of one", task_id=delivery.id)
            return
        error = outcome.cause or MessageInvalid(outcome.error)
        self._waiting.append((on_dead, archived_info(delivery, outcome, now=self._clock.now()), error))
        # One that has just ended is still listed until the loop's next turn, but it takes no more.
        if sum(not caller.done() for caller in self._callers) < AT_ONCE:
            caller = asyncio.create_task(self._call_all(), name="dead letter")
            self._callers.add(caller)
            caller.add_done_callback(self._callers.discard)

    async def close(self) -> None:
        """Give up what has not been told."""
        untold = len(self._waiting) + len(self._callers)
        self._waiting.clear()
        await loops.cancel_all(self._callers)
        self._callbacks.close()
        if untold:
            _LOG.error("the worker stops before on_dead was told of all dead tasks", tasks=untold)

    async def _call_all(self) -> None:
        while self._waiting:
            await self._call(*self._waiting.popleft())

    async def _call(self, on_dead: OnDead, task: TaskInfo, error: BaseException) -> None:
        problem: BaseException | None = None
        try:
            async with asyncio.timeout(LONGEST_CALL):
                await self._callbacks.call(on_dead, task, error)
        except asyncio.CancelledError as cancelled:
            caller = asyncio.current_task()
            if caller is not None and caller.cancelling():
                raise
            problem = cancelled  # the function's own
        except (Exception, SystemExit, KeyboardInterrupt) as raised:  # noqa: BLE001 - it must not end the worker
            problem = raised
        if problem is not None:
            _LOG.error("an on_dead function failed", task_id=task.id, type=task.type, exc_info=problem)
