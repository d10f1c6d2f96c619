"""Payloads as text, and charts as lines: pure functions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from taskflow.dashboard.charts import Series, line_chart, numbers, seconds
from taskflow.dashboard.values import preview, shown

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("data", "kind", "text"),
    [
        (b"", "empty", ""),
        (b'{"a":[1]}', "json", '{\n  "a": [\n    1\n  ]\n}'),
        (b"{no json", "text", "{no json"),
        (b"\x00\xffok", "binary", "00000000  00 ff 6f 6b                                      ..ok"),
    ],
)
def test_bytes_are_shown_as_what_they_are(data: bytes, kind: str, text: str) -> None:
    found = shown(data)

    assert (found.kind, found.text, found.size, found.cut) == (kind, text, len(data), False)


def test_of_much_the_beginning_is_shown() -> None:
    found = shown("ü€😀".encode() * 1000, most=100)

    assert found.cut
    assert found.size == 9000
    assert "ü€😀".startswith(found.text[-3:]) or set(found.text) == set("ü€😀")


def test_a_preview_is_one_short_line() -> None:
    assert preview(b'{"a":\n  1}') == '{"a": 1}'
    assert preview(b"x" * 1000) == "x" * 120 + "…"
    assert preview(b"\xff") == "\ufffd"


def test_a_chart_has_a_line_for_each_series_and_a_gap_where_nothing_is_known() -> None:
    moments = [BEGIN + timedelta(minutes=minute) for minute in range(4)]
    chart = line_chart(
        "Tasks", moments, [Series("done", "series-ok", [0, 40, None, 80]), Series("failed", "series-bad", [0] * 4)]
    )

    done, failed = chart.lines
    assert done.path == "M48 110L123.3 69.2M274 28.4h0.1"
    assert not done.area
    assert failed.area.endswith("Z")
    assert [tick.label for tick in chart.up] == ["0", "20", "40", "60", "80", "100"]
    assert chart.rows[2] == (moments[2], ["", "0"])
    assert chart.summary == "done: now 80, at most 80; failed: now 0, at most 0."


@pytest.mark.parametrize(
    ("greatest", "lines"),
    [
        (0, [0, 0.25, 0.5, 0.75, 1]),
        (0.3, [0, 0.1, 0.2, 0.3, 0.4]),
        (3, [0, 1, 2, 3, 4]),
        (950, [0, 200, 400, 600, 800, 1000]),
    ],
)
def test_the_lines_of_a_grid_are_at_round_numbers(greatest: float, lines: list[float]) -> None:
    assert numbers(greatest) == pytest.approx(lines)


@pytest.mark.parametrize(
    ("greatest", "lines"),
    [
        (4, [0, 1, 2, 3, 4]),
        (31, [0, 15, 30, 45, 60]),
        (290, [0, 120, 240, 360, 480, 600]),
        (10 * 86_400, [0, 172_800, 345_600, 518_400, 691_200, 864_000]),
    ],
)
def test_the_lines_of_a_grid_of_times_are_at_round_times(greatest: float, lines: list[float]) -> None:
    assert seconds(greatest) == pytest.approx(lines)
    assert len(seconds(greatest * 100)) > 2


def test_a_chart_of_nothing_says_so() -> None:
    assert line_chart("Tasks", [], [Series("done", "series-ok", [])]).empty
    assert line_chart("Tasks", [BEGIN], [Series("done", "series-ok", [None])]).empty
