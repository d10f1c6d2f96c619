"""`taskflow` with the URLs of Sentinel and Cluster: every program of it finds its way."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.topologies import Topology
from support.waiting import wait_until_sync

pytestmark = [pytest.mark.stock_redis, pytest.mark.slow]

APP = """
from taskflow import TaskContext, TaskFlow

app = TaskFlow()

@app.task("double", queue="b", executor="process")
def double(context: TaskContext, number: int = 1) -> int:
    context.progress(50, "half")
    return 2 * number
"""

Programs = Callable[..., subprocess.Popen[bytes]]
Run = Callable[..., str]


def _command(topology: Topology, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "taskflow", *arguments, "--redis-url", topology.url]


@pytest.fixture
def programs(topology: Topology, tmp_path: Path) -> Iterator[Programs]:
    """Starts `taskflow` with some arguments; it is ended with the test, and must end well."""
    (tmp_path / "shop.py").write_text(APP)
    with ExitStack() as stack:

        def start(*arguments: str) -> subprocess.Popen[bytes]:
            log = stack.enter_context((tmp_path / f"{arguments[0]}.log").open("ab"))
            process = subprocess.Popen(_command(topology, *arguments), cwd=tmp_path, stdout=log, stderr=log)
            stack.callback(_end, process)
            return process

        yield start


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    assert process.wait(20) == 0


@pytest.fixture
def run(topology: Topology, tmp_path: Path) -> Run:
    """Runs `taskflow` to its end and returns what it prints."""

    def run(*arguments: str) -> str:
        command = _command(topology, *arguments)
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("topology", ["sentinel-valkey", "cluster-redis"], indirect=True)
def test_all_programs_work(topology: Topology, admin: Any, programs: Programs, run: Run) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        api = f"http://127.0.0.1:{probe.getsockname()[1]}"
    worker = programs("worker", "shop:app", "--queues", "a,b", "--health-port", "0")
    programs("scheduler")
    programs("api", "--port", api.rpartition(":")[2])
    wait_until_sync(lambda: "double" in run("types"), 20)

    assert "completed" in run("enqueue", "double", '{"number": 4}', "--watch")
    run("schedules", "add", "tick", "@every 1s", "double", "--queue", "a")
    wait_until_sync(lambda: admin.zcard("asynq:{a}:completed"), 20)
    assert {queue["queue"] for queue in json.loads(run("queues", "ls", "--json"))} == {"a", "b"}

    def get(path: str) -> Any:
        return httpx.get(api + path, timeout=10)

    wait_until_sync(lambda: _answers(get), 20)
    assert {queue["queue"] for queue in get("/api/v1/queues").json()} == {"a", "b"}
    assert len(get("/api/v1/servers").json()) == 1

    (server,) = json.loads(run("servers", "ls", "--json"))
    assert "drains" in run("servers", "drain", server["id"])
    assert worker.wait(20) == 0


def _answers(get: Callable[[str], Any]) -> bool:
    try:
        return bool(get("/ready").status_code == httpx.codes.OK)
    except httpx.HTTPError:
        return False
