"""`taskflow groups`, against a real server."""

from __future__ import annotations

from cli.conftest import Run
from taskflow import SyncClient


def test_groups_are_listed_with_their_sizes(run_inside: Run, redis_url: str) -> None:
    environ = {"TASKFLOW_REDIS_URL": redis_url}
    with SyncClient(redis_url) as client:
        client.enqueue("other")
        assert "no task of queue default waits" in run_inside("groups", "ls", "default", environ=environ).stdout
        for number in range(3):
            client.enqueue("note", number, group="user:\x1b42")
        client.enqueue("note", group="daily")

    shown = run_inside("groups", "ls", "default", environ=environ)
    assert [line.split() for line in shown.stdout.splitlines() if line.strip()][2:] == [
        ["daily", "1"],
        ["user:\\x1b42", "3"],
    ]
    assert run_inside("groups", "ls", "default", "--json", environ=environ).json == [
        {"group": "daily", "size": 1},
        {"group": "user:\x1b42", "size": 3},
    ]
    missing = run_inside("groups", "ls", "nowhere", environ=environ)
    assert missing.returncode == 1
    assert "nowhere" in missing.stderr
