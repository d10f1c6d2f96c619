"""Worker processes that are replaced under load: nothing is lost, nothing runs twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from conftest import WaitUntil
from support.invariants import check_invariants
from support.store import Store
from taskflow import Client, Task, TaskOptions
from taskflow.task import TaskInfo

if TYPE_CHECKING:
    from faults.conftest import Workers

TASKS = 10_000
MAX_TASKS = 500
PROGRAM = """
import os
from support.fault_worker import Log, make_app

app = make_app(os.environ["TASKFLOW_REDIS_URL"], Log(os.environ["FAULT_LOG"]))
"""


@pytest.mark.slow
async def test_processes_that_are_replaced_every_500_tasks_do_each_task_once(
    client: Client, workers: Workers, store: Store, raw: redis.Redis, wait_until: WaitUntil, tmp_path: Path
) -> None:
    """Two processes, 10,000 tasks, most of which are under way when a limit is reached."""
    (tmp_path / "recycled.py").write_text(PROGRAM)
    kept = timedelta(hours=1)
    tasks = [Task("work", {"seconds": 0.02}, TaskOptions(task_id=f"{n}", retention=kept)) for n in range(TASKS)]
    assert all(isinstance(answer, TaskInfo) for answer in await client.enqueue_many(tasks))
    environment = os.environ | {
        "TASKFLOW_REDIS_URL": workers.url,
        "FAULT_LOG": str(workers.log),
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    command = [sys.executable, "-m", "taskflow", "worker", "recycled:app", "--health-port", "0"]
    limits = ["--processes", "2", "--max-tasks", str(MAX_TASKS)]
    output = tmp_path / "output"
    with output.open("wb") as file:
        supervisor = await asyncio.to_thread(
            subprocess.Popen, [*command, *limits], cwd=tmp_path, env=environment, stdout=file, stderr=file
        )
    workers.all.append(supervisor)

    await wait_until(lambda: len(store.scores("completed")) == TASKS, 100)
    supervisor.send_signal(signal.SIGTERM)
    await wait_until(lambda: supervisor.poll() is not None, 20)

    assert supervisor.returncode == 0
    for event in ("start", "end"):
        assert sorted(workers.runs(event).values()) == [1] * TASKS
    by_process: dict[int, int] = {}
    for _, _, pid, event in workers.events():
        by_process[pid] = by_process.get(pid, 0) + (event == "start")
    assert max(by_process.values()) <= MAX_TASKS
    assert len(by_process) >= TASKS // MAX_TASKS
    assert store.number("processed") == TASKS
    assert store.number("failed") == 0
    assert not [line for line in output.read_text().splitlines() if json.loads(line)["level"] in {"warning", "error"}]
    check_invariants(raw, "default")
