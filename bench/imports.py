"""imports: how long a program waits for `import taskflow`, and a person for `taskflow --help`."""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial

from bench import processes
from bench.course import Course
from bench.figures import Budget, Line, Report, at_most

TITLE = "Imports: wall time of a new process"
METHOD = "Wall time of whole processes, in turn, after one of each to warm the caches; a bare interpreter is shown beside them and taken off."
_COMMANDS = {
    "bare interpreter": ("-c", "pass"),
    "`import taskflow`": ("-c", "import taskflow"),
    "`from taskflow import TaskFlow`": ("-c", "from taskflow import TaskFlow"),
    "`taskflow --help`": ("-m", "taskflow", "--help"),
}


def measure(course: Course) -> Report:
    """Measure each command in turn."""
    contenders = {label: partial(_milliseconds, arguments) for label, arguments in _COMMANDS.items()}
    for warm_up in contenders.values():
        warm_up()
    lines = course.lines(contenders, "ms", {"`taskflow --help`": at_most(300)})
    bare, imported, used, helped = lines.values()
    return Report(
        "imports",
        TITLE,
        METHOD,
        [
            *lines.values(),
            _without(bare, imported, "`import taskflow` without the interpreter", at_most(150)),
            _without(bare, used, "`from taskflow import TaskFlow` without the interpreter", at_most(150)),
            _without(bare, helped, "`taskflow --help` without the interpreter", None),
        ],
    )


def _without(bare: Line, line: Line, label: str, budget: Budget | None) -> Line:
    pairs = zip(line.values, bare.values, strict=True)
    return Line(label, "ms", [value - start for value, start in pairs], budget)


def _milliseconds(arguments: tuple[str, ...]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], env=processes.environment(), stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - started) * 1000
