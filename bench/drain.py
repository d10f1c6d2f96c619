"""drain: how fast one worker process works off a full queue, beside asynq and beside the protocol's own limit."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench import processes, tasks
from bench.course import Course
from bench.figures import Budget, Line, Report, at_least, ratio
from bench.limit import exchange_rate

TITLE = "Drain: one worker process, a full queue"
METHOD = (
    "Tasks are enqueued first, outside the time. Time runs from before the worker starts (it connects, publishes itself) to the "
    "end of the last handler; then it is checked that exactly these tasks are settled and no lease is left. Plain: a no-op "
    "`async def` handler, 40-byte payload, log level warning. asynq's handler does nothing and its log is off; contenders "
    "run in turn."
)
_MANY, _FEW = 100, 10
_TASKS = {_MANY: 50_000, _FEW: 30_000}
_PEER_TASKS = 15_000
_VARIANT_TASKS = 30_000
_THREAD_TASKS = 10_000
_BESIDE_ASYNQ = {_MANY: 4.0, _FEW: 2.0}
_OF_THE_LIMIT = 0.4
_OF_PLAIN = 0.6
_THREADS_RATE = 5_000


def measure(course: Course) -> Report:
    """Measure everything, in turn."""
    with processes.server() as url:
        return Report("drain", TITLE, METHOD, [*_many(course, url), *_few(course, url)], course.peer_notes)


def drain_rate(
    url: str,
    count: int,
    concurrency: int,
    *,
    handler: str = "noop",
    keep: bool = False,
    log: bool = False,
    others: tuple[int, int] = (0, 0),
) -> float:
    """Fill an empty server, drain it with one worker process, check it; return tasks a second.

    `others`: how many other queues there are, which nobody serves, and how many tasks each of them holds.
    """
    tasks.empty(url)
    for number in range(others[0]):
        tasks.fill(url, others[1], queue=f"other-{number}")
    tasks.fill(url, count, payload=tasks.FIELDS if handler == "fields" else tasks.PAYLOAD, keep=keep)
    spec = {"url": url, "marks": [count], "handler": handler, "concurrency": concurrency, "log": log}
    with processes.start_role("drainer", spec) as worker:
        worker.read()
        worker.send("go")
        (mark,) = worker.read()["marks"]
    tasks.check_drained(url, count)
    return count / float(mark["seconds"])


def peer_rate(peer: Path, url: str, count: int, concurrency: int) -> float:
    """Fill an empty server and drain it with asynq; return tasks a second."""
    tasks.empty(url)
    tasks.fill(url, count)
    measured = processes.run_peer(peer, url, "drain", "--tasks", str(count), "--concurrency", str(concurrency))
    return float(measured["rate"])


def _many(course: Course, url: str) -> list[Line]:
    count, fewer = course.count(_TASKS[_MANY]), course.count(_VARIANT_TASKS)
    plain = f"plain, concurrency {_MANY}"
    scripts = f"the protocol's limit, batches of {_MANY}"
    variants = {
        "fields of a JSON payload": partial(drain_rate, url, fewer, _MANY, handler="fields"),
        "with result and retention": partial(drain_rate, url, fewer, _MANY, handler="result", keep=True),
        "with a log line a task": partial(drain_rate, url, fewer, _MANY, log=True),
    }
    threads = "`def` handlers in threads"
    contenders: dict[str, Callable[[], float]] = {
        plain: partial(drain_rate, url, count, _MANY),
        **_peer_contender(course, url, _MANY),
        scripts: partial(exchange_rate, url, count, _MANY),
        **variants,
        threads: partial(drain_rate, url, course.count(_THREAD_TASKS), _MANY, handler="thread"),
    }
    lines = course.lines(contenders, "/s", {threads: at_least(_THREADS_RATE)})
    ratios = _beside_asynq(lines, plain, _MANY)
    ratios.append(ratio("plain : the protocol's limit", lines[plain], lines[scripts], at_least(_OF_THE_LIMIT)))
    ratios += [ratio(f"{label} : plain", lines[label], lines[plain], at_least(_OF_PLAIN)) for label in variants]
    return [*lines.values(), *ratios]


def _few(course: Course, url: str) -> list[Line]:
    plain = f"plain, concurrency {_FEW}"
    contenders: dict[str, Callable[[], float]] = {
        plain: partial(drain_rate, url, course.count(_TASKS[_FEW]), _FEW),
        **_peer_contender(course, url, _FEW),
    }
    lines = course.lines(contenders, "/s")
    return [*lines.values(), *_beside_asynq(lines, plain, _FEW)]


def _peer_label(concurrency: int) -> str:
    return f"asynq, concurrency {concurrency}"


def _peer_contender(course: Course, url: str, concurrency: int) -> dict[str, Callable[[], float]]:
    if course.peer is None:
        return {}
    return {_peer_label(concurrency): partial(peer_rate, course.peer, url, course.count(_PEER_TASKS), concurrency)}


def _beside_asynq(lines: dict[str, Line], plain: str, concurrency: int) -> list[Line]:
    peer = lines.get(_peer_label(concurrency))
    if peer is None:
        return []
    budget: Budget = at_least(_BESIDE_ASYNQ[concurrency])
    return [ratio(f"plain : asynq, concurrency {concurrency}", lines[plain], peer, budget)]
