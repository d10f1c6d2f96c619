"""Backoff: how long a task that failed waits before its next attempt."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import timedelta

from taskflow.checks import MAX_SPAN
from taskflow.errors import ConfigError
from taskflow.worker.callbacks import is_blocking

BackoffFunction = Callable[[int, BaseException], timedelta]
"""`wait(retried, error) -> timedelta`; `retried` is how often the task has been tried again so far, from 0."""
Backoff = timedelta | Sequence[timedelta] | BackoffFunction
"""One wait for all, a wait for each retry (the last one repeats), or a function."""

_ZERO = timedelta(0)
_MAX_SECONDS = int(MAX_SPAN.total_seconds())


def default_backoff(retried: int, *, rand: Callable[[int], int] = random.randrange) -> timedelta:
    """Return the wait before the next attempt: n^4 + 15 + 0..29 * (n + 1) seconds, n = retries so far.

    Source: Sidekiq's formula, as asynq uses it.
    """
    return timedelta(seconds=min(retried**4 + 15 + rand(30) * (retried + 1), _MAX_SECONDS))


def exponential(
    first: timedelta = timedelta(seconds=1),
    *,
    factor: float = 2.0,
    longest: timedelta = timedelta(hours=1),
    jitter: float = 0.5,
    rand: Callable[[], float] = random.random,
) -> BackoffFunction:
    """Return a backoff whose waits grow by a factor: 1 s, 2 s, 4 s, 8 s … up to the longest.

    Args:
        first: The wait before the first retry. Default 1 s.
        factor: How much longer each wait is than the one before; at least 1. Default 2.
        longest: No wait is longer. Default 1 h.
        jitter: By what share of itself, 0 to 1, a wait may be shorter, at random, so that tasks that failed together do
            not come back together. Default 0.5: each wait is between half and all of its length.
        rand: The dice: a number from 0 to 1.

    Raises:
        ConfigError: The arguments describe no waits.

    """
    if not (_is_wait(first) and _is_wait(longest) and _ZERO < first <= longest):
        raise ConfigError(f"exponential: `first` must be more than 0 and at most `longest`, not {first!r}, {longest!r}")
    if not factor >= 1 or not 0 <= jitter <= 1:
        raise ConfigError(
            f"exponential: `factor` must be at least 1 and `jitter` from 0 to 1, not {factor!r}, {jitter!r}"
        )
    first_seconds, longest_seconds = first.total_seconds(), longest.total_seconds()

    def wait(retried: int, _: BaseException) -> timedelta:
        try:
            seconds = min(first_seconds * factor ** max(retried, 0), longest_seconds)
        except OverflowError:
            seconds = longest_seconds
        return timedelta(seconds=seconds * (1 - jitter * rand()))

    return wait


def backoff_function(backoff: Backoff) -> BackoffFunction:
    """Return a backoff as a function. Raises `ConfigError` if it is none, or names a wait that cannot be kept."""
    if isinstance(backoff, timedelta):
        return _repeating([backoff])
    if isinstance(backoff, Sequence):
        return _repeating(backoff)
    check_plain(backoff, "backoff: must be a timedelta, a sequence of them, or a `def` function of (retried, error)")
    return backoff


def check_plain(function: object, demand: str) -> None:
    """Raise `ConfigError` with a demand unless something can be called without `await`."""
    if not callable(function) or not is_blocking(function):
        raise ConfigError(f"{demand}, not {function!r}")


def _repeating(waits: Sequence[timedelta]) -> BackoffFunction:
    if not waits or not all(map(_is_wait, waits)):
        raise ConfigError(f"backoff: each wait must be a timedelta from 0 to {MAX_SPAN.days} days, not {waits!r}")
    kept, last = tuple(waits), len(waits) - 1
    return lambda retried, _: kept[min(max(retried, 0), last)]


def _is_wait(wait: object) -> bool:
    return isinstance(wait, timedelta) and _ZERO <= wait <= MAX_SPAN


def why_no_wait(wait: object) -> str | None:
    """Return what is wrong with what a backoff function returned; None if it is a wait."""
    if _is_wait(wait):
        return None
    what = str(wait) if isinstance(wait, timedelta) else type(wait).__name__
    return f"it must return a timedelta from 0 to {MAX_SPAN.days} days, not {what}"
