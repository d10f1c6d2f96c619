"""TypeStats: attempts are counted by type, and the counters of many workers add up to rates and percentiles."""

from __future__ import annotations

import random
from typing import Any

import pytest

from support.clock import MovableClock
from taskflow import Broker, Registry
from taskflow.broker.delivery import Archive, Complete, Delivery, Done, Outcome, Requeue, Retry
from taskflow.broker.type_stats import BUCKETS, TypeTallies, bucket, new_counts, stats_of
from taskflow.errors import InvalidOption
from taskflow.wire.keys import TALLIES
from taskflow.wire.message import TaskMessage
from taskflow.worker.handler import Handler
from taskflow.worker.tallies import Tallies

FAILURE = Retry(4e9, "no")


def work() -> None: ...


def count(tallies: Tallies, task_type: str, outcome: Outcome, seconds: float) -> None:
    """Let an attempt end, as the worker does."""
    if tallies.skip:
        tallies.skip -= 1
        return
    message = TaskMessage(type=task_type, id="a", queue="default")
    delivery = Delivery("default", b"a", message.SerializeToString(), "1.5")
    delivery.started_at = 1000.0
    tallies.add(delivery, outcome, 1000.0 + seconds)


@pytest.fixture
def tallies(broker: Broker) -> Tallies:
    registry = Registry()
    registry.add("mail", Handler(work))
    registry.add("report:*", Handler(work))
    return Tallies(registry, TypeTallies(broker))


@pytest.mark.parametrize("seconds", [0.00013, 0.001, 0.0051, 0.1, 1.0, 7.3, 3600.0])
def test_a_duration_is_right_within_an_eighth(seconds: float) -> None:
    counts = new_counts()
    counts[bucket(seconds)] += 1

    p50 = stats_of("t", counts).p50

    assert p50 is not None
    assert p50.total_seconds() == pytest.approx(seconds, rel=0.125)


@pytest.mark.parametrize(("seconds", "place"), [(-1.0, 2), (0.0, 2), (1e-9, 2), (1e9, 1 + BUCKETS)])
def test_durations_beyond_all_buckets_count_at_their_ends(seconds: float, place: int) -> None:
    assert bucket(seconds) == place


def test_percentiles_are_those_of_the_durations() -> None:
    durations = sorted(random.Random(1).lognormvariate(-3, 1) for _ in range(5000))
    counts = new_counts()
    for seconds in durations:
        counts[bucket(seconds)] += 1

    stats = stats_of("t", counts)

    for found, share in ((stats.p50, 0.5), (stats.p95, 0.95), (stats.p99, 0.99)):
        assert found is not None
        assert found.total_seconds() == pytest.approx(durations[int(share * 5000)], rel=0.15)


async def test_counts_of_workers_and_days_add_up(broker: Broker, tallies: Tallies, clock: MovableClock) -> None:
    clock.advance(24 * 3600 - clock.now() % (24 * 3600) + 1800)
    for _ in range(2):
        count(tallies, "mail", Done(), 0.01)
        count(tallies, "mail", FAILURE, 1.0)
        count(tallies, "report:7", Complete(b"1"), 0.2)
        count(tallies, "report:8", Archive("no"), 0.2)
        await tallies.flush()
        clock.advance(3 * 3600)
    store = TypeTallies(broker)

    today = await store.days(1)
    clock.advance(24 * 3600)
    yesterday = await store.days(2)

    assert {name: (one.succeeded, one.failed) for name, one in today.items()} == {"mail": (2, 2), "report:*": (2, 2)}
    assert today["mail"].success_rate == 0.5
    assert yesterday == today
    assert await store.days(1) == {}


async def test_lately_is_this_hour_and_the_one_before(broker: Broker, tallies: Tallies, clock: MovableClock) -> None:
    clock.advance(3600 - clock.now() % 3600 + 1800)
    count(tallies, "mail", Done(), 0.01)
    await tallies.flush()
    store = TypeTallies(broker)

    assert set(await store.lately()) == {"mail"}
    clock.advance(3600)
    assert set(await store.lately()) == {"mail"}
    clock.advance(3600)
    assert await store.lately() == {}


@pytest.mark.parametrize(
    ("task_type", "outcome"),
    [
        ("mail", Requeue()),
        ("mail", Archive("cancelled", cancelled=True)),
        ("mail", Retry(4e9, "not yet", counts=False)),
        ("strange", FAILURE),
    ],
    ids=str,
)
async def test_what_is_no_attempt_at_a_served_type_is_not_counted(
    tallies: Tallies, raw: Any, task_type: str, outcome: Outcome
) -> None:
    count(tallies, task_type, outcome, 1.0)
    await tallies.flush()

    assert not list(raw.scan_iter(match=TALLIES + "*"))


async def test_counters_are_bounded_and_expire(tallies: Tallies, raw: Any) -> None:
    """However many types a prefix stands for, and however long attempts take."""
    for n in range(900):
        count(tallies, f"report:{n}", Done(), 1.5 ** (n % 60 - 30))
    await tallies.flush()

    day, hour = sorted(raw.scan_iter(match=TALLIES + "*"), key=len)
    assert raw.hlen(day) == raw.hlen(hour) <= 2 + BUCKETS
    assert 8 * 86400 < raw.ttl(day) <= 9 * 86400
    assert 7200 < raw.ttl(hour) <= 3 * 3600


async def test_of_very_many_attempts_some_stand_for_all(broker: Broker, tallies: Tallies) -> None:
    """The types come in turn, and so do failures: each is met."""
    random.seed(7)
    for n in range(40_000):
        count(tallies, ("mail", "report:1")[n % 2], FAILURE if n % 8 < 2 else Done(), 0.01)
    await tallies.flush()

    figures = await TypeTallies(broker).days(1)

    for stats in figures.values():
        assert stats.succeeded + stats.failed == pytest.approx(20_000, rel=0.2)
        assert stats.success_rate == pytest.approx(0.75, abs=0.1)
    assert set(figures) == {"mail", "report:*"}


async def test_strange_counters_are_left_out(broker: Broker, tallies: Tallies, raw: Any) -> None:
    count(tallies, "mail", Done(), 0.01)
    await tallies.flush()
    for key in raw.scan_iter(match=TALLIES + "*"):
        raw.hset(key, mapping={"x mail": 1, "0": 1, "999 mail": 1, "0 other": "many"})

    assert {name: one.succeeded for name, one in (await TypeTallies(broker).days(1)).items()} == {"mail": 1}


@pytest.mark.parametrize("days", [0, 9])
async def test_days_that_there_are_none_of(broker: Broker, days: int) -> None:
    with pytest.raises(InvalidOption, match="days"):
        await TypeTallies(broker).days(days)


def test_without_attempts_there_is_no_rate() -> None:
    stats = stats_of("t", new_counts())

    assert (stats.success_rate, stats.p50, stats.p99) == (None, None, None)
