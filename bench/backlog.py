"""backlog: whether many waiting tasks slow a worker down."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bench import processes, tasks
from bench.course import Course
from bench.figures import Report, at_least, ratio

TITLE = "Backlog: the rate with few and with many tasks waiting"
METHOD = (
    "Time runs from the first handler to the last of the first 10,000; the worker then stops, and the backlog is filled up again. Two drains "
    "a run and backlog, in turn; each value is their rate together."
)
_FEW, _MANY, _FULL = 10_000, 300_000, 1_000_000
_DRAINS = 2


def measure(course: Course) -> Report:
    """Measure both backlogs in turn, each on a server of its own."""
    few, many = course.count(_FEW), course.count(_FULL if course.full else _MANY)
    with processes.server() as small, processes.server() as large:
        course.tell(f"enqueueing {many:,} tasks")
        tasks.fill(large, many)
        names = f"{few:,} waiting", f"{many:,} waiting"
        contenders: dict[str, Callable[[], float]] = {
            names[0]: partial(_rate, small, few, few),
            names[1]: partial(_rate, large, few, many),
        }
        lines = course.lines(contenders, "/s")
    compared = ratio("many : few", lines[names[1]], lines[names[0]], at_least(0.9))
    return Report("backlog", TITLE, METHOD, [*lines.values(), compared])


def _rate(url: str, count: int, backlog: int) -> float:
    """Drain some tasks of a backlog, some times; return tasks a second."""
    return _DRAINS * count / sum(_seconds(url, count, backlog) for _ in range(_DRAINS))


def _seconds(url: str, count: int, backlog: int) -> float:
    tasks.fill(url, backlog - tasks.pending(url))
    with processes.start_role("drainer", {"url": url, "marks": [1, count]}) as worker:
        worker.read()
        worker.send("go")
        first, last = worker.read()["marks"]
    return float(last["seconds"]) - float(first["seconds"])
