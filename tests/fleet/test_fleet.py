"""A fleet of real processes on a stock `redis-server`: one API, two workers, four queues, default settings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from support.invariants import check_invariants
from support.servers import Servers
from support.waiting import wait_until_sync
from taskflow.broker.embedded import EmbeddedServer

pytestmark = [pytest.mark.stock_redis, pytest.mark.slow]

WEIGHTS = {"first": 4, "second": 3, "third": 2, "fourth": 1}
TASKS = 250
"""How many tasks stand in each queue."""
APP = """
import asyncio, os
from pathlib import Path
from taskflow import TaskContext, TaskFlow

app = TaskFlow()
journal = os.open(os.environ["JOURNAL"], os.O_CREAT | os.O_APPEND | os.O_WRONLY)

@app.task("note")
async def note(ctx: TaskContext, seconds: float = 0.02, gate: str = "/") -> None:
    os.write(journal, f"start {ctx.id} {ctx.queue} {os.getpid()}\\n".encode())
    while not Path(gate).exists():
        await asyncio.sleep(0.005)
    await asyncio.sleep(seconds)
    os.write(journal, f"end {ctx.id} {ctx.queue} {os.getpid()}\\n".encode())
"""


class Fleet:
    """The processes, and what the handlers wrote down."""

    def __init__(self, stack: ExitStack, url: str, folder: Path) -> None:
        (folder / "fleet_tasks.py").write_text(APP)
        self._stack = stack
        self._folder = folder
        self._journal = folder / "journal"
        self._environ = os.environ | {"JOURNAL": str(self._journal), "TASKFLOW_REDIS_URL": url}

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `taskflow` with some arguments; it is ended with the test."""
        log = self._stack.enter_context((self._folder / f"{arguments[0]}.log").open("ab"))
        command = [sys.executable, "-m", "taskflow", *arguments]
        process = subprocess.Popen(command, cwd=self._folder, env=self._environ, stdout=log, stderr=log)
        self._stack.callback(process.wait, 20)
        self._stack.callback(process.terminate)
        return process

    def journal(self) -> list[tuple[str, str, str, int]]:
        """What the handlers wrote: (start or end, task id, queue, pid), in order."""
        lines = self._journal.read_text().splitlines() if self._journal.exists() else []
        return [(what, task, queue, int(pid)) for what, task, queue, pid in map(str.split, lines)]


@pytest.fixture
def stock(all_servers: Servers) -> EmbeddedServer:
    return all_servers.stock_redis()


@pytest.fixture
def raw(stock: EmbeddedServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(stock.url) as client:
        client.flushall()
        yield client


@pytest.fixture
def fleet(stock: EmbeddedServer, raw: redis.Redis, tmp_path: Path) -> Iterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet(stack, stock.url, tmp_path)


def _create(api: str, queue: str, count: int, **payload: Any) -> list[str]:
    task = {"type": "note", "queue": queue, "payload": payload}
    answer = httpx.post(f"{api}/api/v1/tasks/batch", json={"tasks": [task] * count}, timeout=30)
    answer.raise_for_status()
    assert answer.json()["created"] == count
    return [result["task_id"] for result in answer.json()["results"]]


def _stats(api: str) -> dict[str, dict[str, Any]]:
    answer = httpx.get(f"{api}/api/v1/queues/stats", timeout=10)
    answer.raise_for_status()
    return {queue["queue"]: queue for queue in answer.json()}


def _start_api(fleet: Fleet, port: int) -> str:
    fleet.start("api", "--port", str(port))
    api = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        try:
            return httpx.get(f"{api}/ready", timeout=1).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    wait_until_sync(ready, 20)
    return api


def _start_worker(fleet: Fleet, raw: redis.Redis, concurrency: int) -> subprocess.Popen[bytes]:
    queues = ",".join(f"{queue}={weight}" for queue, weight in WEIGHTS.items())
    servers: Any = raw.zcard("asynq:servers")
    worker = fleet.start(
        "worker", "fleet_tasks:app", "--queues", queues, "--concurrency", str(concurrency), "--health-port", "0"
    )
    wait_until_sync(lambda: raw.zcard("asynq:servers") > servers, 20)
    return worker


def _publish_types(fleet: Fleet, raw: redis.Redis) -> None:
    """Let a worker tell which types there are, and end it, so that the queues can be filled before any is at work."""
    worker = _start_worker(fleet, raw, 1)
    worker.terminate()
    assert worker.wait(20) == 0


@pytest.fixture
def port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_thousand_tasks_over_four_queues_are_shared_by_weight(
    fleet: Fleet, raw: redis.Redis, port: int, tmp_path: Path
) -> None:
    api = _start_api(fleet, port)
    _publish_types(fleet, raw)
    gate = tmp_path / "gate"
    ids = {task for queue in WEIGHTS for task in _create(api, queue, TASKS, gate=str(gate))}
    first, second = _start_worker(fleet, raw, 10), _start_worker(fleet, raw, 10)
    wait_until_sync(lambda: len(fleet.journal()) == 20, 20)  # until both have begun, none goes on
    gate.touch()

    wait_until_sync(lambda: sum(queue["completed"] for queue in _stats(api).values()) == len(ids), 60)

    starts = [entry for entry in fleet.journal() if entry[0] == "start"]
    assert Counter(task for _, task, _, _ in starts) == dict.fromkeys(ids, 1)
    assert {pid for *_, pid in starts} == {first.pid, second.pid}
    full = starts[: _first_empty(starts)]
    shares = Counter(queue for _, _, queue, _ in full)
    for queue, weight in WEIGHTS.items():
        assert shares[queue] == pytest.approx(len(full) * weight / sum(WEIGHTS.values()), rel=0.25), shares
    check_invariants(raw)


def _first_empty(starts: list[tuple[str, str, str, int]]) -> int:
    """How many starts there were until the first queue had given all its tasks."""
    seen: Counter[str] = Counter()
    for position, (_, _, queue, _) in enumerate(starts):
        seen[queue] += 1
        if seen[queue] == TASKS:
            return position
    raise AssertionError("no queue was emptied")


def test_what_a_killed_worker_had_runs_again_within_45_seconds(fleet: Fleet, raw: redis.Redis, port: int) -> None:
    api = _start_api(fleet, port)
    victim = _start_worker(fleet, raw, 5)
    long = set(_create(api, "first", 5, seconds=8))
    wait_until_sync(lambda: {task for _, task, _, _ in fleet.journal()} == long, 10)
    _start_worker(fleet, raw, 5)
    others = {task for queue in WEIGHTS for task in _create(api, queue, 50)}

    victim.send_signal(signal.SIGKILL)
    killed_at = time.monotonic()

    def again() -> bool:
        starts = Counter(task for what, task, _, pid in fleet.journal() if what == "start" and pid != victim.pid)
        return all(starts[task] for task in long)

    wait_until_sync(again, 45)
    assert time.monotonic() - killed_at > 20, "the lease of a killed worker is honoured first"
    wait_until_sync(lambda: sum(queue["completed"] for queue in _stats(api).values()) == len(long | others), 30)
    ends = Counter(task for what, task, _, _ in fleet.journal() if what == "end")
    assert ends == dict.fromkeys(long | others, 1)
    tasks = [json.loads(httpx.get(f"{api}/api/v1/tasks/{task}", timeout=10).content) for task in sorted(long)]
    assert {(task["state"], task["retried"]) for task in tasks} == {("completed", 0)}, "a death costs no retry"
    check_invariants(raw)
