"""`taskflow worker`: one process or several, which end when they should."""

from __future__ import annotations

import json
import os
import signal
import socket
from functools import partial
from pathlib import Path

import pytest
import redis

from cli.conftest import Run, Start, descendants, http, lives
from support.waiting import wait_until_sync

TASKS = """
import asyncio, os, time
from taskflow import TaskFlow

app = TaskFlow()

@app.task("who:am-i")
async def who_am_i() -> int:
    return os.getpid()

@app.task("hang")
def hang() -> None:
    print("hanging", flush=True)
    while True:
        time.sleep(60)

@app.task("deaf")
async def deaf() -> None:
    print("deaf", flush=True)
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
"""


@pytest.fixture
def environ(redis_url: str, here: Path) -> dict[str, str]:
    (here / "mytasks.py").write_text(TASKS)
    return {"TASKFLOW_REDIS_URL": redis_url}


def free_ports(count: int) -> int:
    """The first of some free ports in a row."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            first: int = probe.getsockname()[1]
        if all(_is_free(port) for port in range(first, first + count)):
            return first


def is_ready(port: int) -> bool:
    return http("GET", f"http://127.0.0.1:{port}/ready")[0] == 200


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def test_two_processes(start: Start, run: Run, environ: dict[str, str]) -> None:
    """They answer on ports in a row; one that dies is replaced; a signal ends both, and nothing is left."""
    port = free_ports(2)
    worker = start("worker", "mytasks:app", "--processes", "2", "--health-port", str(port), environ=environ)
    worker.wait_for_line("all worker processes run")
    for index in (0, 1):
        wait_until_sync(partial(is_ready, port + index))

    first, second = descendants(worker.pid)
    os.kill(first, signal.SIGKILL)
    died = json.loads(worker.wait_for_line("a process died"))
    assert died["exit_code"] == -signal.SIGKILL
    wait_until_sync(lambda: worker.stderr.count("worker started") == 3, 10)
    done = run("enqueue", "who:am-i", "--watch", environ=environ)
    assert done.returncode == 0, done.stderr

    processes = descendants(worker.pid)
    assert second in processes
    assert len(processes) == 2
    assert worker.end(signal.SIGTERM, 15) == 0
    assert not any(map(lives, processes))


def test_processes_whose_supervisor_is_killed_end(start: Start, environ: dict[str, str]) -> None:
    worker = start("worker", "mytasks:app", "--processes", "2", "--health-port", "0", environ=environ)
    worker.wait_for_line("all worker processes run")
    processes = descendants(worker.pid)
    assert len(processes) == 2
    worker.end(signal.SIGKILL, 5)
    wait_until_sync(lambda: not any(map(lives, processes)), 10)


@pytest.mark.parametrize(("handler", "word"), [("hang", "hanging"), ("deaf", "deaf")])
def test_a_handler_that_cannot_be_stopped_does_not_keep_the_process(
    start: Start, run: Run, environ: dict[str, str], handler: str, word: str
) -> None:
    worker = start("worker", "mytasks:app", "--shutdown-timeout", "100ms", "--health-port", "0", environ=environ)
    worker.wait_for_line("worker started")
    run("enqueue", handler, "--task-id", "stuck", environ=environ)
    worker.wait_for_line(word)
    assert worker.end(signal.SIGTERM, 15) == 0
    assert run("tasks", "show", "stuck", "--json", environ=environ).json["state"] == "pending"


def test_a_worker_is_drained_from_afar_and_stays_away(start: Start, run: Run, environ: dict[str, str]) -> None:
    worker = start("worker", "mytasks:app", "--health-port", "0", environ=environ)
    worker.wait_for_line("worker started")
    (server,) = run("servers", "ls", "--json", environ=environ).json

    answer = run("servers", "drain", server["id"], environ=environ)

    assert answer.stdout == f"server {server['host']}:{worker.pid} drains, with 0 tasks running\n"
    assert worker.process.wait(15) == 0
    again = run("servers", "drain", server["id"], environ=environ)
    assert (again.returncode, "is alive" in again.stderr) == (1, True)


def test_a_supervised_worker_that_is_drained_is_followed_by_a_fresh_one(
    start: Start, run: Run, environ: dict[str, str]
) -> None:
    worker = start("worker", "mytasks:app", "--processes", "2", "--health-port", "0", environ=environ)
    worker.wait_for_line("all worker processes run")
    before = {server["id"] for server in run("servers", "ls", "--json", environ=environ).json}
    first, second = sorted(before)

    assert run("servers", "drain", first, environ=environ).returncode == 0

    worker.wait_for_line("a fresh process takes the place of one that has ended in order")

    def fresh() -> bool:
        now = {server["id"] for server in run("servers", "ls", "--json", environ=environ).json}
        return len(now) == 2 and second in now and first not in now

    wait_until_sync(fresh, 20)
    assert worker.end(signal.SIGTERM, 15) == 0


def test_settings_of_the_worker_come_from_file_environment_and_options(
    start: Start, run: Run, environ: dict[str, str], here: Path
) -> None:
    (here / "taskflow.yaml").write_text(
        "server: {worker: {concurrency: 7, queues: {low: 1}, strict_priority: true, health: {enabled: false}}}"
    )
    environ |= {"TASKFLOW_SERVER_WORKER_CONCURRENCY": "5"}
    worker = start("worker", "mytasks", "--queues", "a=2,b=1", environ=environ)
    worker.wait_for_line("worker started")
    (server,) = run("servers", "ls", "--json", environ=environ).json
    expected = {"concurrency": 5, "queues": {"a": 2, "b": 1}, "strict_priority": True}
    assert {name: server[name] for name in expected} == expected
    assert worker.end(signal.SIGINT, 10) == 0


def test_queues_that_handlers_name_are_served(start: Start, run: Run, environ: dict[str, str], here: Path) -> None:
    (here / "mytasks.py").write_text(TASKS.replace('"who:am-i"', '"who:am-i", queue="own"'))
    worker = start("worker", "mytasks:app", "--health-port", "0", environ=environ)
    worker.wait_for_line("worker started")

    assert run("enqueue", "who:am-i", "--watch", environ=environ).returncode == 0
    assert worker.end(signal.SIGTERM, 15) == 0


def test_a_file_named_like_a_module_of_pythons_own_does_no_harm(
    start: Start, environ: dict[str, str], here: Path
) -> None:
    (here / "queue.py").write_text("raise SystemExit('the wrong module')")
    worker = start("worker", "mytasks:app", "--processes", "2", "--health-port", "0", environ=environ)
    worker.wait_for_line("all worker processes run")
    assert worker.end(signal.SIGTERM, 15) == 0


def test_an_application_with_an_address_of_its_own_follows_the_option(
    start: Start, run: Run, redis_url: str, here: Path
) -> None:
    (here / "fixed.py").write_text(TASKS.replace("TaskFlow()", "TaskFlow('redis://127.0.0.1:1/0')"))
    worker = start("worker", "fixed:app", "--health-port", "0", "--redis-url", redis_url)
    worker.wait_for_line("worker started")
    assert run("enqueue", "who:am-i", "--watch", "--redis-url", redis_url).returncode == 0
    worker.end(signal.SIGTERM, 10)


BROKEN = """
from taskflow import TaskFlow

app = TaskFlow()

@app.lifespan
async def database():
    raise ConnectionError("no route to the database")
    yield

@app.task("t")
async def handler() -> None: ...
"""


@pytest.mark.parametrize("options", [[], ["--with-scheduler"], ["--processes", "2"]], ids=lambda o: "".join(o) or "one")
def test_a_lifespan_that_fails_ends_the_command_with_its_reason(
    start: Start, environ: dict[str, str], here: Path, options: list[str]
) -> None:
    (here / "broken.py").write_text(BROKEN)

    worker = start("worker", "broken:app", "--health-port", "0", *options, environ=environ)

    worker.wait_for_line("lifespan database failed at the start: ConnectionError: no route to the database")
    assert worker.process.wait(10) == 1
    assert "in database" in worker.stderr  # the traceback


def test_a_process_that_has_taken_its_tasks_is_replaced_at_once(
    start: Start, run: Run, environ: dict[str, str], raw: redis.Redis
) -> None:
    """One process is supervised too then; its end is no death, and nothing is put back."""
    worker = start("worker", "mytasks:app", "--max-tasks", "3", "--health-port", "0", environ=environ)
    worker.wait_for_line("all worker processes run")
    for _ in range(7):
        run("enqueue", "who:am-i", environ=environ)

    wait_until_sync(lambda: int(raw.get("asynq:{default}:processed") or 0) == 7, 30)
    wait_until_sync(lambda: worker.stderr.count("worker started") == 3, 10)
    assert worker.end(signal.SIGTERM, 15) == 0
    lines = [json.loads(line) for line in worker.stderr.splitlines()]
    limits = [line for line in lines if "reached a limit; it makes way" in line["event"]]
    assert [(line["limit"], line["tasks"]) for line in limits] == [("tasks", 3)] * 2
    assert sum("a fresh process takes the place" in line["event"] for line in lines) == 2
    assert not [line for line in lines if "died" in line["event"]]


def test_a_memory_limit_that_the_process_cannot_keep_is_an_error(
    start: Start, environ: dict[str, str], here: Path
) -> None:
    """The limit may be the application's own setting."""
    own = "TaskFlow(settings=load_settings(environ={}, overrides={'server.worker.max_memory': '10MB'}))"
    (here / "limited.py").write_text("from taskflow.config import load_settings" + TASKS.replace("TaskFlow()", own))
    redis_url = environ["TASKFLOW_REDIS_URL"]

    worker = start("worker", "limited:app", "--health-port", "0", "--redis-url", redis_url)

    worker.wait_for_line("max_memory: 10MB is too little")
    assert worker.process.wait(10) != 0


def test_queues_by_pattern(start: Start, run: Run, environ: dict[str, str]) -> None:
    worker = start("worker", "mytasks:app", "--queues", "tenant-*=2,default=1", "--health-port", "0", environ=environ)
    worker.wait_for_line("worker started")
    assert run("enqueue", "who:am-i", "--queue", "tenant-a", "--watch", environ=environ).returncode == 0

    changed = json.loads(worker.wait_for_line("other queues are served"))
    assert (changed["new"], changed["gone"], changed["queues"]) == (["tenant-a"], [], 2)
    worker.end(signal.SIGTERM, 10)
