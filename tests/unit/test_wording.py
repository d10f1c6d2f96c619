"""Numbers, sizes, spans and times in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from taskflow import wording

NOW = datetime(2026, 1, 10, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0"),
        (987, "987"),
        (1000, "1k"),
        (1234, "1.2k"),
        (45_678, "46k"),
        (6_700_000, "6.7M"),
        (3e12, "3T"),
        (2e15, "2000T"),
    ],
)
def test_short_numbers(count: int, words: str) -> None:
    assert wording.short_number(count) == words


def test_numbers_in_full() -> None:
    assert wording.number(1234567) == "1,234,567"
    assert wording.many(1, "task") == "1 task"
    assert wording.many(1204, "task") == "1,204 tasks"


@pytest.mark.parametrize(
    ("value", "words"), [(0, "0"), (0.25, "0.25"), (0.5, "0.5"), (2.5, "2.5"), (40, "40"), (1200, "1.2k")]
)
def test_numbers_on_an_axis(value: float, words: str) -> None:
    assert wording.amount(value) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (3_565_158, "3.4 MiB"),
        (5 * 2**40, "5.0 TiB"),
        (2**51, "2048.0 TiB"),
    ],
)
def test_sizes(count: int, words: str) -> None:
    assert wording.size(count) == words


@pytest.mark.parametrize(
    ("share", "words"),
    [(0, "0 %"), (0.0004, "<0.1 %"), (0.004, "0.4 %"), (0.1234, "12 %"), (0.0999, "10 %"), (1, "100 %")],
)
def test_shares(share: float, words: str) -> None:
    assert wording.percent(share) == words


@pytest.mark.parametrize(
    ("per_second", "words"),
    [(0, "0/s"), (12.34, "12.3/s"), (2, "2/s"), (4500, "4.5k/s"), (0.5, "30/min"), (0.001, "3.6/h")],
)
def test_rates(per_second: float, words: str) -> None:
    assert wording.rate(per_second) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 ms"),
        (0.82, "820 ms"),
        (3.21, "3.2 s"),
        (59.7, "60 s"),
        (60, "1m"),
        (250, "4m 10s"),
        (7500, "2h 5m"),
        (3600, "1h"),
        (3605, "1h"),
        (273_600, "3d 4h"),
        (-90, "-1m 30s"),
    ],
)
def test_spans(seconds: float, words: str) -> None:
    assert wording.span(timedelta(seconds=seconds)) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-12, "12s ago"), (0, "0s ago"), (-90, "1m ago"), (200, "in 3m"), (-7300, "2h ago"), (-170_000, "47h ago")],
)
def test_times_as_seen_from_now(seconds: float, words: str) -> None:
    assert wording.relative(NOW + timedelta(seconds=seconds), NOW) == words


def test_a_time_far_off_is_a_date() -> None:
    assert wording.relative(NOW - timedelta(days=3), NOW).startswith("2026-01-07 ")


def test_text_of_strangers_does_nothing() -> None:
    assert wording.plain("a\x1b[31m\tb\nc\u202egnp.exe\u2066") == "a\\x1b[31m\tb\nc\\u202egnp.exe\\u2066"
