"""How long a failed task waits, and what counts as a failure: pure functions, the dice are an argument."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from taskflow import RetryPolicy, exponential
from taskflow.checks import MAX_SPAN
from taskflow.errors import ConfigError
from taskflow.worker.backoff import default_backoff

ERROR = ValueError("no luck")
SECOND = timedelta(seconds=1)


def is_default(wait: timedelta, retried: int = 0) -> bool:
    """Whether a wait may come of asynq's formula."""
    least = retried**4 + 15
    return timedelta(seconds=least) <= wait <= timedelta(seconds=least + 29 * (retried + 1))


# -- backoff ------------------------------------------------------------------------------------------------------------


@given(retried=st.integers(0, 100), dice=st.integers(0, 29))
def test_the_default_backoff_grows_with_the_fourth_power(retried: int, dice: int) -> None:
    wait = default_backoff(retried, rand=lambda _: dice)

    assert wait == timedelta(seconds=retried**4 + 15 + dice * (retried + 1))
    assert is_default(default_backoff(retried), retried)


def test_the_dice_have_thirty_sides() -> None:
    sides: list[int] = []

    def roll(count: int) -> int:
        sides.append(count)
        return 29

    assert default_backoff(0, rand=roll) == timedelta(seconds=44)
    assert sides == [30]


@pytest.mark.parametrize("retried", [10_000, 2**31 - 1])
def test_a_wait_never_leaves_what_a_calendar_holds(retried: int) -> None:
    """Go's clients write any number of retries."""
    assert default_backoff(retried) == MAX_SPAN
    assert exponential(longest=MAX_SPAN, jitter=0)(retried, ERROR) == MAX_SPAN


def test_an_exponential_backoff_doubles_up_to_its_longest() -> None:
    wait = exponential(SECOND, longest=timedelta(seconds=10), jitter=0)

    assert [wait(n, ERROR).total_seconds() for n in range(6)] == [1, 2, 4, 8, 10, 10]


def test_jitter_shortens_a_wait_by_a_share_of_it() -> None:
    def waits(dice: float) -> list[float]:
        wait = exponential(SECOND, factor=10, longest=timedelta(seconds=100), jitter=0.25, rand=lambda: dice)
        return [wait(n, ERROR).total_seconds() for n in range(4)]

    assert waits(0.0) == [1, 10, 100, 100]
    assert waits(1.0) == [0.75, 7.5, 75, 75]


@pytest.mark.parametrize(
    "arguments",
    [
        {"first": timedelta(0)},
        {"first": timedelta(hours=2)},
        {"first": 1},
        {"longest": timedelta.max},
        {"factor": 0.5},
        {"factor": float("nan")},
        {"jitter": 1.5},
        {"jitter": -0.1},
    ],
    ids=str,
)
def test_an_exponential_backoff_must_describe_waits(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="exponential"):
        exponential(**arguments)


def test_a_backoff_is_a_wait_or_a_list_of_them_or_a_function() -> None:
    def waits(backoff: Any) -> list[float]:
        policy = RetryPolicy(backoff=backoff)
        return [policy.wait("t", n, ERROR).total_seconds() for n in range(4)]

    assert waits(SECOND) == [1, 1, 1, 1]
    assert waits([SECOND, 3 * SECOND]) == [1, 3, 3, 3]
    assert waits(lambda retried, _: retried * SECOND) == [0, 1, 2, 3]


def test_a_backoff_function_sees_the_error() -> None:
    policy = RetryPolicy(backoff=lambda _, error: SECOND if error is ERROR else 2 * SECOND)

    assert policy.wait("t", 0, ERROR) == SECOND
    assert policy.wait("t", 0, KeyError()) == 2 * SECOND


async def _coroutine(*_: Any) -> timedelta:
    return SECOND


class _AsyncCallable:
    async def __call__(self, *_: Any) -> timedelta:
        return SECOND


@pytest.mark.parametrize(
    "backoff",
    [[], [SECOND, -SECOND], [1, 2], timedelta(-1), timedelta.max, 5, "soon", _coroutine, _AsyncCallable()],
    ids=lambda backoff: type(backoff).__name__,
)
def test_what_is_no_backoff_is_refused_at_once(backoff: Any) -> None:
    with pytest.raises(ConfigError, match="backoff"):
        RetryPolicy(backoff=backoff)


@pytest.mark.parametrize("is_failure", [True, _coroutine, _AsyncCallable()], ids=["bool", "function", "object"])
def test_what_is_no_predicate_is_refused_at_once(is_failure: Any) -> None:
    with pytest.raises(ConfigError, match="is_failure"):
        RetryPolicy(is_failure=is_failure)


# -- mistakes of the user's functions -----------------------------------------------------------------------------------


def _raises(error: BaseException) -> Callable[..., Any]:
    def function(*_: Any) -> Any:
        raise error

    return function


@pytest.mark.parametrize(
    "function",
    [
        _raises(ZeroDivisionError()),
        _raises(SystemExit(1)),
        lambda *_: None,
        lambda *_: 5,
        lambda *_: -SECOND,
        lambda *_: timedelta.max,
    ],
    ids=["raises", "exits", "None", "a number", "negative", "endless"],
)
def test_a_backoff_function_that_answers_nonsense_is_reported_once_for_a_type_and_replaced(
    function: Callable[..., Any],
) -> None:
    policy = RetryPolicy(backoff=function)

    with structlog.testing.capture_logs() as lines:
        assert is_default(policy.wait("a", 0, ERROR))
        assert is_default(policy.wait("a", 3, ERROR), 3)
        assert is_default(policy.wait("b", 0, ERROR))

    assert [line["type"] for line in lines] == ["a", "b"]
    assert all("backoff" in line["event"] and line["mistake"] for line in lines)


@pytest.mark.parametrize("error", [ZeroDivisionError(), SystemExit(1)], ids=str)
def test_a_predicate_that_raises_is_reported_once_for_a_type_and_the_error_counts(error: BaseException) -> None:
    policy = RetryPolicy(is_failure=_raises(error))

    with structlog.testing.capture_logs() as lines:
        assert all(policy.counts(task_type, ERROR) for task_type in "aabb")

    assert [line["type"] for line in lines] == ["a", "b"]


def test_types_of_strangers_do_not_fill_the_log() -> None:
    policy = RetryPolicy(backoff=_raises(ZeroDivisionError()))

    with structlog.testing.capture_logs() as lines:
        for n in range(3_000):
            policy.wait(f"stranger {n}", 0, ERROR)

    assert len(lines) == 1_000


# -- whose answer wins --------------------------------------------------------------------------------------------------


def test_a_policy_over_another_answers_first() -> None:
    wide = RetryPolicy(backoff=SECOND, is_failure=lambda _: False)

    assert RetryPolicy(backoff=2 * SECOND).over(wide).wait("t", 0, ERROR) == 2 * SECOND
    assert not RetryPolicy(backoff=2 * SECOND).over(wide).counts("t", ERROR)
    assert RetryPolicy().over(wide).wait("t", 0, ERROR) == SECOND
    assert RetryPolicy(is_failure=lambda _: True).over(wide).counts("t", ERROR)


def test_without_any_answer_it_is_as_in_asynq() -> None:
    policy = RetryPolicy().over(RetryPolicy())

    assert is_default(policy.wait("t", 2, ERROR), 2)
    assert policy.counts("t", ERROR)
