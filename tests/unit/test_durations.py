"""Durations as text, in Go's form."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow.durations import MAX_DURATION, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30s", timedelta(seconds=30)),
        ("1h30m", timedelta(hours=1, minutes=30)),
        ("1h0m0s", timedelta(hours=1)),
        ("500ms", timedelta(milliseconds=500)),
        ("1.5s", timedelta(seconds=1.5)),
        (".5h", timedelta(minutes=30)),
        ("250us", timedelta(microseconds=250)),
        ("250\u00b5s", timedelta(microseconds=250)),
        ("250\u03bcs", timedelta(microseconds=250)),
        ("1500ns", timedelta(microseconds=2)),
        ("+5m", timedelta(minutes=5)),
        ("0", timedelta(0)),
        ("0s", timedelta(0)),
        ("2562047h", timedelta(hours=2562047)),
    ],
)
def test_go_durations_are_read(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "30", "1.5", "s", "1d", "1w", "1h 30m", "1hxx30m", " 30s", "30s ", "30S", "1..5s", "\u0663s", "1e3s", "nan"],
)
def test_other_text_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match='such as "30s", "1h30m" or "500ms"'):
        parse_duration(text)


def test_negative_durations_are_refused() -> None:
    with pytest.raises(ValueError, match="is negative"):
        parse_duration("-30s")


@pytest.mark.parametrize("text", ["2562048h", "9" * 40 + "h", "9" * 400 + "s"])
def test_longer_than_go_can_count_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="too long"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (timedelta(0), "0s"),
        (timedelta(seconds=30), "30s"),
        (timedelta(seconds=90), "1m30s"),
        (timedelta(hours=1), "1h"),
        (timedelta(hours=1, seconds=2), "1h2s"),
        (timedelta(days=40), "960h"),
        (timedelta(seconds=1.5), "1.5s"),
        (timedelta(seconds=60, microseconds=500_000), "1m0.5s"),
        (timedelta(seconds=12, microseconds=345_678), "12.345678s"),
        (timedelta(milliseconds=500), "500ms"),
        (timedelta(microseconds=1500), "1.5ms"),
        (timedelta(microseconds=7), "7us"),
        (timedelta(seconds=-90), "-1m30s"),
    ],
)
def test_durations_are_written_as_go_reads_them(duration: timedelta, expected: str) -> None:
    assert format_duration(duration) == expected


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=10_000)))
def test_what_is_written_reads_back_exactly(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@given(st.timedeltas(min_value=timedelta(0), max_value=MAX_DURATION))
def test_what_is_written_reads_back_to_the_float_precision_of_durationpy(duration: timedelta) -> None:
    assert abs(parse_duration(format_duration(duration)) - duration) <= timedelta(milliseconds=1)


@given(st.text())
def test_any_text_reads_or_is_a_value_error_that_quotes_it(text: str) -> None:
    def read() -> timedelta | str:
        try:
            return parse_duration(text)
        except ValueError as error:
            return str(error)

    result = read()
    assert repr(text) in result if isinstance(result, str) else timedelta(0) <= result <= MAX_DURATION
