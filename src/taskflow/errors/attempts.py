"""What went wrong with an attempt at a task, and what a handler raises to say what becomes of it."""

from __future__ import annotations

from datetime import timedelta

from taskflow.errors.root import TaskFlowError


class AttemptError(TaskFlowError):
    """The root of what goes wrong with an attempt, apart from the handler's own exceptions."""


class AttemptTimedOut(AttemptError, TimeoutError):
    """The attempt took longer than its timeout or deadline."""


class AttemptCancelled(AttemptError):
    """A peer asked the worker to stop the attempt, without cancelling the task for good."""


class HandlerNotFound(AttemptError, LookupError):
    """No handler of this worker serves the type."""


class WorkerDied(AttemptError):
    """The worker died while it ran the task, more often than is borne."""


class TargetRefused(AttemptError, PermissionError):
    """A request may not be sent to the target: its URL cannot be used, or its address is none of the public internet."""

    def __init__(self, target: str, reason: str) -> None:
        super().__init__(f"{target}: {reason}")
        self.target = target


class TargetUnreachable(AttemptError, ConnectionError):
    """The target did not answer a request: there is no such name, nobody listens, it took too long, or it was no HTTP."""

    def __init__(self, target: str, reason: str) -> None:
        super().__init__(f"{target}: {reason}")
        self.target = target


class TargetFailed(AttemptError):
    """The target answered a request with a status that does not say success."""

    def __init__(self, target: str, status: int) -> None:
        super().__init__(f"{target}: answered with the status {status}")
        self.target = target
        self.answer_status = status


class AttemptFailed(AttemptError):
    """The service that carries the task out said that the attempt has failed, and that another may not."""


class HandlerExit(AttemptError):
    """The handler raised `SystemExit` or `KeyboardInterrupt`: its task has failed, the worker goes on."""


class HandlerSignal(Exception):
    """The root of what a handler raises to steer what becomes of its task."""


class SkipRetry(HandlerSignal):
    """Archive the task at once, without further attempts."""


class RevokeTask(HandlerSignal):
    """Drop the task at once: no further attempts, nothing archived."""


class Retry(HandlerSignal):
    """Try again after `delay` (at least zero), instead of after the backoff. It counts as a retry.

    Raises:
        TypeError: The delay is no timedelta.

    """

    def __init__(self, delay: timedelta, reason: str = "the handler asked for another attempt") -> None:
        if not isinstance(delay, timedelta):
            raise TypeError(f"Retry: the delay must be a timedelta, not {delay!r}; write Retry(timedelta(seconds=…))")
        super().__init__(reason)
        self.delay = delay
