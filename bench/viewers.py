"""viewers: what five hundred viewers of one API process cost it, Redis, and whoever publishes what they see."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from msgspec import Struct

from bench import api, processes, tasks
from bench.course import Course
from bench.figures import Budget, Line, Report, at_most, percentile
from taskflow.broker.progress import ProgressStream
from taskflow.broker.queue import Broker
from taskflow.client import Client
from taskflow.task import Progress

TITLE = "Viewers: five hundred event streams of one API process, of which a hundred are never read"
METHOD = (
    "`taskflow api`, with `api.streams.per_client` raised; 400 viewers read the events of one task, 100 open a stream with 20 MB of history and never "
    "read. A process of its own publishes ten entries of 500 letters a second, and measures its round trips: before there are viewers, with one, with all, and with "
    "all once more while the API runs at `nice 10`. The viewers do anyway, so that publisher and Redis come first, as they would on "
    "machines of their own: what is left is what viewers cost them, and not that two cores are shared by all. `/health` is asked 20 times a second. Redis "
    "tells how many commands it has carried out and how long they took (`INFO commandstats`), but for those of `/health`. Memory is the API's, first "
    "with all viewers open, then over the time after which viewers that read nothing are dropped (30 s)."
)
_READERS, _SLEEPERS = 400, 100
_RATE, _LETTERS = 10.0, 500
_SECONDS, _LONG_SECONDS = 15.0, 50.0
_DROPPED_AFTER = 45.0
"""Seconds after which the sleepers must be dropped."""
_PROBE_PAUSE = 0.05
_NICE = 10
_HOT, _FULL = "hot", "full"
_RUNS = 3
_NOT_COUNTED = frozenset({"cmdstat_info", "cmdstat_client|list", "cmdstat_client", "cmdstat_ping"})


class _Seen(Struct):
    """What was seen over some seconds."""

    waits: list[float]
    health: list[float]
    memory: list[float]
    commands: float
    """Redis commands for each entry."""
    busy: float
    """How long Redis was busy with them for each entry, in microseconds."""
    connections: int
    api_share: float
    """The API's share of a core, in %."""


def measure(course: Course) -> Report:
    """Measure with no viewer, with one, with all, and with all of an API that comes last, some times."""
    runs = [_run(course) for _ in course.rounds("viewers", _RUNS)]
    report = Report("viewers", TITLE, METHOD, [])
    none, one, everything, niced = ([run[0][step] for run in runs] for step in range(4))
    report.lines += _lines("no viewer", none) + _lines("one viewer", one)
    report.lines += _lines(f"{_READERS + _SLEEPERS} viewers", everything, at_most(50))
    report.lines += _lines(f"{_READERS + _SLEEPERS} viewers, the API at nice {_NICE}", niced)[:2]
    report.lines += [
        Line("API memory with all viewers open", "MB", [seen.memory[0] for seen in everything]),
        Line(
            "the most it grew from then on",
            "MB",
            [max(seen.memory) - seen.memory[0] for seen in everything],
            at_most(16),
        ),
        Line("events that the slowest reader got, of those published", "%", [run[1] for run in runs]),
    ]
    if course.seconds(_LONG_SECONDS) >= _DROPPED_AFTER:
        report.lines.append(Line(f"viewers that were dropped, of {_SLEEPERS}", "", [run[2] for run in runs]))
    return report


def _lines(name: str, seen: list[_Seen], budget: Budget | None = None) -> list[Line]:
    lines = [
        Line("publish p50", "ms", [percentile(each.waits, 50) for each in seen]),
        Line("publish p99", "ms", [percentile(each.waits, 99) for each in seen]),
        Line("Redis commands for each entry", "", [each.commands for each in seen]),
        Line("they took", "µs", [each.busy for each in seen]),
        Line("connections to Redis", "", [float(each.connections) for each in seen]),
        Line("/health p50", "ms", [percentile(each.health, 50) for each in seen]),
        Line("/health p99", "ms", [percentile(each.health, 99) for each in seen], budget),
        Line("API, share of a core", "%", [each.api_share for each in seen]),
    ]
    return [Line(f"{name}: {line.label}", line.unit, line.values, line.budget) for line in lines]


def _run(course: Course) -> tuple[list[_Seen], float, float]:
    """Return what was seen in each step; of all viewers, the share of events that the slowest reader got (%), and how many were dropped."""
    settings = {"API_STREAMS_PER_CLIENT": "1000"}
    with (
        processes.server() as url,
        processes.admin(url) as redis,
        api.bare(url, settings) as served,
        processes.start_role("teller", {"url": url, "task": _HOT, "rate": _RATE, "letters": _LETTERS}) as teller,
    ):
        tasks.empty(url)
        asyncio.run(_fill(url))
        teller.read()
        seconds = course.seconds(_SECONDS, least=2)
        seen = [_watch(redis, served, teller, seconds)]
        with _viewers(served, 1, 0):
            seen.append(_watch(redis, served, teller, seconds))
        with _viewers(served, _READERS, _SLEEPERS) as viewers:
            seen.append(_watch(redis, served, teller, course.seconds(_LONG_SECONDS, least=3)))
            os.setpriority(os.PRIO_PROCESS, served.pid, _NICE)
            seen.append(_watch(redis, served, teller, seconds))
            time.sleep(1)
            viewers.close_input()
            told = viewers.read()
    published = sum(len(each.waits) for each in seen[2:])
    return seen, 100 * min(told["events"]) / published, float(told["dropped"])


async def _fill(url: str) -> None:
    """Make the tasks, and 20 MB of progress of one."""
    async with Client(url) as client:
        for task in (_HOT, _FULL):
            await client.enqueue(tasks.NOOP, task_id=task)
    broker = Broker(url)
    entries = [(Progress(task_id=_FULL, percentage=1, message="x" * 30_000), None)] * 100
    for _ in range(7):
        await ProgressStream(broker).publish_all(entries)
    await broker.close()


@contextmanager
def _viewers(served: api.Api, readers: int, sleepers: int) -> Iterator[processes.Child]:
    spec = {"port": served.port, "task": _HOT, "readers": readers, "sleepers_task": _FULL, "sleepers": sleepers}
    with processes.start_role("viewers", spec) as child:
        os.setpriority(os.PRIO_PROCESS, child.pid, _NICE)
        child.read()
        time.sleep(2)
        yield child


def _watch(redis: Any, served: api.Api, teller: processes.Child, seconds: float) -> _Seen:
    """Let entries be published, and look at everything meanwhile."""
    health: list[float] = []
    memory = [_memory(served.pid)]
    before, used = _commands(redis), _used(served.pid)
    connection = HTTPConnection(api.HOST, served.port, timeout=30)
    started = time.perf_counter()
    teller.send(f"{seconds:g}")
    while (left := started + seconds - time.perf_counter()) > 0:
        at = time.perf_counter()
        connection.request("GET", "/health")
        connection.getresponse().read()
        health.append((time.perf_counter() - at) * 1000)
        memory.append(_memory(served.pid))
        time.sleep(min(_PROBE_PAUSE, left))
    connection.close()
    waits = teller.read()["waits"]
    took = time.perf_counter() - started
    after = _commands(redis)
    names = [str(client["name"]) for client in redis.client_list()]
    return _Seen(
        waits=waits,
        health=health,
        memory=memory,
        commands=(after[0] - before[0]) / len(waits),
        busy=(after[1] - before[1]) / len(waits),
        connections=sum(name.startswith("taskflow") for name in names),
        api_share=100 * (_used(served.pid) - used) / took,
    )


def _commands(redis: Any) -> tuple[float, float]:
    """How many commands Redis has carried out, and how long they took (µs); but for our own, and for those of `/health`."""
    stats = redis.info("commandstats")
    others = [each for name, each in stats.items() if name not in _NOT_COUNTED]
    return float(sum(each["calls"] for each in others)), float(sum(each["usec"] for each in others))


def _used(pid: int) -> float:
    """The processor time (s) of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> float:
    """The resident memory of a process in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
