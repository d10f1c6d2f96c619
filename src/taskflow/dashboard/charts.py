"""Charts: numbers -> the lines of an SVG picture. Pure; templates/parts/chart.html draws what is computed here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from taskflow import wording

WIDTH = 280
"""In units that are about pixels."""
HEIGHT = 130
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 6, 8, 20
_TIMES = 3
"""Into how many parts the time is divided: so many labels have room."""
_PARTS = 4
"""Into how many parts an axis is divided that has nothing to show."""
_NUMBERS = ((1, 4), (2, 4), (4, 4), (5, 5), (10, 5))
"""Where an axis of numbers may end, times a power of ten, and into how many parts it is then divided."""
_SECONDS = (
    (60, 4), (120, 4), (240, 4), (600, 5), (1200, 4), (3600, 4), (7200, 4), (14_400, 4), (43_200, 4), (86_400, 4),
    (2 * 86_400, 4), (4 * 86_400, 4), (10 * 86_400, 5),
)  # fmt: skip
"""The same of an axis of seconds, from a minute on; what is longer is a number of days."""
_DAY = 86_400
_NEARLY = 1 - 1e-9
"""So that what counts as 0.3 because it cannot be said in binary is not more than 0.3."""
_TABLE_ROWS = 60
"""The most rows of the table that says the same as the picture."""

Moments = Sequence[datetime]
Numbers = Sequence[float | None]
Axis = Callable[[float], Sequence[float]]
"""The lines of the grid, from 0 to the end of the axis, for the greatest value."""


class Series(Struct, frozen=True):
    """One line of a chart: what it is called, its class in the style (`series-ok`, `series-bad`, ...), and its values; None: a gap."""

    name: str
    tone: str
    values: Numbers


class Line(Struct, frozen=True):
    """A line as it is drawn."""

    name: str
    tone: str
    path: str
    area: str


class Tick(Struct, frozen=True):
    """A mark on an axis."""

    at: float
    label: str


class Chart(Struct, frozen=True, kw_only=True):
    """A chart as it is drawn, with a table of the same numbers for those who do not see it."""

    title: str
    summary: str
    lines: Sequence[Line]
    rows: Sequence[tuple[datetime, Sequence[str]]]
    across: Sequence[Tick]
    up: Sequence[Tick]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    empty: bool = False

    @property
    def right(self) -> int:
        """Where the lines end."""
        return self.width - _RIGHT


def line_chart(
    title: str,
    moments: Moments,
    series: Sequence[Series],
    words: Callable[[float], str] = wording.amount,
    *,
    axis: Axis | None = None,
) -> Chart:
    """Return a chart of values over time.

    Args:
        title: What it shows.
        moments: When the values were taken, ascending.
        series: The lines, each with a value for each moment.
        words: How a value is said.
        axis: Where the lines of the grid are. Default: `numbers`.

    """
    known = [value for each in series for value in each.values if value is not None]
    grid = (axis or numbers)(max(known, default=0.0))
    across = _Scale(0, max(len(moments) - 1, 1), _LEFT, WIDTH - _RIGHT)
    up = _Scale(0, grid[-1], HEIGHT - _BOTTOM, _TOP)
    step = max(1, math.ceil(len(moments) / _TABLE_ROWS))
    return Chart(
        title=title,
        summary=_summary(series, words),
        lines=[_line(each, across, up) for each in series],
        rows=[
            (moment, [_said(each.values[at], words) for each in series])
            for at, moment in enumerate(moments)
            if at % step == 0 or at == len(moments) - 1
        ],
        across=_time_ticks(moments, across),
        up=[Tick(up(value), words(value)) for value in grid],
        empty=not known,
    )


def numbers(greatest: float) -> Sequence[float]:
    """Return a grid for numbers: its lines are at 1, 2, 2.5 or 5 with zeros, or multiples of these."""
    if greatest <= 0:
        return _grid(1.0, _PARTS)
    power = 10.0 ** math.floor(math.log10(greatest))
    top, parts = next((top * power, parts) for top, parts in _NUMBERS if top * power >= greatest * _NEARLY)
    return _grid(top, parts)


def counts(greatest: float) -> Sequence[float]:
    """Return a grid for numbers of things, of which there are no halves."""
    return numbers(max(greatest, _PARTS))


def seconds(greatest: float) -> Sequence[float]:
    """Return a grid for seconds: its lines are at round numbers of seconds, minutes, hours or days."""
    if greatest <= _SECONDS[0][0] / 2:
        return numbers(greatest)
    for top, parts in _SECONDS:
        if top >= greatest:
            return _grid(top, parts)
    return [value * _DAY for value in numbers(greatest / _DAY)]


class _Scale:
    """Maps values to places in the picture."""

    def __init__(self, low: float, high: float, begin: float, end: float) -> None:
        self._low, self._begin = low, begin
        self._factor = (end - begin) / (high - low)

    def __call__(self, value: float) -> float:
        return round(self._begin + (value - self._low) * self._factor, 1)


def _line(series: Series, across: _Scale, up: _Scale) -> Line:
    path = _path(series.values, across, up)
    whole = path and "M" not in path[1:] and None not in series.values
    floor = up(0)
    area = f"{path}L{across(len(series.values) - 1):g} {floor:g}L{across(0):g} {floor:g}Z" if whole else ""
    return Line(series.name, series.tone, path, area)


def _path(values: Numbers, across: _Scale, up: _Scale) -> str:
    """Return the path through all values that are known; a value between gaps is a dot."""
    parts: list[str] = []
    joined = False
    for at, value in enumerate(values):
        if value is None:
            joined = False
            continue
        alone = not joined and (at + 1 == len(values) or values[at + 1] is None)
        parts.append(f"{'L' if joined else 'M'}{across(at):g} {up(value):g}{'h0.1' if alone else ''}")
        joined = True
    return "".join(parts)


def _grid(top: float, parts: int) -> list[float]:
    return [top * part / parts for part in range(parts + 1)]


def _time_ticks(moments: Moments, across: _Scale) -> list[Tick]:
    if not moments:
        return []
    form = "%H:%M" if moments[-1] - moments[0] <= timedelta(days=2) else "%d %b"
    places = sorted({round((len(moments) - 1) * part / _TIMES) for part in range(_TIMES + 1)})
    return [Tick(across(at), moments[at].strftime(form)) for at in places]


def _said(value: float | None, words: Callable[[float], str]) -> str:
    return "" if value is None else words(value)


def _summary(series: Sequence[Series], words: Callable[[float], str]) -> str:
    """Say in words what the picture shows."""
    parts = []
    for each in series:
        known = [value for value in each.values if value is not None]
        said = f"now {words(known[-1])}, at most {words(max(known))}" if known else "nothing known"
        parts.append(f"{each.name}: {said}")
    return "; ".join(parts) + "."
