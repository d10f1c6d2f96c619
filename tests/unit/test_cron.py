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
        ("@hourly", "2026-03-27T13:00:00"),
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


def test_in_spring_a_job_in_the_missing_hour_runs_right_after_it() -> None:
    spec = Spec("30 2 * * *", timezone="Europe/Berlin")

    assert spec.next(datetime(2026, 3, 28, 12, tzinfo=UTC)) == datetime(2026, 3, 29, 1, tzinfo=UTC)


def test_in_autumn_a_job_in_the_doubled_hour_runs_once() -> None:
    times = Spec("30 2 * * *", timezone="Europe/Berlin").times(datetime(2026, 10, 24, 12, tzinfo=UTC))

    assert [next(times), next(times)] == [
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        datetime(2026, 10, 26, 1, 30, tzinfo=UTC),
    ]


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
    ],
)
def test_what_is_no_schedule_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidOption, match=reason):
        Spec(text)


def test_missed_times_are_the_last_ones() -> None:
    until = NOON + timedelta(days=400)

    missed = Spec("@every 1s").missed(NOON, until, most=3)

    assert missed == [until - timedelta(seconds=2), until - timedelta(seconds=1), until]
    assert Spec("@hourly").missed(NOON, NOON + timedelta(hours=2), most=10) == [
        NOON.replace(hour=13, minute=0, second=0),
        NOON.replace(hour=14, minute=0, second=0),
    ]
    assert Spec("@daily").missed(NOON, NOON + timedelta(hours=1), most=3) == []
