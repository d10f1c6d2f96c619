"""dashboard: what the overview of fifty queues with a million tasks costs, and what ten open dashboards cost a worker."""

from __future__ import annotations

import asyncio
import http.client
import os
import time
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

import msgspec

from bench import api, processes, tasks
from bench.course import Course
from bench.drain import drain_rate
from bench.figures import Line, Report, at_least, at_most, ratio
from taskflow.broker.queue import Broker
from taskflow.broker.sample_lists import RESOLUTIONS
from taskflow.broker.samples import Samples

TITLE = "Dashboard: fifty queues with a million tasks, and ten dashboards that are kept open"
METHOD = (
    "`taskflow api`; the overview is asked for as a browser's script does, more than a second after the last time, so that nothing is "
    "shown from memory that was read for somebody else a moment ago; at every fifth time charts and findings are read anew too. Redis tells how "
    "long it was busy (`INFO commandstats`, where what scripts call counts twice). Lists of samples are full. Ten dashboards are ten event streams that ask for the page "
    "whenever a queue has changed, as the script does: at most every 2 s, less often where the answer takes long; a worker drains beside them, as in the benchmark `drain`, in turn "
    "without them. 49 other queues hold a hundred tasks each. API and dashboards run at `nice 10`, as worker and Redis would "
    "not share a machine with them."
)
_QUEUES, _TASKS = 50, 1_000_000
_OTHERS = 49, 100
_DRAINED, _CONCURRENCY = 100_000, 100
_REFRESHES = 10
_PAUSE = 1.2
"""Seconds between two refreshes: what is read for one viewer is shown to others for one."""
_DASHBOARDS = 10
_NICE = 10
_PAGE = {"Accept": "text/html", "X-TaskFlow-Live": "1"}


def measure(course: Course) -> Report:
    """Measure the page, then drain with and without dashboards in turn."""
    return Report("dashboard", TITLE, METHOD, [*_page(course), *_beside_a_worker(course)])


def _page(course: Course) -> list[Line]:
    count = course.count(_TASKS) // _QUEUES
    longest, busiest, usual = [], [], []
    with processes.server() as url, processes.admin(url) as redis:
        course.tell(f"enqueueing {count * _QUEUES:,} tasks")
        for number in range(_QUEUES):
            tasks.fill(url, count, queue=f"queue-{number}")
        asyncio.run(_fill_samples(url, redis))
        with api.bare(url) as served:
            _refresh(served, redis)
            for _ in course.rounds("overview"):
                seen = [_refresh(served, redis) for _ in range(_REFRESHES)]
                longest.append(max(took for took, _ in seen))
                busiest.append(max(busy for _, busy in seen))
                usual.append(sorted(busy for _, busy in seen)[len(seen) // 2])
    return [
        Line("overview, the longest refresh", "ms", longest, at_most(150)),
        Line("Redis was busy with it, median of the refreshes", "ms", usual),
        Line("Redis was busy with it, at most", "ms", busiest, at_most(5)),
    ]


async def _fill_samples(url: str, redis: Any) -> None:
    """Take a sample of each queue, and put others before it, a step apart, until the lists are full."""
    broker = Broker(url)
    samples = Samples(broker)
    await samples.take()
    await broker.close()
    for number in range(_QUEUES):
        for span, (step, points) in RESOLUTIONS.items():
            key = f"taskflow:{{queue-{number}}}:samples:{span}"
            at, *state = msgspec.msgpack.decode(redis.lindex(key, 0))
            redis.lpush(key, *(msgspec.msgpack.encode([at - i * step * 1000, *state]) for i in range(1, points)))


def _refresh(served: api.Api, redis: Any) -> tuple[float, float]:
    """Ask for the overview; return how long that took, and how long Redis was busy with it (ms)."""
    time.sleep(_PAUSE)
    before = _busy(redis)
    connection = http.client.HTTPConnection(api.HOST, served.port, timeout=30)
    at = time.perf_counter()
    connection.request("GET", "/", headers=_PAGE)
    answer = connection.getresponse()
    answer.read()
    took = (time.perf_counter() - at) * 1000
    connection.close()
    if answer.status != HTTPStatus.OK:
        raise processes.ChildFailed(f"the overview was answered {answer.status}")
    return took, (_busy(redis) - before) / 1000


def _busy(redis: Any) -> float:
    """How long Redis was busy with commands other than ours (µs)."""
    return float(sum(each["usec"] for name, each in redis.info("commandstats").items() if name != "cmdstat_info"))


def _beside_a_worker(course: Course) -> list[Line]:
    count = course.count(_DRAINED)
    with processes.server() as url:
        drain = partial(drain_rate, url, count, _CONCURRENCY, others=_OTHERS)
        watched, alone = f"drain beside {_DASHBOARDS} dashboards", "drain without"
        contenders: dict[str, Callable[[], float]] = {alone: drain, watched: partial(_watched, url, drain)}
        lines = course.lines(contenders, "/s")
    return [*lines.values(), ratio(f"{watched} : without", lines[watched], lines[alone], at_least(0.95))]


def _watched(url: str, drain: Callable[[], float]) -> float:
    with api.bare(url) as served, processes.start_role("onlookers", _onlookers(served)) as onlookers:
        for pid in (served.pid, onlookers.pid):
            os.setpriority(os.PRIO_PROCESS, pid, _NICE)
        onlookers.read()
        rate = drain()
        onlookers.close_input()
        if not onlookers.read()["pages"]:
            raise processes.ChildFailed("the dashboards did not ask for the page")
        return rate


def _onlookers(served: api.Api) -> dict[str, Any]:
    return {"port": served.port, "dashboards": _DASHBOARDS}
