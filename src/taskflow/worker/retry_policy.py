"""RetryPolicy: what a task type, or the program, makes of failed attempts."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from taskflow.errors import ConfigError
from taskflow.task import TaskInfo
from taskflow.worker.backoff import Backoff, backoff_function, check_plain, default_backoff, why_no_wait

IsFailure = Callable[[BaseException], bool]
"""`is_failure(error)`: whether an error costs the task one of its retries."""
OnDead = Callable[[TaskInfo, BaseException], Awaitable[None] | None]
"""`on_dead(task, error)`, `async def` or `def`: told of a task that has been given up, and why."""

_LOG = structlog.get_logger("taskflow.worker")
_MOST_REPORTED = 1_000
"""For how many types a function's mistakes are reported: types may be strangers' text."""


class RetryPolicy:
    """How long to wait before a failed task is tried again, what counts as a failure, and whom to tell of a dead one.

    The functions are the user's: one that raises, or answers nonsense, is reported once for a type, and the task fares as
    it would without it. The first two run on the event loop, so they must not block.

    Args:
        backoff: A timedelta, a sequence of them (the last one repeats), or a function `(retried, error) -> timedelta`.
        is_failure: `(error) -> bool`; False: the task is tried again without that costing it a retry.
        on_dead: `(task: TaskInfo, error)`, `async def` or `def`: called once Redis has taken it that a task is given up.

    Raises:
        ConfigError: An argument cannot be used so.

    """

    def __init__(
        self,
        *,
        backoff: Backoff | None = None,
        is_failure: IsFailure | None = None,
        on_dead: OnDead | None = None,
    ) -> None:
        if is_failure is not None:
            check_plain(is_failure, "is_failure: must be a `def` function of the error")
        self._backoff = None if backoff is None else backoff_function(backoff)
        self._is_failure = is_failure
        self.on_dead = None if on_dead is None else _checked(on_dead)
        self._reported: set[tuple[str, str]] = set()

    def over(self, wider: RetryPolicy) -> RetryPolicy:
        """Return this policy, with a wider one's answers where it has none of its own."""
        return RetryPolicy(
            backoff=self._backoff or wider._backoff,
            is_failure=self._is_failure or wider._is_failure,
            on_dead=self.on_dead or wider.on_dead,
        )

    def wait(self, task_type: str, retried: int, error: BaseException) -> timedelta:
        """Return how long a task waits before its next attempt, which follows on so many retries and an error."""
        if self._backoff is not None:
            try:
                wait = self._backoff(retried, error)
            except (Exception, SystemExit, KeyboardInterrupt) as problem:  # noqa: BLE001 - it must not end the worker
                self._report("backoff", task_type, f"it raised {type(problem).__name__}", problem)
            else:
                if (mistake := why_no_wait(wait)) is None:
                    return wait
                self._report("backoff", task_type, mistake)
        return default_backoff(retried)

    def counts(self, task_type: str, error: BaseException) -> bool:
        """Return whether an error costs its task a retry."""
        if self._is_failure is None:
            return True
        try:
            return bool(self._is_failure(error))
        except (Exception, SystemExit, KeyboardInterrupt) as problem:  # noqa: BLE001 - it must not end the worker
            self._report("is_failure", task_type, f"it raised {type(problem).__name__}", problem)
            return True

    def _report(self, what: str, task_type: str, mistake: str, problem: BaseException | None = None) -> None:
        if (what, task_type) in self._reported or len(self._reported) >= _MOST_REPORTED:
            return
        self._reported.add((what, task_type))
        _LOG.error(
            f"the {what} function of a task type cannot be used; its tasks fare as without it",
            type=task_type,
            mistake=mistake,
            exc_info=problem,
        )


def _checked(on_dead: OnDead) -> OnDead:
    try:
        inspect.signature(on_dead).bind("task", "error")
    except TypeError as error:
        raise ConfigError(f"on_dead: must be a function that takes a task and an error: {error}") from None
    return on_dead


ASYNQ = RetryPolicy()
"""asynq's own: its backoff, and every error counts."""
