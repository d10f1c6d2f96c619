"""Periodic tasks from the command line, and the commands that fire them."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import redis

from cli.conftest import Finished, Run, Start, descendants
from support.store import Store
from support.waiting import wait_until_sync
from taskflow.wire import asynq_pb2
from taskflow.wire.keys import ALL_SCHEDULERS

TASKS = """
from taskflow import Task, TaskFlow

app = TaskFlow()

@app.schedule("@every 1s", id="from-code")
@app.task("tick")
async def tick() -> None:
    pass
"""


@pytest.fixture
def environ(redis_url: str, here: Path) -> dict[str, str]:
    (here / "mytasks.py").write_text(TASKS)
    return {"TASKFLOW_REDIS_URL": redis_url, "TASKFLOW_API_ALLOW_TYPES": "mail:*"}


@pytest.fixture
def cli(run_inside: Run, environ: dict[str, str]) -> Run:
    """Runs commands on the test's server, where types `mail:…` are let through."""

    def run_here(*arguments: str, **more: Any) -> Finished:
        return run_inside(*arguments, environ=environ, **more)

    return run_here


def test_add_with_all_options(cli: Run) -> None:
    options = {
        "--timezone": "Europe/Berlin",
        "--queue": "low",
        "--max-retries": "7",
        "--timeout": "45s",
        "--retention": "24h",
        "--unique": "90s",
        "--unique-key": "k",
        "--unique-until": "started",
        "--on-conflict": "replace",
        "--metadata": "trace=abc",
        "--missed": "all",
        "--catch-up": "9",
        "--jitter": "30s",
    }
    words = [word for pair in options.items() for word in pair]
    added = cli("schedules", "add", "nightly", "0 3 * * *", "mail:send", '{"to": "ada"}', *words, "--json").json

    expected = {
        "id": "nightly",
        "spec": "CRON_TZ=Europe/Berlin 0 3 * * *",
        "type": "mail:send",
        "payload": {"to": "ada"},
        "origin": "redis",
        "paused": False,
        "last": None,
        "queue": "low",
        "max_retries": 7,
        "timeout": "45s",
        "retention": "24h",
        "unique": {"ttl": "1m30s", "key": "k", "until": "started", "on_conflict": "replace"},
        "metadata": {"trace": "abc"},
        "missed": "all",
        "catch_up": 9,
        "jitter": "30s",
    }
    assert {name: added[name] for name in expected} == expected
    assert cli("schedules", "show", "nightly", "--json").json == added
    shown = cli("schedules", "show", "nightly").stdout
    assert "Europe/Berlin" in shown
    assert '{"to":"ada"}' in shown
    assert [info["id"] for info in cli("schedules", "ls", "--json").json] == ["nightly"]
    assert "mail:send" in cli("schedules", "ls").stdout


def test_the_defaults_are_those_of_enqueue(cli: Run) -> None:
    added = cli("schedules", "add", "a", "@hourly", "mail:send", "--json").json

    assert (added["max_retries"], added["retention"], added["timeout"], added["missed"]) == (3, "1h", "30m", "skip")
    assert added["payload"] is None


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("a", "61 * * * *", "mail:send"), "minute"),
        (("a", "@daily", "unknown:type"), "no worker serves"),
        (("a", "@daily", "mail:send", "--timezone", "Mars/Olympus"), "time zone"),
        (("a", "@daily", "mail:send", "--catch-up", "0"), "catch_up"),
        (("a", "@daily", "mail:send", "no JSON"), "not JSON"),
        (("a", "@daily", "mail:send", "--missed", "some"), "skip"),
        (("taken", "@daily", "mail:send"), "already"),
    ],
)
def test_what_cannot_be_kept_is_refused(cli: Run, words: tuple[str, ...], reason: str) -> None:
    cli("schedules", "add", "taken", "@daily", "mail:send")

    done = cli("schedules", "add", *words)

    assert done.returncode in {1, 2}
    assert reason in done.stderr
    assert len(cli("schedules", "ls", "--json").json) == 1


def test_replace_and_remove(cli: Run) -> None:
    cli("schedules", "add", "a", "@daily", "mail:send")
    cli("schedules", "add", "a", "@hourly", "mail:send", "--replace")
    assert cli("schedules", "show", "a", "--json").json["spec"] == "@hourly"

    assert "is gone" in cli("schedules", "rm", "a").stdout
    assert "no periodic tasks" in cli("schedules", "ls").stdout
    for verb in ("rm", "show", "pause", "resume", "run", "events", "next"):
        missing = cli("schedules", verb, "a")
        assert (missing.returncode, "schedule 'a' not found" in missing.stderr) == (1, True)


def test_pause_resume_and_run_now(cli: Run) -> None:
    cli("schedules", "add", "a", "@daily", "mail:send")
    assert "paused" in cli("schedules", "pause", "a").stdout
    (info,) = cli("schedules", "ls", "--json").json
    assert (info["paused"], info["next"]) == (True, None)

    task = cli("schedules", "run", "a", "--json").json
    assert cli("tasks", "show", task["task_id"], "--json").json["type"] == "mail:send"
    (event,) = cli("schedules", "events", "a", "--json").json
    assert event["task_id"] == task["task_id"]
    assert task["task_id"] in cli("schedules", "events", "a").stdout

    assert "runs" in cli("schedules", "resume", "a").stdout
    assert cli("schedules", "show", "a", "--json").json["paused"] is False


def test_next_times(cli: Run) -> None:
    cli("schedules", "add", "a", "0 9 1 1 *", "mail:send", "--timezone", "Europe/Berlin")

    times = cli("schedules", "next", "a", "--count", "3", "--json").json
    assert [time[4:] for time in times] == ["-01-01T08:00:00Z"] * 3
    assert len(set(times)) == 3
    assert len(cli("schedules", "next", "--spec", "@hourly", "--json").json) == 5
    assert "01-01T08:00:00" in cli("schedules", "next", "a").stdout
    assert cli("schedules", "next").returncode == 2
    assert cli("schedules", "next", "a", "--timezone", "UTC").returncode == 2
    assert cli("schedules", "next", "a", "--count", "0").returncode == 1


def test_those_of_the_settings_are_listed_and_can_be_paused_but_not_removed(cli: Run, here: Path) -> None:
    (here / "taskflow.yaml").write_text("schedules: {pulse: {spec: '@every 30s', type: 'mail:push', queue: low}}")

    (info,) = cli("schedules", "ls", "--json").json
    assert (info["id"], info["origin"], info["queue"], info["paused"]) == ("pulse", "settings", "low", False)
    cli("schedules", "pause", "pulse")
    assert cli("schedules", "show", "pulse", "--json").json["paused"] is True
    refused = cli("schedules", "rm", "pulse")
    assert (refused.returncode, "settings" in refused.stderr) == (1, True)

    cli("schedules", "add", "pulse", "@daily", "mail:push", "--replace")
    assert cli("schedules", "show", "pulse", "--json").json["origin"] == "redis"
    cli("schedules", "rm", "pulse")
    assert cli("schedules", "show", "pulse", "--json").json["origin"] == "settings"


def test_those_of_a_go_scheduler_are_listed_and_left_alone(cli: Run, raw: redis.Redis) -> None:
    record = asynq_pb2.SchedulerEntry(id="e1", spec="@every 1h", task_type="x", enqueue_options=["MaxRetry(3)"])
    raw.rpush("asynq:schedulers:{host:1:id}", record.SerializeToString())
    raw.zadd(ALL_SCHEDULERS, {"asynq:schedulers:{host:1:id}": 4102444800})

    (info,) = cli("schedules", "ls", "--json").json
    assert (info["id"], info["origin"], info["options"]) == ("e1", "asynq", ["MaxRetry(3)"])
    refused = cli("schedules", "run", "e1")
    assert (refused.returncode, "scheduler in Go" in refused.stderr) == (1, True)


def test_a_scheduler_fires_what_is_in_redis_and_in_the_code(
    start: Start, cli: Run, environ: dict[str, str], store: Store
) -> None:
    scheduler = start("scheduler", "mytasks:app", environ=environ)
    scheduler.wait_for_line("scheduler started")
    cli("schedules", "add", "in-redis", "@every 1s", "mail:send")
    wait_until_sync(
        lambda: {task_id.partition(":")[0] for task_id in store.list("pending")} == {"in-redis", "from-code"}
    )

    assert {info["id"]: info["origin"] for info in cli("schedules", "ls", "--json").json} == {
        "in-redis": "redis",
        "from-code": "code",
    }
    refused = cli("schedules", "rm", "from-code")
    assert (refused.returncode, "program's code" in refused.stderr) == (1, True)
    assert scheduler.end(signal.SIGTERM, 10) == 0


def test_a_scheduler_without_a_target(
    start: Start, cli: Run, environ: dict[str, str], here: Path, store: Store
) -> None:
    (here / "taskflow.yaml").write_text("schedules: {pulse: {spec: '@every 1s', type: 'mail:push'}}")
    scheduler = start("scheduler", environ=environ)
    wait_until_sync(lambda: store.list("pending"), 10)
    assert scheduler.end(signal.SIGINT, 10) == 0


def test_a_scheduler_that_cannot_start_says_why(run: Run, here: Path) -> None:
    done = run("scheduler", "--redis-url", "redis://127.0.0.1:1/0")
    assert (done.returncode, "Redis did not answer" in done.stderr) == (1, True)
    done = run("scheduler", "nowhere:app")
    assert (done.returncode, "no module" in done.stderr) == (1, True)


def test_a_worker_with_a_scheduler_does_both_in_one_of_its_processes(
    start: Start, cli: Run, environ: dict[str, str], store: Store
) -> None:
    line = ("worker", "mytasks:app", "--with-scheduler", "--health-port", "0", "--processes", "2")
    worker = start(*line, environ=environ)
    worker.wait_for_line("all worker processes run")
    assert worker.stderr.count("scheduler started") == 1

    wait_until_sync(lambda: store.number("processed") >= 2, 10)
    assert len(descendants(worker.pid)) == 2
    assert worker.end(signal.SIGTERM, 15) == 0


def test_a_worker_with_a_scheduler_that_cannot_start_ends(run: Run, environ: dict[str, str], here: Path) -> None:
    done = run(
        "worker", "mytasks:app", "--with-scheduler", "--health-port", "0", "--redis-url", "redis://127.0.0.1:1/0"
    )
    assert (done.returncode, "Redis did not answer" in done.stderr) == (1, True)
    assert "never retrieved" not in done.stderr
