"""`taskflow dev`: one command brings everything up, and takes everything down."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from cli.conftest import Run, Running, Start, descendants, http, lives
from support.servers import skip
from support.waiting import wait_until_sync
from taskflow.broker.embedded import INSTALL_HINT, find_server

ANY_PORT = {"TASKFLOW_SERVER_WORKER_HEALTH_PORT": "0"}
TASKS = """
from taskflow import TaskFlow

app = TaskFlow()

@app.task("version")
async def version() -> int:
    return 1
"""


@pytest.fixture(autouse=True)
def _needs_a_server() -> None:
    if find_server() is None:
        skip(INSTALL_HINT)


def addresses_of(dev: Running) -> dict[str, str]:
    """What `dev --json` printed once all was ready."""
    found: dict[str, str] = json.loads(dev.wait_for_line('"api"'))
    return found


def create(api: str, payload: object, **options: Any) -> str:
    status, body = http("POST", f"{api}/api/v1/tasks", {"type": "demo", "payload": payload, **options})
    assert status == 201
    return str(body["task_id"])


def task_of(api: str, task_id: str) -> Any:
    return http("GET", f"{api}/api/v1/tasks/{task_id}")[1]


def all_processes(dev: Running) -> list[int]:
    """The API, the worker, the store and its watcher."""
    found = descendants(dev.pid)
    assert len(found) == 4
    return found


def test_one_command_runs_a_task_and_keeps_a_waiting_one_over_a_restart(start: Start) -> None:
    dev = start("dev", "--port", "0", "--json", environ=ANY_PORT)
    addresses = addresses_of(dev)
    api = addresses["api"]
    assert http("GET", addresses["health"])[0] == 200
    assert http("GET", f"{api}/ready")[0] == 200
    with urlopen(addresses["dashboard"], timeout=5) as page:  # noqa: S310 - our own server
        assert page.headers.get_content_type() == "text/html"
    with urlopen(addresses["docs"], timeout=5) as docs:  # noqa: S310 - our own server
        assert docs.status == 200

    done = create(api, {"message": "hello", "count": 1})
    wait_until_sync(lambda: task_of(api, done)["state"] == "completed", 10)
    assert task_of(api, done)["result"]["steps"] == 1
    later = create(api, {"message": "later"}, process_in="1h")

    running = create(api, {"message": "long", "count": 10000})
    wait_until_sync(lambda: task_of(api, running)["progress"], 10)
    with urlopen(f"{api}/api/v1/tasks/{running}/progress/stream", timeout=15) as stream:  # noqa: S310
        assert b"event:" in stream.readline() + stream.readline()
        processes = all_processes(dev)
        started = time.monotonic()
        assert dev.end(signal.SIGINT, 15) == 0
        assert time.monotonic() - started < 10
    assert not any(map(lives, processes))

    again = start("dev", "--port", "0", "--json", environ=ANY_PORT)
    api = addresses_of(again)["api"]
    assert task_of(api, later)["state"] == "scheduled"
    wait_until_sync(lambda: task_of(api, running)["state"] == "active", 10)


def test_the_banner_says_where_everything_is(start: Start) -> None:
    dev = start("dev", environ=ANY_PORT)
    dev.wait_for_line("Ctrl-C ends it all")
    banner = dev.stdout
    assert banner.count("TaskFlow is ready") == 1
    for text in (
        "/api/v1/tasks",
        "/docs",
        "/health",
        "redis://127.0.0.1:",
        "curl -s http",
        "/progress/stream",
        '"demo"',
    ):
        assert text in banner
    assert dev.end(signal.SIGTERM, 10) == 0


def test_the_banner_gives_the_line_that_leads_the_command_line_to_the_store(start: Start, run: Run) -> None:
    dev = start("dev", environ=ANY_PORT)
    dev.wait_for_line("Ctrl-C ends it all")
    (line,) = [line for line in dev.stdout.splitlines() if "export" in line]
    name, _, url = line.strip().removeprefix("export ").partition("=")

    assert run("queues", "ls", environ={name: url}).returncode == 0
    assert dev.end(signal.SIGTERM, 10) == 0


def test_killed_without_a_word_it_leaves_no_process(start: Start) -> None:
    dev = start("dev", "--port", "0", "--json", environ=ANY_PORT)
    addresses_of(dev)
    processes = all_processes(dev)
    dev.end(signal.SIGKILL, 5)
    wait_until_sync(lambda: not any(map(lives, processes)), 12)


def test_the_usual_port_taken_is_noted_and_the_next_one_used(start: Start, here: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        dev = start("dev", "--json", "--no-worker", environ={**ANY_PORT, "TASKFLOW_SERVER_HTTP_PORT": str(port)})
        addresses = addresses_of(dev)
        assert f"port {port} of 127.0.0.1 is taken" in dev.stderr
        assert addresses["api"] != f"http://127.0.0.1:{port}"
        assert "health" not in addresses
        second = start("dev", "--json", environ=ANY_PORT)
        assert second.process.wait(20) == 1
        assert "in use by process" in second.stderr
    assert dev.end(signal.SIGTERM, 10) == 0


def test_a_named_redis_server_is_used_and_left_alone(start: Start, redis_url: str, here: Path) -> None:
    dev = start("dev", "--port", "0", "--json", environ={**ANY_PORT, "TASKFLOW_REDIS_URL": redis_url})
    addresses = addresses_of(dev)
    assert addresses["redis"] == redis_url
    assert len(descendants(dev.pid)) == 2
    assert not (here / ".taskflow").exists()
    assert dev.end(signal.SIGINT, 10) == 0


def test_a_module_of_ones_own_is_reloaded_when_it_changes(start: Start, here: Path) -> None:
    """Also after a change that broke it; and a process that dies is started again."""
    module = here / "mytasks.py"
    module.write_text(TASKS)
    dev = start("dev", "mytasks:app", "--reload", "--port", "0", "--json", environ=ANY_PORT)
    api = addresses_of(dev)["api"]

    def types() -> list[str]:
        return [entry["type"] for entry in http("GET", f"{api}/api/v1/task-types")[1] or []]

    assert types() == ["version"]
    module.write_text(TASKS + "\nthis is no Python")
    dev.wait_for_line("waiting for a change")
    module.write_text(TASKS.replace('"version"', '"changed"'))
    wait_until_sync(lambda: "changed" in types(), 15)

    (worker,) = [pid for pid in descendants(dev.pid) if "worker" in _arguments(pid)]
    os.kill(worker, signal.SIGKILL)
    dev.wait_for_line("it is started again")
    wait_until_sync(lambda: any("worker" in _arguments(pid) for pid in descendants(dev.pid)), 10)
    assert dev.end(signal.SIGINT, 10) == 0


def _arguments(pid: int) -> list[str]:
    import subprocess

    command = ["ps", "-ww", "-o", "args=", "-p", str(pid)]
    listing = subprocess.run(command, capture_output=True, text=True, check=False)
    return listing.stdout.split()
