"""The table of what works between asynq and TaskFlow: which features the tests of this folder show, in which direction.

A test takes its place in the table by `case` (the conformance suite) or `shows` (any other test). `docs/wire-format.md` holds the
table as the last whole run found it: `make interop ARGS=--write-table` writes it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from interop.stage import Stage

PAGE = Path(__file__).parents[2] / "docs" / "wire-format.md"
AREAS = (
    "Enqueue",
    "Run",
    "Inspect",
    "Act on a task",
    "Act on many tasks",
    "Queues",
    "Groups",
    "Mixed fleet",
    "Schedules",
)
"""The table's parts, in order."""
BEGIN, END = "<!-- conformance: begin -->", "<!-- conformance: end -->"
MARK = "feature"
"""The pytest mark that carries a feature's key and direction."""


class Direction(StrEnum):
    """Who made what there is, and who acts on it then; both inspectors read it."""

    PYTHON_GO = "python-go"
    GO_PYTHON = "go-python"
    PYTHON_PYTHON = "python-python"
    GO_GO = "go-go"

    @property
    def heading(self) -> str:
        """The direction as the table's head has it."""
        maker, actor = (side.capitalize() for side in self.value.split("-"))
        return f"{maker} → {actor}"


ACROSS = (Direction.PYTHON_GO, Direction.GO_PYTHON)
EVERY = tuple(Direction)
Key = tuple[str, str]
Outcomes = Mapping[tuple[Key, Direction], bool]


@dataclass
class Feature:
    """One row: what it is, the directions in which tests show it, and what is known to differ."""

    area: str
    name: str
    note: str = ""
    directions: set[Direction] = field(default_factory=set)


@dataclass(frozen=True)
class Case:
    """One function of the conformance suite in one direction."""

    key: Key
    direction: Direction
    run: Callable[[Stage], Awaitable[None]]

    @property
    def id(self) -> str:
        """The test's id."""
        return f"{self.key[0]}: {self.key[1]}[{self.direction}]"


FEATURES: dict[Key, Feature] = {}
"""The rows, in the order in which the modules name them."""
CASES: dict[str, Case] = {}
"""The conformance suite, by id."""
_Test = TypeVar("_Test", bound=Callable[..., Any])


def _claim(area: str, name: str, directions: Iterable[Direction], note: str) -> Key:
    assert area in AREAS
    feature = FEATURES.setdefault((area, name), Feature(area, name))
    feature.directions |= set(directions)
    feature.note = feature.note or note
    return area, name


def case(
    area: str, name: str, *directions: Direction, note: str = ""
) -> Callable[[Callable[[Stage], Awaitable[None]]], Callable[[Stage], Awaitable[None]]]:
    """Make a function a case of the conformance suite, in the named directions or in all; `note` says what differs."""

    def register(run: Callable[[Stage], Awaitable[None]]) -> Callable[[Stage], Awaitable[None]]:
        chosen = directions or EVERY
        key = _claim(area, name, chosen, note)
        for direction in chosen:
            one = Case(key, direction, run)
            CASES[one.id] = one
        return run

    return register


def shows(area: str, name: str, *directions: Direction, note: str = "") -> Callable[[_Test], _Test]:
    """Let a test stand for a feature in the table."""
    key = _claim(area, name, directions, note)

    def mark(test: _Test) -> _Test:
        for direction in directions:
            test = getattr(pytest.mark, MARK)(key, direction)(test)
        return test

    return mark


def load() -> None:
    """Let every test of this folder claim its places; tests that were not collected too."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        import_module(f"{__package__}.{path.stem}")


def places() -> set[tuple[Key, Direction]]:
    """Return what the table has marks for."""
    return {(key, direction) for key, feature in FEATURES.items() for direction in feature.directions}


def table(outcomes: Outcomes | None = None) -> str:
    """Return the table; without outcomes, as it stands when every test has passed."""
    heads = ["", *(direction.heading for direction in Direction), "known to differ"]
    lines = [_line(heads), _line(["---", *(":-:" for _ in Direction), "---"])]
    area = ""
    for key, feature in sorted(FEATURES.items(), key=lambda item: AREAS.index(item[0][0])):
        if feature.area != area:
            area = feature.area
            lines.append(_line([f"**{area}**", *("" for _ in Direction), ""]))
        marks = [_mark(feature, direction, key, outcomes) for direction in Direction]
        lines.append(_line([feature.name, *marks, feature.note]))
    return "\n".join(lines)


def _mark(feature: Feature, direction: Direction, key: Key, outcomes: Outcomes | None) -> str:
    if direction not in feature.directions:
        return ""
    return "✓" if outcomes is None or outcomes[key, direction] else "✗"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |".replace("  ", " ")


def documented() -> str:
    """Return the table that the page holds."""
    _, _, rest = PAGE.read_text().partition(BEGIN)
    text, _, _ = rest.partition(END)
    return text.strip()


def write(outcomes: Outcomes) -> None:
    """Write the table into the page; every place must have an outcome."""
    head, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    PAGE.write_text(f"{head}{BEGIN}\n{table(outcomes)}\n{END}{tail}")
