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
from bench.figures import Line, Report, at_most, percentile
from taskflow.broker.progress import ProgressStream
from taskflow.broker.queue import Broker
from taskflow.client import Client
from taskflow.task import Progress

TITLE = "Viewers: five hundred event streams of one API process, of which a hundred are never read"
METHOD = (
    "`taskflow api`, with `api.streams.per_client` raised; 400 viewers read the events of one task, 100 open a stream with 20 MB of history and never "
    "read. A process of its own publishes ten entries of 500 letters a second, and measures its round trips, before there are viewers, with one, and with "
    "all. The API and the viewers run at `nice 10`: publisher and Redis come first, as they would on machines of their own, so that their figures show what "
    "viewers cost them and not that two cores are shared by all. `/health` is asked 20 times a second. Memory is the API's, first with all viewers open, then over "
    "the time after which viewers that read nothing are dropped (30 s)."
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


class _Seen(Struct):
    """What was seen over some seconds."""

    waits: list[float]
    health: list[float]
    memory: list[float]
    commands: float
    """Redis commands for each entry."""
    processor: float
    """Redis's processor time for each entry, in microseconds."""
    connections: int
    api_share: float
    """The API's share of a core, in %."""


def measure(course: Course) -> Report:
    """Measure with no viewer, with one and with all, some times."""
    runs = [_run(course) for _ in course.rounds("viewers", _RUNS)]
    report = Report("viewers", TITLE, METHOD, [])
    names = ("no viewer", "one viewer", f"{_READERS + _SLEEPERS} viewers")
    for at, name in enumerate(names):
        seen = [run[0][at] for run in runs]
        report.lines += _lines(name, seen, last=at == len(names) - 1)
    everything = [run[0][-1] for run in runs]
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


def _lines(name: str, seen: list[_Seen], *, last: bool) -> list[Line]:
    lines = [
        Line(f"{name}: publish p50", "ms", [percentile(each.waits, 50) for each in seen]),
        Line("publish p99", "ms", [percentile(each.waits, 99) for each in seen]),
        Line("Redis commands for each entry", "", [each.commands for each in seen]),
        Line("Redis processor time for each entry", "µs", [each.processor for each in seen]),
        Line("connections to Redis", "", [float(each.connections) for each in seen]),
        Line("/health p50", "ms", [percentile(each.health, 50) for each in seen]),
        Line("/health p99", "ms", [percentile(each.health, 99) for each in seen], at_most(50) if last else None),
        Line("API, share of a core", "%", [each.api_share for each in seen]),
    ]
    return [lines[0], *(Line(f"{name}: {line.label}", line.unit, line.values, line.budget) for line in lines[1:])]


def _run(course: Course) -> tuple[list[_Seen], float, float]:
    """Return what was seen in each step; of all viewers, the share of events that the slowest reader got (%), and how many were dropped."""
    settings = {"API_STREAMS_PER_CLIENT": "1000"}
    with (
        processes.server() as url,
        processes.admin(url) as redis,
        api.bare(url, settings, niceness=_NICE) as served,
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
            time.sleep(1)
            viewers.close_input()
            told = viewers.read()
    return seen, 100 * min(told["events"]) / len(seen[-1].waits), float(told["dropped"])


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
    calls, processor, used = _calls(redis), _processor(redis), _used(served.pid)
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
    probes = len(health)
    names = [str(client["name"]) for client in redis.client_list()]
    return _Seen(
        waits=waits,
        health=health,
        memory=memory,
        commands=(_calls(redis) - calls - probes) / len(waits),  # a probe is a PING
        processor=(_processor(redis) - processor) * 1e6 / len(waits),
        connections=sum(name.startswith("taskflow") for name in names),
        api_share=100 * (_used(served.pid) - used) / took,
    )


def _calls(redis: Any) -> float:
    """How many commands Redis has carried out, but for our own."""
    stats = redis.info("commandstats")
    own = {"cmdstat_info", "cmdstat_client|list", "cmdstat_client"}
    return float(sum(each["calls"] for name, each in stats.items() if name not in own))


def _processor(redis: Any) -> float:
    info = redis.info("cpu")
    return float(info["used_cpu_sys"]) + float(info["used_cpu_user"])


def _used(pid: int) -> float:
    """The processor time (s) of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> float:
    """The resident memory of a process in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
