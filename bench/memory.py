"""memory: what a worker process takes, idle and after many tasks."""

from __future__ import annotations

from bench import processes, tasks
from bench.course import Course
from bench.figures import Line, Report, at_most

TITLE = "Memory: one worker process"
METHOD = (
    "Resident memory of the process at concurrency 100: a second after its start without tasks; when the first tenth of the tasks was "
    "handled; and after the last. No growth means at most 5 MB between the latter two."
)
_TASKS, _FULL = 100_000, 1_000_000
_RUNS = 3
_REST = 1.0
_BATCH = 100_000


def measure(course: Course) -> Report:
    """Measure a new worker each run."""
    count = course.count(_FULL if course.full else _TASKS)
    with processes.server() as url:
        runs = [_run(url, count) for _ in course.rounds(f"memory over {count:,} tasks", _RUNS)]
    idle, warm, last = (list(values) for values in zip(*runs, strict=True))
    lines = [
        Line("idle", "MB", idle, at_most(70)),
        Line(f"after {count // 10:,} tasks", "MB", warm),
        Line(f"after {count:,} tasks", "MB", last),
        Line("growth between", "MB", [after - before for before, after in zip(warm, last, strict=True)], at_most(5)),
    ]
    return Report("memory", TITLE, METHOD, lines)


def _run(url: str, count: int) -> tuple[float, float, float]:
    """Return the memory (MB) idle, after a tenth, and after all."""
    tasks.empty(url)
    spec = {"url": url, "marks": [count // 10, count], "rest": _REST}
    with processes.start_role("drainer", spec) as worker:
        worker.read()
        worker.send("go")
        idle = float(worker.read()["memory"])
        for first in range(0, count, _BATCH):
            tasks.fill(url, min(_BATCH, count - first))
        warm, last = worker.read()["marks"]
    tasks.check_drained(url, count)
    return idle, float(warm["memory"]), float(last["memory"])
