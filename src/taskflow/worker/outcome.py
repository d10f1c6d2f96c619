"""What becomes of an attempt. Pure: the clock is an argument, and so is the policy of retries."""

from __future__ import annotations

import traceback as tracebacks
from datetime import timedelta
from enum import Enum, auto

from taskflow import errors
from taskflow.broker.delivery import SUSPECT_AFTER, Archive, Complete, Done, Outcome, Requeue, Retry, attempt_now
from taskflow.broker.steering import CANCELLED
from taskflow.checks import MAX_SPAN
from taskflow.errors import (
    AttemptCancelled,
    AttemptError,
    AttemptTimedOut,
    InvalidPayload,
    RevokeTask,
    SkipRetry,
    WorkerDied,
)
from taskflow.wire.message import TaskMessage
from taskflow.worker.retry_policy import ASYNQ, RetryPolicy

_TRACEBACK_CHARACTERS = 8_000
_ERROR_CHARACTERS = 4_000
MAX_DEATHS = SUSPECT_AFTER + 1
"""How many workers may die with a task before it is archived: it is probably what kills them."""
WORKER_DIED = "the worker died while it ran the task"
TIMED_OUT = "longer than its timeout or deadline"


class Stop(Enum):
    """Why a running attempt was stopped."""

    TIMEOUT = auto()
    CANCELLED = auto()
    """For good: its hash carries the mark."""
    SIGNALLED = auto()
    """By a bare message on asynq's channel: a failed attempt, as in asynq."""
    SHUTDOWN = auto()
    LOST = auto()
    """The lease is another's: nothing may be written for it."""


def succeeded(message: TaskMessage, result: bytes | None) -> Outcome:
    """Return what becomes of a task whose handler returned."""
    return Complete(result) if message.retention > 0 else Done(result)


def stopped(
    message: TaskMessage, stop: Stop, *, now: float, worker: str, retries: RetryPolicy = ASYNQ
) -> Outcome | None:
    """Return what becomes of a task whose handler was stopped; None: nothing may be written."""
    error: AttemptError
    match stop:
        case Stop.LOST:
            return None
        case Stop.SHUTDOWN:
            return Requeue()
        case Stop.CANCELLED:
            return Archive(CANCELLED, cancelled=True)
        case Stop.TIMEOUT:
            error = AttemptTimedOut(TIMED_OUT)
        case Stop.SIGNALLED:
            error = AttemptCancelled("stopped by a peer")
    return failed(message, error, now=now, worker=worker, retries=retries)


def failed(
    message: TaskMessage, error: BaseException, *, now: float, worker: str, retries: RetryPolicy = ASYNQ
) -> Outcome:
    """Return what becomes of a task whose handler raised an error, at a time (Unix s) on a worker.

    As in asynq, a task whose retries are used up is archived whatever the error, also by one that costs no retry.
    """
    if isinstance(error, RevokeTask):
        return Done(revoked=describe(error))
    text = describe(error)
    attempt = attempt_now(now, worker, text, _traceback(error))
    hopeless = isinstance(error, SkipRetry | InvalidPayload)
    if hopeless or message.retried >= message.retry:
        return Archive(text, attempt=attempt, cause=error)
    if isinstance(error, errors.Retry):
        wait = min(max(timedelta(0), error.delay), MAX_SPAN)
    else:
        wait = retries.wait(message.type, message.retried, error)
    return Retry(now + wait.total_seconds(), text, retries.counts(message.type, error), attempt)


def lost(deaths: int, *, now: float, worker: str) -> Outcome:
    """Return what becomes of a task whose worker is gone, the `deaths`-th to die with it: a crash costs no retry."""
    if deaths < MAX_DEATHS:
        return Requeue(died=True)
    text = f"{WORKER_DIED}, for the {MAX_DEATHS}rd time; it is not tried again"
    return Archive(text, attempt=attempt_now(now, worker, text, None), cause=WorkerDied(text))


def describe(error: BaseException) -> str:
    """Return an error's text, with its type unless the handler chose the words itself."""
    try:
        text = str(error)[:_ERROR_CHARACTERS]
    except Exception:  # noqa: BLE001 - the handler's error class is a stranger's code
        text = "(its text cannot be had)"
    if isinstance(error, errors.HandlerSignal) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _traceback(error: BaseException) -> str | None:
    if error.__traceback__ is None:
        return None
    text = "".join(tracebacks.format_exception(error, limit=-20))
    return text[-_TRACEBACK_CHARACTERS:].encode("utf-8", "backslashreplace").decode()
