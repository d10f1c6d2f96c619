"""enqueue: how fast programs put tasks into a queue, one by one, together, and in lists."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench import processes, tasks
from bench.course import Course
from bench.figures import Budget, Line, Report, at_least, ratio

TITLE = "Enqueue: one producing process"
METHOD = (
    "Each in a process of its own, on an empty server, after a few tasks to warm up; our programs run on uvloop. Together: so many "
    "coroutines share one `Client`, each awaiting its own enqueue; asynq with as many goroutines on one client. Lists: "
    "`Client.enqueue_many`, making the `Task` objects included. Contenders run in turn."
)
_WIDTHS = (32, 64, 256)
_ONE_BY_ONE, _TOGETHER, _LISTS = 6_000, 30_000, 50_000
_BEST_PYTHON_PEER = 6_400
"""Tasks a second of the fastest of eleven Python task queues, measured once on a 2-core machine."""
_LISTS_RATE = 60_000
_ONE = "asynq, one by one"


def measure(course: Course) -> Report:
    """Measure all ways in turn."""
    with processes.server() as url:
        lines = course.lines(_contenders(course, url), "/s", _budgets())
    return Report("enqueue", TITLE, METHOD, [*lines.values(), *_ratios(lines)], course.peer_notes)


def enqueue_rate(url: str, way: str, count: int, width: int = 1) -> float:
    """Enqueue on an empty server from a process of its own; return tasks a second."""
    tasks.empty(url)
    whole = max(1, count // width) * width
    measured = processes.run_role("producer", {"url": url, "way": way, "tasks": whole, "width": width})
    return whole / float(measured["seconds"])


def peer_rate(peer: Path, url: str, count: int, goroutines: int) -> float:
    """Enqueue with asynq on an empty server; return tasks a second."""
    tasks.empty(url)
    measured = processes.run_peer(peer, url, "enqueue", "--tasks", str(count), "--goroutines", str(goroutines))
    return float(measured["rate"])


def _contenders(course: Course, url: str) -> dict[str, Callable[[], float]]:
    one, together, lists = (course.count(count) for count in (_ONE_BY_ONE, _TOGETHER, _LISTS))
    found: dict[str, Callable[[], float]] = {
        "`Client`, one by one": partial(enqueue_rate, url, "client", one),
        "`SyncClient`, one by one": partial(enqueue_rate, url, "sync", one),
    }
    if course.peer is not None:
        found[_ONE] = partial(peer_rate, course.peer, url, one, 1)
    for width in _WIDTHS:
        found[_ours(width)] = partial(enqueue_rate, url, "together", together, width)
        if course.peer is not None:
            found[_theirs(width)] = partial(peer_rate, course.peer, url, together, width)
    for batch in (100, 1_000):
        found[f"lists of {batch:,}"] = partial(enqueue_rate, url, "many", lists, batch)
    return found


def _ours(width: int) -> str:
    return f"together, {width} coroutines"


def _theirs(width: int) -> str:
    return f"asynq, {width} goroutines"


def _budgets() -> dict[str, Budget]:
    return {
        "`Client`, one by one": at_least(_BEST_PYTHON_PEER),
        "`SyncClient`, one by one": at_least(_BEST_PYTHON_PEER),
        "lists of 1,000": at_least(_LISTS_RATE),
    }


def _ratios(lines: dict[str, Line]) -> list[Line]:
    if _ONE not in lines:
        return []
    return [
        ratio("`SyncClient` : asynq, one by one", lines["`SyncClient`, one by one"], lines[_ONE]),
        *(
            ratio(f"together : asynq, {width} at once", lines[_ours(width)], lines[_theirs(width)], at_least(1.0))
            for width in _WIDTHS
        ),
    ]
