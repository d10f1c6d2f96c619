"""Figures: what a benchmark has measured, once a run, and what is said of it. Pure values, no I/O."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from msgspec import Struct, field


class Budget(Struct, frozen=True):
    """What a figure must reach: at least the bound, or at most (`ceiling`)."""

    bound: float
    ceiling: bool = False

    def met(self, value: float) -> bool:
        """Whether a value keeps to it."""
        return value <= self.bound if self.ceiling else value >= self.bound

    def text(self, unit: str) -> str:
        """The budget as people read it."""
        return f"{'≤' if self.ceiling else '≥'} {shown(self.bound, unit)}"


def at_least(bound: float) -> Budget:
    """Return the budget of a figure that should be high."""
    return Budget(bound)


def at_most(bound: float) -> Budget:
    """Return the budget of a figure that should be low."""
    return Budget(bound, ceiling=True)


class Line(Struct, frozen=True):
    """One figure: its values, one a run, in a unit (`/s`, `ms`, `MB`, `%`, `x`), and the budget, if it has one."""

    label: str
    unit: str
    values: list[float]
    budget: Budget | None = None

    @property
    def median(self) -> float:
        """The figure."""
        return statistics.median(self.values)

    @property
    def span(self) -> str:
        """The lowest and the highest value; nothing for a single one."""
        if len(self.values) == 1:
            return ""
        return f"{shown(min(self.values), self.unit)} - {shown(max(self.values), self.unit)}"

    @property
    def verdict(self) -> str:
        """Whether the budget is kept; nothing without a budget."""
        if self.budget is None:
            return ""
        return "met" if self.budget.met(self.median) else "missed"


class Circumstances(Struct, frozen=True):
    """When, by which command and on which machine a report was measured; `machine` is facts by name."""

    date: str
    command: str
    runs: int
    scale: float
    machine: dict[str, str]


class Report(Struct):
    """What one benchmark says: its lines, how they were measured, and notes on what was left out."""

    name: str
    title: str
    method: str
    lines: list[Line]
    notes: list[str] = field(default_factory=list)
    circumstances: Circumstances | None = None


def ratio(label: str, above: Line, below: Line, budget: Budget | None = None) -> Line:
    """Return the ratio of two figures' medians."""
    return Line(label, "x", [above.median / below.median], budget)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile: the smallest value that is no less than `percent` of all values."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def shown(value: float, unit: str) -> str:
    """Return a value with its unit, in as many digits as it is worth."""
    if unit == "/s":
        return f"{value:,.0f}/s"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}"
