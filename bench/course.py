"""Course: how much is measured and how often, the Go program to measure beside ours, and where progress is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from bench.figures import Budget, Line


class Course(Struct, frozen=True):
    """How benchmarks are to be run.

    Attributes:
        tell: Called with what is being measured now.
        runs: How often each figure is measured.
        scale: Factor on the numbers of tasks and samples and on durations.
        full: Also what takes minutes: a million tasks for backlog and memory.
        peer: The Go program, None where there is none; `peer_missing` says why.

    """

    tell: Callable[[str], None]
    runs: int = 5
    scale: float = 1.0
    full: bool = False
    peer: Path | None = None
    peer_missing: str = ""

    def count(self, full_count: int, *, least: int = 20) -> int:
        """Return a number of tasks or samples at this scale."""
        return max(least, round(full_count * self.scale))

    def seconds(self, full_seconds: float, *, least: float = 0.2) -> float:
        """Return a duration at this scale."""
        return max(least, full_seconds * self.scale)

    def rounds(self, what: str, most: int | None = None) -> Iterator[int]:
        """Count the runs, telling each; `most` bounds them where a run is long."""
        runs = self.runs if most is None else min(self.runs, most)
        for number in range(1, runs + 1):
            self.tell(f"{what}, run {number} of {runs}")
            yield number

    def alternate(self, contenders: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
        """Measure contenders in turn, A B A B, once each a run; return the values of each."""
        values: dict[str, list[float]] = {label: [] for label in contenders}
        for number in range(1, self.runs + 1):
            for label, contender in contenders.items():
                self.tell(f"{label}, run {number} of {self.runs}")
                values[label].append(contender())
        return values

    def lines(
        self, contenders: Mapping[str, Callable[[], float]], unit: str, budgets: Mapping[str, Budget] | None = None
    ) -> dict[str, Line]:
        """Measure contenders in turn; return the line of each."""
        chosen = budgets or {}
        return {
            label: Line(label, unit, values, chosen.get(label)) for label, values in self.alternate(contenders).items()
        }

    @property
    def peer_notes(self) -> list[str]:
        """What a report says if there is no Go program to measure beside."""
        return [] if self.peer else [f"asynq was not measured: {self.peer_missing}"]
