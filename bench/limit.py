"""limit: what the scripts and the connection alone can do, without handlers; no worker can be faster."""

from __future__ import annotations

from functools import partial

from bench import processes, tasks
from bench.course import Course
from bench.figures import Report

TITLE = "Limit: the scripts alone"
METHOD = (
    "One process leases batches and settles each in the round trip that leases the next (`Broker.exchange`), two round trips under "
    "way as in a worker with many slots; no handler runs, nothing extends leases. Tasks are enqueued first, outside the time."
)
_TASKS = {10: 20_000, 100: 50_000, 500: 50_000}


def measure(course: Course) -> Report:
    """Measure each size of batch in turn."""
    with processes.server() as url:
        contenders = {
            f"batches of {batch}": partial(exchange_rate, url, course.count(count), batch)
            for batch, count in _TASKS.items()
        }
        lines = course.lines(contenders, "/s")
    return Report("limit", TITLE, METHOD, list(lines.values()))


def exchange_rate(url: str, count: int, batch: int) -> float:
    """Fill an empty server and move all tasks through the scripts; return tasks a second."""
    tasks.empty(url)
    tasks.fill(url, count)
    seconds = processes.run_role("exchanger", {"url": url, "batch": batch})["seconds"]
    tasks.check_drained(url, count)
    return count / float(seconds)
