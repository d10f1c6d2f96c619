"""When periodic tasks fall due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from taskflow.cron import Spec
from taskflow.errors import InvalidOption

NOON = datetime(2026, 3, 27, 12, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*/5 * * * *", "2026-03-27T12:05:00"),
        ("*/10 * * * * *", "2026-03-27T12:00:40"),
        ("0 9 * * MON", "2026-03-30T09:00:00"),
        ("0,30 * * * * *", "2026-03-27T12:01:00"),
        ("10,50 0 12 * * *", "2026-03-27T12:00:50"),
        ("0 9 ? * mon", "2026-03-30T09:00:00"),
        ("0 9 1 * ?", "2026-04-01T09:00:00"),
        ("@hourly", "2026-03-27T13:00:00"),
        ("@Hourly", "2026-03-27T13:00:00"),
        ("@daily", "2026-03-28T00:00:00"),
        ("@midnight", "2026-03-28T00:00:00"),
        ("@weekly", "2026-03-29T00:00:00"),
        ("@monthly", "2026-04-01T00:00:00"),
        ("@yearly", "2027-01-01T00:00:00"),
        ("@every 30s", "2026-03-27T12:01:00"),
        ("@every 1h30m", "2026-03-27T13:30:00"),
        ("CRON_TZ=Europe/Berlin 0 9 * * *", "2026-03-28T08:00:00"),
        ("TZ=America/New_York @daily", "2026-03-28T04:00:00"),
    ],
)
def test_the_next_time(text: str, expected: str) -> None:
    assert Spec(text).next(NOON) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def test_an_entry_may_name_the_zone_and_the_spec_wins() -> None:
    assert Spec("0 9 * * *", timezone="Europe/Berlin").next(NOON) == datetime(2026, 3, 28, 8, tzinfo=UTC)
    assert Spec("TZ=UTC 0 9 * * *", timezone="Europe/Berlin").next(NOON) == datetime(2026, 3, 28, 9, tzinfo=UTC)


@pytest.mark.parametrize("text", ["30 2 * * *", "0 30 2 * * *"])
def test_in_spring_a_job_in_the_missing_hour_runs_right_after_it(text: str) -> None:
    spec = Spec(text, timezone="Europe/Berlin")

    assert spec.next(datetime(2026, 3, 28, 12, tzinfo=UTC)) == datetime(2026, 3, 29, 1, tzinfo=UTC)


@pytest.mark.parametrize("text", ["30 2 * * *", "0 30 2 * * *"])
def test_in_autumn_a_job_in_the_doubled_hour_runs_once(text: str) -> None:
    times = Spec(text, timezone="Europe/Berlin").times(datetime(2026, 10, 24, 12, tzinfo=UTC))

    assert [next(times), next(times)] == [
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        datetime(2026, 10, 26, 1, 30, tzinfo=UTC),
    ]


def test_in_the_second_pass_of_the_doubled_hour_the_first_is_over() -> None:
    spec = Spec("30 2 * * *", timezone="Europe/Berlin")

    assert spec.next(datetime(2026, 10, 25, 1, 10, tzinfo=UTC)) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)
    assert spec.latest(datetime(2026, 10, 25, 1, 10, tzinfo=UTC), datetime(2026, 10, 26, tzinfo=UTC), most=5) == []


def test_a_job_of_every_hour_runs_in_each_pass_and_never_in_an_hour_that_is_none() -> None:
    spec = Spec("*/30 * * * *", timezone="Europe/Berlin")

    for day in (datetime(2026, 10, 25, tzinfo=UTC), datetime(2026, 3, 29, tzinfo=UTC)):
        hours = [moment - day for moment in spec.latest(day, day + timedelta(hours=3), most=100)]
        assert hours == [timedelta(minutes=30 * n) for n in range(1, 7)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("61 * * * *", "minute"),
        ("* * *", "fields"),
        ("", "fields"),
        ("@every", "duration"),
        ("@every 0.5s", "whole seconds"),
        ("@every 0s", "whole seconds"),
        ("@fortnightly", "fields"),
        ("0 0 31 2 *", "day-of-month"),
        ("TZ=Mars/Olympus @daily", "time zone"),
        ("1," * 200 + "1 * * * *", "at most"),
    ],
)
def test_what_is_no_schedule_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidOption, match=reason):
        Spec(text)


def test_the_latest_times_come_without_a_walk_through_all_of_them() -> None:
    until = NOON + timedelta(days=400)

    for spec in ("@every 1s", "* * * * * *"):
        assert Spec(spec).latest(NOON, until, most=3) == [
            until - timedelta(seconds=2),
            until - timedelta(seconds=1),
            until,
        ]
    assert Spec("@hourly").latest(NOON, NOON + timedelta(hours=2), most=10) == [
        NOON.replace(hour=13, minute=0, second=0),
        NOON.replace(hour=14, minute=0, second=0),
    ]
    assert Spec("@daily").latest(NOON, NOON + timedelta(hours=1), most=3) == []
