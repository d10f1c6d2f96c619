"""What becomes of an attempt: pure policy, with the clock and the dice as arguments."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskflow import InvalidPayload, Retry, RetryPolicy, RevokeTask, SkipRetry
from taskflow.broker import delivery as outcomes
from taskflow.broker.delivery import Archive, Complete, Done, Outcome, Requeue
from taskflow.checks import MAX_SPAN
from taskflow.errors import AttemptCancelled, AttemptTimedOut, HandlerNotFound
from taskflow.wire.message import TaskMessage
from taskflow.worker.outcome import MAX_DEATHS, Stop, describe, failed, lost, stopped, succeeded

NOW = 1_800_000_000.5
WORKER = "host:1"


def message(retried: int = 0, retry: int = 3, retention: int = 0) -> TaskMessage:
    return TaskMessage(type="t", id="a", queue="default", retry=retry, retried=retried, retention=retention)


def fail(error: BaseException, retried: int = 0, retry: int = 3) -> Outcome:
    return failed(message(retried, retry), error, now=NOW, worker=WORKER)


def raised(error: BaseException) -> BaseException:
    """The error as a handler raises it, with a traceback."""
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


def test_success_is_kept_for_its_retention() -> None:
    assert succeeded(message(retention=60), b"1") == Complete(b"1")
    assert succeeded(message(retention=60), None) == Complete(None)
    assert succeeded(message(), b"1") == Done(b"1")


def test_a_failure_is_tried_again_after_the_backoff() -> None:
    outcome = fail(raised(ValueError("no luck")), retried=2)

    assert isinstance(outcome, outcomes.Retry)
    assert outcome.error == "ValueError: no luck"
    assert outcome.counts
    assert NOW + 16 + 15 <= outcome.at < NOW + 16 + 15 + 90
    assert outcome.attempt is not None
    assert outcome.attempt.worker == WORKER
    assert outcome.attempt.at.timestamp() == pytest.approx(NOW)
    assert outcome.attempt.traceback is not None
    assert "raised" in outcome.attempt.traceback


@pytest.mark.parametrize(("retried", "retry"), [(3, 3), (0, 0), (9, 3)])
def test_when_all_retries_are_used_up_the_task_is_archived(retried: int, retry: int) -> None:
    outcome = fail(ValueError("no"), retried=retried, retry=retry)

    assert isinstance(outcome, Archive)
    assert not outcome.cancelled
    assert outcome.error == "ValueError: no"
    assert outcome.attempt is not None


@pytest.mark.parametrize("error", [SkipRetry("useless"), InvalidPayload("Expected `int`, got `str`")])
def test_what_cannot_get_better_is_archived_at_once(error: Exception) -> None:
    assert isinstance(fail(error, retried=0), Archive)


def test_a_type_without_a_handler_waits_for_a_worker_that_has_one() -> None:
    assert isinstance(fail(HandlerNotFound("none")), outcomes.Retry)


def test_a_revoked_task_is_dropped_even_at_its_last_retry() -> None:
    assert fail(RevokeTask(), retried=3) == Done(revoked="RevokeTask")


@pytest.mark.parametrize(("delay", "waited"), [(90.5, 90.5), (0, 0), (-5, 0)])
def test_a_handler_chooses_its_own_delay(delay: float, waited: float) -> None:
    outcome = fail(Retry(timedelta(seconds=delay), "not yet"))

    assert isinstance(outcome, outcomes.Retry)
    assert outcome.at == NOW + waited
    assert outcome.error == "not yet"
    assert outcome.counts


def test_a_handlers_own_delay_costs_a_retry() -> None:
    assert isinstance(fail(Retry(timedelta(seconds=1)), retried=3), Archive)


@pytest.mark.parametrize(
    ("stop", "kind"),
    [
        (Stop.LOST, type(None)),
        (Stop.SHUTDOWN, Requeue),
        (Stop.CANCELLED, Archive),
        (Stop.TIMEOUT, outcomes.Retry),
        (Stop.SIGNALLED, outcomes.Retry),
    ],
)
def test_each_way_to_be_stopped_has_its_outcome(stop: Stop, kind: type) -> None:
    outcome = stopped(message(), stop, now=NOW, worker=WORKER)

    assert type(outcome) is kind
    if isinstance(outcome, Archive):
        assert outcome.cancelled
    if isinstance(outcome, Requeue):
        assert not outcome.died


@pytest.mark.parametrize("stop", [Stop.TIMEOUT, Stop.SIGNALLED])
def test_a_stop_that_is_a_failure_uses_up_retries(stop: Stop) -> None:
    assert isinstance(stopped(message(retried=3), stop, now=NOW, worker=WORKER), Archive)


def test_the_third_death_archives_the_task() -> None:
    for deaths in range(1, MAX_DEATHS):
        assert lost(deaths, now=NOW, worker=WORKER) == Requeue(died=True)
    given_up = lost(MAX_DEATHS, now=NOW, worker=WORKER)
    assert isinstance(given_up, Archive)
    assert "worker died" in given_up.error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no"), "ValueError: no"),
        (ValueError(), "ValueError"),
        (SkipRetry("because"), "because"),
        (SkipRetry(), "SkipRetry"),
        (KeyError("x"), "KeyError: 'x'"),
    ],
)
def test_errors_are_told_with_their_type_unless_the_handler_chose_the_words(error: Exception, text: str) -> None:
    assert describe(error) == text


def test_texts_of_strangers_are_bounded_and_can_be_encoded() -> None:
    outcome = fail(raised(ValueError("\ud800" + "x" * 100_000)))

    assert isinstance(outcome, outcomes.Retry)
    assert outcome.attempt is not None
    assert outcome.attempt.traceback is not None
    assert len(outcome.error) < 5_000
    assert len(outcome.attempt.traceback) < 20_000
    outcome.attempt.error.encode()
    outcome.attempt.traceback.encode()


class _Broken(Exception):
    def __str__(self) -> str:
        raise RuntimeError("an error that cannot tell what it is")


def test_an_error_that_cannot_be_printed_is_a_failure_all_the_same() -> None:
    outcome = fail(raised(_Broken()))

    assert isinstance(outcome, outcomes.Retry)
    assert outcome.error.startswith("_Broken")


def test_a_deep_recursion_leaves_a_bounded_traceback() -> None:
    def deeper(n: int) -> int:
        return deeper(n + 1)

    with pytest.raises(RecursionError) as caught:
        deeper(0)

    outcome = fail(caught.value)

    assert isinstance(outcome, outcomes.Retry)
    assert outcome.attempt is not None
    assert len(outcome.attempt.traceback or "") < 20_000


# -- the user's policy ----------------------------------------------------------------------------------------------------

PATIENT = RetryPolicy(backoff=timedelta(seconds=7), is_failure=lambda error: not isinstance(error, ConnectionError))


def test_the_policy_says_how_long_to_wait() -> None:
    outcome = failed(message(), ValueError("no"), now=NOW, worker=WORKER, retries=PATIENT)

    assert isinstance(outcome, outcomes.Retry)
    assert (outcome.at, outcome.counts) == (NOW + 7, True)


def test_an_error_that_is_no_failure_costs_no_retry_but_is_kept_as_an_attempt() -> None:
    outcome = failed(message(), ConnectionError("away"), now=NOW, worker=WORKER, retries=PATIENT)

    assert isinstance(outcome, outcomes.Retry)
    assert (outcome.at, outcome.counts, outcome.error) == (NOW + 7, False, "ConnectionError: away")
    assert outcome.attempt is not None


def test_a_task_without_retries_left_is_archived_even_by_what_is_no_failure() -> None:
    """As in asynq: the retries are looked at first."""
    for retried, retry in ((3, 3), (0, 0)):
        outcome = failed(message(retried, retry), ConnectionError("away"), now=NOW, worker=WORKER, retries=PATIENT)
        assert isinstance(outcome, Archive)


def test_the_handlers_own_delay_wins_over_the_policys() -> None:
    outcome = failed(message(), Retry(timedelta(seconds=2)), now=NOW, worker=WORKER, retries=PATIENT)

    assert isinstance(outcome, outcomes.Retry)
    assert (outcome.at, outcome.counts) == (NOW + 2, True)


def test_a_handlers_own_delay_may_be_no_failure() -> None:
    snooze = RetryPolicy(is_failure=lambda error: not isinstance(error, Retry))
    outcome = failed(message(), Retry(timedelta(seconds=2)), now=NOW, worker=WORKER, retries=snooze)

    assert isinstance(outcome, outcomes.Retry)
    assert (outcome.at, outcome.counts) == (NOW + 2, False)


@pytest.mark.parametrize(("stop", "error"), [(Stop.TIMEOUT, AttemptTimedOut), (Stop.SIGNALLED, AttemptCancelled)])
def test_the_policy_is_asked_about_attempts_that_were_stopped_too(stop: Stop, error: type[Exception]) -> None:
    asked: list[tuple[int, BaseException]] = []

    def wait(retried: int, problem: BaseException) -> timedelta:
        asked.append((retried, problem))
        return timedelta(seconds=1)

    retries = RetryPolicy(backoff=wait, is_failure=lambda problem: not isinstance(problem, error))
    outcome = stopped(message(2), stop, now=NOW, worker=WORKER, retries=retries)

    assert isinstance(outcome, outcomes.Retry)
    assert (outcome.at, outcome.counts) == (NOW + 1, False)
    assert [(retried, type(problem)) for retried, problem in asked] == [(2, error)]


def test_a_delay_is_a_timedelta_within_reason() -> None:
    with pytest.raises(TypeError, match=r"write Retry\(timedelta"):
        Retry(5)  # type: ignore[arg-type]
    outcome = fail(Retry(timedelta.max))
    assert isinstance(outcome, outcomes.Retry)
    assert outcome.at == NOW + MAX_SPAN.total_seconds()
