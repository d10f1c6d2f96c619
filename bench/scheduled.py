"""scheduled: how late tasks with a due time start."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from bench import processes, tasks
from bench.course import Course
from bench.figures import Line, Report, at_most, percentile
from taskflow.client import SyncClient
from taskflow.task import Task, TaskInfo, TaskOptions

TITLE = "Scheduled: how late tasks start"
METHOD = (
    "Tasks are enqueued in one list with `process_in` spread at random over some seconds, with fractions; lateness is from the due time that "
    "`enqueue` returned to the first statement of the handler, in an idle worker process on the same machine."
)
_TASKS = 500
_FIRST, _SPREAD = 0.5, 4.0
_STRAGGLERS = 5.0
"""How long (s) after the last due time tasks may still be missing."""


def measure(course: Course) -> Report:
    """Measure the lateness of some hundred tasks, some times."""
    with processes.server() as url:
        runs = [_lateness(url, course) for _ in course.rounds("lateness of scheduled tasks")]
    lines = [
        Line("lateness p50", "ms", [percentile(run, 50) for run in runs]),
        Line("lateness p99", "ms", [percentile(run, 99) for run in runs], at_most(20.0)),
        Line("lateness, the worst", "ms", [max(run) for run in runs]),
    ]
    return Report("scheduled", TITLE, METHOD, lines)


def _lateness(url: str, course: Course) -> list[float]:
    """Return how late each task was, in ms."""
    tasks.empty(url)
    spread = course.seconds(_SPREAD)
    waiting = [_task(_FIRST + random.random() * spread) for _ in range(course.count(_TASKS))]
    with SyncClient(url) as client, processes.start_role("listener", {"url": url, "queues": [tasks.QUEUE]}) as worker:
        worker.read()
        due = _due(client.enqueue_many(waiting))
        _wait_until_done(url, len(due), until=max(due.values()) + _STRAGGLERS)
        worker.close_input()
        samples = worker.read()["samples"]
    return [(started / 1e9 - due[task_id]) * 1000 for task_id, _, started in samples]


def _task(seconds: float) -> Task:
    return Task(tasks.NOOP, b"0", TaskOptions(process_in=timedelta(seconds=seconds)))


def _due(answers: Sequence[TaskInfo | Exception]) -> dict[str, float]:
    due: dict[str, float] = {}
    for info in answers:
        assert isinstance(info, TaskInfo)
        assert isinstance(info.next_process_at, datetime)
        due[info.id] = info.next_process_at.timestamp()
    return due


def _wait_until_done(url: str, count: int, *, until: float) -> None:
    """Wait until so many tasks are settled; fails at a time (Unix s)."""
    while tasks.processed(url) < count:
        if time.time() > until:
            raise processes.ChildFailed(f"only {tasks.processed(url)} of {count} scheduled tasks have run")
        time.sleep(0.1)
