"""Every example runs to its end as a process of its own, and prints what it promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PYTEST = {
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTEST_ADDOPTS": "-p taskflow.pytest_plugin -p pytest_asyncio.plugin -p pytest_timeout -p no:cacheprovider",
}
"""The plugins that an example of tests needs, whatever else is installed."""
EXAMPLES = Path(__file__).parents[1] / "examples"
PRINTS = {
    "demo.py": [
        "201 {",
        "state active",
        "progress 100%",
        "state completed",
        "state scheduled",
        "All as it should be",
    ],
    "tasks.py": [
        "mail: {'to': 'ada@example.org', 'subject': 'Notes'}",
        "invoice: 18.0",
        "refused: 'nobody' is no address",
    ],
    "aggregation.py": ["ada: 3 notes", "grace: 2 notes", "members left: 0"],
    "progress.py": ["progress: 20% importing photo-1.jpg", "done: 100% completed", "completed: b'5' photos"],
    "scheduled.py": [
        "heard: heartbeat",
        "heard: hello Grace",
        "greeting: @yearly in redis, paused",
        "heartbeat: @every 1s in code",
    ],
    "shared_resources.py": [
        "prices loaded\nconnected\n",
        "order: committed\ntotal: 130\norder: rolled back\nfailed: KeyError: 'moon'",
        "orders: 2",
        "disconnected\ngood night",
    ],
    "sync_client.py": ["enqueued: 2 tasks", "refused: a task with the id", "enqueued: 100 tasks", "103 lines"],
    "test_tasks.py": ["6 passed"],
    "fastapi_app.py": ["accepted: 202", "result: 200 {'words': 6}", "missing: 404"],
}


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(PRINTS)


@pytest.mark.parametrize("name", PRINTS)
def test_example(name: str, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TASKFLOW_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment | PYTEST,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for text in PRINTS[name]:
        assert text in done.stdout
    assert not list(tmp_path.iterdir())


def test_an_example_on_a_given_server(redis_url: str, tmp_path: Path) -> None:
    environment = {**os.environ, "TASKFLOW_REDIS_URL": redis_url}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "tasks.py")],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "invoice: 18.0" in done.stdout
