"""http: how many tasks the HTTP API takes, one server process as `taskflow api` starts it."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from typing import Any

from bench import api, processes, tasks
from bench.course import Course
from bench.figures import Line, Report, at_least, percentile, ratio
from taskflow.broker.catalog import TaskCatalog, TaskType
from taskflow.broker.queue import Broker

TITLE = "HTTP: one API process"
METHOD = (
    "`taskflow api` with all there is turned on: 20 API keys with scopes, a rate limit, CORS, a trusted proxy that names the client, a path that it takes "
    "away, a log line a request and one a change (to a file), metrics, bounds; the type is in the catalog and the payload checked against its "
    "schema. Beside it, in turn, with the default settings (no keys, limit, CORS and proxy). A load process of its own keeps requests under way "
    "on keep-alive connections, after a warm-up; on two cores, API, load and Redis share them."
)
_PATH = "/api/v1/tasks"
_SCHEMA = {
    "type": "object",
    "properties": {"to": {"type": "string"}, "n": {"type": "integer"}},
    "required": ["to", "n"],
    "additionalProperties": False,
}
_TASK = {"type": tasks.NOOP, "payload": json.loads(tasks.FIELDS)}
_CONNECTIONS, _BATCH_CONNECTIONS, _BATCH = 32, 4, 1_000
_SECONDS, _WARM_UP = 3.0, 0.5


def measure(course: Course) -> Report:
    """Measure single tasks and batches in turn, a new server process each run."""
    report = Report("http", TITLE, METHOD, [])
    if importlib.util.find_spec("taskflow.asgi") is None or importlib.util.find_spec("uvicorn") is None:
        report.notes.append("not measured: the API is not installed (pip install 'taskflow-queue[api]')")
        return report
    rates, p50, p99, batches, bare_rates = [], [], [], [], []
    batch = json.dumps({"tasks": [_TASK] * _BATCH})
    with processes.server() as url:
        for _ in course.rounds("HTTP requests"):
            tasks.empty(url)
            asyncio.run(_publish(url))
            with api.guarded(url) as guarded:
                single = _load(course, guarded, _PATH, json.dumps(_TASK), _CONNECTIONS)
                rates.append(_rate(single))
                p50.append(percentile(single["waits"], 50) * 1000)
                p99.append(percentile(single["waits"], 99) * 1000)
                batches.append(_rate(_load(course, guarded, f"{_PATH}/batch", batch, _BATCH_CONNECTIONS)) * _BATCH)
            with api.bare(url) as bare:
                bare_rates.append(_rate(_load(course, bare, _PATH, json.dumps(_TASK), _CONNECTIONS)))
    all_on = Line(f"POST /tasks, {_CONNECTIONS} connections, all turned on", "/s", rates, at_least(4_500))
    default = Line("the same with default settings", "/s", bare_rates)
    report.lines += [
        all_on,
        Line("its response time p50", "ms", p50),
        Line("its response time p99", "ms", p99),
        Line(f"tasks by POST /tasks/batch of {_BATCH:,}, all turned on", "/s", batches, at_least(40_000)),
        default,
        ratio("all turned on : default settings", all_on, default),
    ]
    return report


async def _publish(url: str) -> None:
    """Publish the type, as a worker that serves it does."""
    broker = Broker(url)
    await TaskCatalog(broker).publish([TaskType(type=tasks.NOOP, schema=_SCHEMA)])
    await broker.close()


def _load(course: Course, target: api.Api, path: str, body: str, connections: int) -> dict[str, Any]:
    """Load the server; return the answer of the load process. Raises `ChildFailed` if a request was refused."""
    spec = {
        "port": target.port,
        "headers": target.headers,
        "path": path,
        "body": body,
        "connections": connections,
        "warm_up": course.seconds(_WARM_UP),
        "seconds": course.seconds(_SECONDS),
    }
    measured = processes.run_role("caller", spec)
    if not measured["waits"] or not set(measured["statuses"]) <= {"200", "201"}:
        raise processes.ChildFailed(f"{path} answered {measured['statuses']}: {measured['last_body']}")
    if '"failed":0' not in measured["last_body"].replace(" ", "") and path.endswith("/batch"):
        raise processes.ChildFailed(f"{path} refused tasks: {measured['last_body'][:500]}")
    return measured


def _rate(measured: dict[str, Any]) -> float:
    return len(measured["waits"]) / float(measured["seconds"])
