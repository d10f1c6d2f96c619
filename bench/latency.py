"""latency: how soon an idle worker picks a task up."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import processes, tasks
from bench.course import Course
from bench.figures import Budget, Line, Report, at_most, percentile, ratio
from taskflow.client import SyncClient

TITLE = "Latency: an idle worker process, one task at a time"
METHOD = (
    "From before the enqueue (blocking client, in another process) to the first statement of the handler, by one clock: the task "
    "carries the time. The next task is sent 10-30 ms after a pick-up; a bare `PING` at the same pace shows what the machine itself takes to wake up. Each value is a percentile of one run's samples. asynq "
    "enqueues from its own process; set to look every 5 ms it gets the same pauses; with its default, a look every 0.5-1.5 s after the last, it "
    "gets tasks at random within 2 s, in one run, beside the others, as it does nothing in between."
)
_SAMPLES = 200
_LAZY_SAMPLES = 40
_PINGS = 100
_PAUSE, _JITTER = 0.010, 0.020
_MS = 1e6
"""Nanoseconds in a millisecond."""


def measure(course: Course) -> Report:
    """Measure ours and asynq in turn, and the lazy default of asynq meanwhile."""
    samples = course.count(_SAMPLES)
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    pings: list[tuple[float, float]] = []
    with processes.server() as url, _lazy(course) as lazy:
        for number in course.rounds("pick-up by an idle worker"):
            ours.append(_percentiles(_waits(url, samples)))
            pings.append(_percentiles(_pings(url, course.count(_PINGS))))
            if course.peer is not None:
                course.tell(f"pick-up by asynq, run {number}")
                theirs.append(_polling(course.peer, url, samples))
        lines = _lines("pick-up", ours, at_most(0.5), at_most(3.0))
        p50, p99 = lines
        lines += _lines("a bare `PING` after such a pause,", pings)
        if lazy is not None:
            polling, as_it_comes = _lines("asynq, a look every 5 ms,", theirs), _lazy_lines(course, lazy)
            ratios = [
                ratio("asynq, a look every 5 ms : ours, p50", polling[0], p50),
                ratio("asynq, a look every 5 ms : ours, p99", polling[1], p99),
                ratio("asynq as it comes : ours, p50", as_it_comes[0], p50),
            ]
            lines = [*lines, *polling, *as_it_comes, *ratios]
    return Report("latency", TITLE, METHOD, lines, course.peer_notes)


def _waits(url: str, samples: int) -> list[float]:
    """Return how long each task waited for an idle worker, in ms."""
    tasks.empty(url)
    spec = {"url": url, "queues": [tasks.QUEUE], "each": True}
    waits = []
    with SyncClient(url) as client, processes.start_role("listener", spec) as worker:
        worker.read()
        for number in range(samples + 1):
            client.enqueue(tasks.NOOP, str(time.time_ns()).encode())
            _, sent, started = worker.read()["sample"]
            if number:  # the first opens connections and loads scripts
                waits.append((started - sent) / _MS)
            time.sleep(_PAUSE + random.random() * _JITTER)
        worker.close_input()
        worker.read()
    return waits


def _pings(url: str, samples: int) -> list[float]:
    """Return how long a blocking client waits for the answer to a `PING`, in ms: what an idle machine takes to wake up."""
    waits = []
    with processes.admin(url) as redis:
        for _ in range(samples + 1):
            before = time.time_ns()
            redis.ping()
            waits.append((time.time_ns() - before) / _MS)
            time.sleep(_PAUSE + random.random() * _JITTER)
    return waits[1:]


def _percentiles(waits: list[float]) -> tuple[float, float]:
    return percentile(waits, 50), percentile(waits, 99)


def _polling(peer: Path, url: str, samples: int) -> tuple[float, float]:
    tasks.empty(url)
    pauses = ["--pause", f"{_PAUSE * 1000:.0f}ms", "--jitter", f"{_JITTER * 1000:.0f}ms"]
    measured = processes.run_peer(peer, url, "latency", "--samples", str(samples), "--check-interval", "5ms", *pauses)
    return measured["p50_ms"], measured["p99_ms"]


def _lines(
    label: str, runs: list[tuple[float, float]], median: Budget | None = None, tail: Budget | None = None
) -> list[Line]:
    return [
        Line(f"{label} p50", "ms", [p50 for p50, _ in runs], median),
        Line(f"{label} p99", "ms", [p99 for _, p99 in runs], tail),
    ]


@contextmanager
def _lazy(course: Course) -> Iterator[processes.Child | None]:
    """Start asynq as it comes, on a server of its own; it is measured while others are."""
    if course.peer is None:
        yield None
        return
    options = ["--samples", str(course.count(_LAZY_SAMPLES, least=2)), "--pause", "1ms", "--jitter", "2s"]
    with (
        processes.server() as url,
        processes.Child(processes.peer_command(course.peer, url, "latency", *options)) as child,
    ):
        yield child


def _lazy_lines(course: Course, child: processes.Child) -> list[Line]:
    course.tell("pick-up by asynq with its default interval")
    measured = child.read()
    return [Line(f"asynq as it comes, p{percent}", "ms", [measured[f"p{percent}_ms"]]) for percent in (50, 99)]
