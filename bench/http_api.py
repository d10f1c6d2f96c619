"""http: how many tasks the HTTP API takes, one server process as `taskflow api` starts it."""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import processes, tasks
from bench.course import Course
from bench.figures import Line, Report, at_least, percentile
from taskflow.broker.catalog import TaskCatalog, TaskType
from taskflow.broker.queue import Broker
from taskflow.cli.ports import free_port

TITLE = "HTTP: one API process"
METHOD = (
    "`taskflow api` with its default settings: all middleware on, a log line a request (to a file), the type in the catalog and the payload checked "
    "against its schema. A load process of its own keeps requests under way on keep-alive connections, after a warm-up; on two "
    "cores, API, load and Redis share them."
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
_START_SECONDS = 20.0
_HOST = "127.0.0.1"


def measure(course: Course) -> Report:
    """Measure single tasks and batches in turn, a new server process each run."""
    report = Report("http", TITLE, METHOD, [])
    if importlib.util.find_spec("taskflow.asgi") is None or importlib.util.find_spec("uvicorn") is None:
        report.notes.append("not measured: the API is not installed (pip install 'taskflow-queue[api]')")
        return report
    rates, p50, p99, batches = [], [], [], []
    with processes.server() as url:
        for _ in course.rounds("HTTP requests"):
            tasks.empty(url)
            asyncio.run(_publish(url))
            with _api(url) as port:
                single = _load(course, port, _PATH, json.dumps(_TASK), _CONNECTIONS)
                rates.append(_rate(single))
                p50.append(percentile(single["waits"], 50) * 1000)
                p99.append(percentile(single["waits"], 99) * 1000)
                body = json.dumps({"tasks": [_TASK] * _BATCH})
                batches.append(_rate(_load(course, port, f"{_PATH}/batch", body, _BATCH_CONNECTIONS)) * _BATCH)
    report.lines += [
        Line(f"POST /tasks, {_CONNECTIONS} connections", "/s", rates, at_least(4_500)),
        Line("its response time p50", "ms", p50),
        Line("its response time p99", "ms", p99),
        Line(f"tasks by POST /tasks/batch of {_BATCH:,}", "/s", batches, at_least(40_000)),
    ]
    return report


async def _publish(url: str) -> None:
    """Publish the type, as a worker that serves it does."""
    broker = Broker(url)
    await TaskCatalog(broker).publish([TaskType(type=tasks.NOOP, schema=_SCHEMA)])
    await broker.close()


@contextmanager
def _api(url: str) -> Iterator[int]:
    """Run the API in a folder without settings; give its port."""
    port = free_port(_HOST)
    command = [sys.executable, "-m", "taskflow", "api", "--redis-url", url, "--host", _HOST, "--port", str(port)]
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=processes.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            _wait_until(lambda: process.poll() is not None or _ready(port))
            if process.poll() is not None:
                raise processes.ChildFailed(f"the API ended: {(Path(folder) / 'log').read_text()[-2000:]}")
            yield port
        finally:
            process.terminate()
            process.wait(_START_SECONDS)


def _wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + _START_SECONDS
    while not condition():
        if time.monotonic() > until:
            raise processes.ChildFailed(f"the API was not ready within {_START_SECONDS:g} s")
        time.sleep(0.05)


def _ready(port: int) -> bool:
    connection = http.client.HTTPConnection(_HOST, port, timeout=2)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def _load(course: Course, port: int, path: str, body: str, connections: int) -> dict[str, Any]:
    """Load the server; return the answer of the load process. Raises `ChildFailed` if a request was refused."""
    spec = {
        "port": port,
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
