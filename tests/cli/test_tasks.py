"""Tasks and queues from the command line, against a real server and a real worker."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Finished, Run, Running, Start, command, environment
from support.store import Store
from taskflow.broker.delivery import attempt_line
from taskflow.task import Attempt

DEMO = "taskflow.worker.handlers.demo:app"


@pytest.fixture
def environ(redis_url: str) -> dict[str, str]:
    return {"TASKFLOW_REDIS_URL": redis_url, "TASKFLOW_API_ALLOW_TYPES": "mail:*"}


@pytest.fixture
def cli(run_inside: Run, environ: dict[str, str]) -> Run:
    """Runs commands on the test's server, where types `mail:…` are let through."""

    def run_here(*arguments: str, **more: Any) -> Finished:
        return run_inside(*arguments, environ=environ, **more)

    return run_here


@pytest.fixture
def worker(start: Start, environ: dict[str, str]) -> Running:
    worker = start("worker", DEMO, "--health-port", "0", environ=environ)
    worker.wait_for_line("worker started")
    return worker


def test_enqueue_with_all_options(cli: Run, here: Path) -> None:
    (here / "mail.json").write_text('{"to": "ada"}')
    options = {
        "--payload-file": "mail.json",
        "--queue": "low",
        "--max-retries": "7",
        "--timeout": "45s",
        "--deadline": "2031-01-31T09:00:00Z",
        "--process-at": "2030-01-31T10:00:00+01:00",
        "--unique": "1h",
        "--task-id": "mail-1",
        "--retention": "24h",
        "--metadata": "trace=abc",
    }
    created = cli("enqueue", "mail:send", "--json", *(word for pair in options.items() for word in pair))
    assert created.json == {"task_id": "mail-1", "queue": "low", "status": "scheduled"}

    task = cli("tasks", "show", "mail-1", "--json").json
    expected = {
        "id": "mail-1",
        "queue": "low",
        "type": "mail:send",
        "state": "scheduled",
        "payload": {"to": "ada"},
        "max_retry": 7,
        "timeout": "45s",
        "deadline": "2031-01-31T09:00:00Z",
        "next_process_at": "2030-01-31T09:00:00Z",
        "retention": "24h",
        "metadata": {"trace": "abc"},
        "result": None,
    }
    assert {name: task[name] for name in expected} == expected

    shown = cli("tasks", "show", "mail-1").stdout
    assert "mail:send" in shown
    assert '{"to":"ada"}' in shown
    clash = cli("enqueue", "mail:send", '{"to": "ada"}', "--queue", "low", "--unique", "1h")
    assert clash.returncode == 1
    assert "holds the unique lock" in clash.stderr


def test_show_tells_where_the_last_attempt_failed(cli: Run, store: Store) -> None:
    cli("enqueue", "mail:send", "--task-id", "1")
    attempts = [
        Attempt(
            at=datetime(2026, 1, day, tzinfo=UTC), worker=f"host:{day}", error=f"ValueError: {day}", traceback=traceback
        )
        for day, traceback in ((1, "Traceback of the first\n"), (2, 'Traceback:\n  File "mail.py", line 7\n\x1b[2J\n'))
    ]
    store.client.hset(store.key("t:1"), "attempts", b"\n".join(attempt_line(attempt) for attempt in attempts))

    shown = cli("tasks", "show", "1").stdout
    assert "host:1" in shown
    assert "ValueError: 1" in shown
    assert shown.endswith('Traceback:\n  File "mail.py", line 7\n\\x1b[2J\n')
    assert "first" not in shown
    told = cli("tasks", "show", "1", "--json").json["attempts"]
    assert [attempt["traceback"] for attempt in told] == [attempt.traceback for attempt in attempts]


def test_enqueue_with_a_callback_url(run_inside: Run, environ: dict[str, str]) -> None:
    call = ("enqueue", "mail:send", "--task-id", "a", "--callback-url", "https://hooks.example.org/done")
    webhooks = {"TASKFLOW_WEBHOOKS_ALLOW_HOSTS": "*.example.org", "TASKFLOW_WEBHOOKS_SECRET": "0123456789abcdef"}

    refused = run_inside(*call, environ=environ)
    created = run_inside(*call, "--json", environ=environ | webhooks)
    shown = run_inside("tasks", "show", "a", "--json", environ=environ | webhooks)

    assert refused.returncode != 0
    assert "webhooks.allow_hosts" in refused.stderr
    assert created.json["task_id"] == "a"
    assert shown.json["callback_url"] == "https://hooks.example.org/done"


def test_enqueue_with_the_choices_of_a_unique_lock(cli: Run) -> None:
    def enqueue(version: int, *choice: str) -> Any:
        words = ["--unique", "1h", "--unique-fields", "shop, area.city", *choice]
        payload = f'{{"shop": 7, "area": {{"city": "x"}}, "version": {version}}}'
        return cli("enqueue", "mail:send", payload, "--task-id", f"{version}", *words)

    assert enqueue(1, "--unique-until", "started").stdout == "task 1 is pending in queue default\n"
    assert enqueue(2, "--on-conflict", "return").stdout == "task 1 is already pending in queue default\n"
    assert enqueue(3, "--on-conflict", "replace").stdout == "task 3 is pending in queue default\n"
    assert "task '3' holds the unique lock" in enqueue(4).stderr
    assert [task["id"] for task in cli("tasks", "ls", "--state", "pending", "--json").json["tasks"]] == ["3"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--unique-key", "a"], "goes with --unique"),
        (["--on-conflict", "return"], "goes with --unique"),
        (["--unique", "1h", "--unique-key", "a", "--unique-fields", "b"], "not both"),
        (["--unique", "1h", "--unique-fields", ""], "one or more names"),
        (["--unique", "1h", "--unique-until", "ended"], "'started'"),
        (["--unique", "1h", "--unique-fields", "a"], "JSON object"),
    ],
)
def test_choices_of_a_lock_that_cannot_be_used(cli: Run, words: list[str], reason: str) -> None:
    done = cli("enqueue", "mail:send", "[1]", *words)

    assert done.returncode != 0
    assert reason in done.stderr


def test_payloads_from_standard_input_and_bytes(cli: Run) -> None:
    cli("enqueue", "mail:send", "-", "--task-id", "piped", stdin='{"n": [1, 2]}')
    cli("enqueue", "mail:raw", "no JSON", "--raw", "--task-id", "raw")
    cli("enqueue", "mail:empty", "--task-id", "empty")

    tasks = cli("tasks", "ls", "--state", "pending", "--json").json
    assert tasks["total"] == 3
    assert {task["id"]: task["payload"] for task in tasks["tasks"]} == {
        "piped": {"n": [1, 2]},
        "raw": "no JSON",
        "empty": None,
    }
    page = cli("tasks", "ls", "--state", "pending", "--page", "1", "--size", "2", "--json").json
    assert [task["id"] for task in page["tasks"]] == ["empty"]
    assert [
        task["id"] for task in cli("tasks", "ls", "--state", "pending", "--type", "mail:raw", "--json").json["tasks"]
    ] == ["raw"]


def test_cancel_and_delete(cli: Run) -> None:
    for name in ("a", "b"):
        cli("enqueue", "mail:send", "{}", "--task-id", name)

    assert "task a cancelled" in cli("tasks", "cancel", "a").stdout
    archived = cli("tasks", "ls", "--state", "archived", "--json").json["tasks"]
    assert [(task["id"], task["cancelled"]) for task in archived] == [("a", True)]
    again = cli("tasks", "cancel", "a")
    assert again.returncode == 1
    assert "has ended" in again.stderr

    mixed = cli("tasks", "delete", "a", "nobody", "b")
    assert mixed.returncode == 1
    assert mixed.stdout == "task a deleted\ntask b deleted\n"
    assert "task 'nobody' not found" in mixed.stderr
    assert "no archived tasks" in cli("tasks", "ls", "--state", "archived").stdout


def test_queues(cli: Run) -> None:
    cli("enqueue", "mail:send", "{}", "--queue", "low")
    assert "low is paused" in cli("queues", "pause", "low").stdout
    (queue,) = cli("queues", "ls", "--json").json
    assert (queue["queue"], queue["pending"], queue["paused"]) == ("low", 1, True)
    assert "low (paused)" in cli("queues", "ls").stdout
    cli("queues", "resume", "low")
    assert cli("queues", "ls", "low", "--json").json[0]["paused"] is False
    missing = cli("queues", "pause", "nowhere")
    assert (missing.returncode, "queue 'nowhere' not found" in missing.stderr) == (1, True)


def test_a_table_in_a_pipe_is_not_cut_and_does_nothing_to_a_terminal(cli: Run) -> None:
    long_id = "x" * 200
    cli("enqueue", "mail:\x1b[31mred", "{}", "--task-id", long_id)
    table = cli("tasks", "ls", "--state", "pending").stdout
    assert long_id in table
    assert "\x1b" not in table
    assert r"mail:\x1b[31mred" in table


def test_watching_a_task_to_its_end(cli: Run, run: Run, environ: dict[str, str], worker: Running) -> None:
    """On a worker that serves the demo type, whose schema refuses what does not fit."""
    assert [(entry["type"], sorted(entry["schema"]["properties"])) for entry in cli("types", "ls", "--json").json] == [
        ("demo", ["count", "message"])
    ]
    (server,) = cli("servers", "ls", "--json").json
    shown = cli("types", "show", "demo", "--json").json
    assert [(one["pid"], one["version_id"]) for one in shown["servers"]] == [(worker.pid, shown["versions"][0]["id"])]
    assert "demo" in cli("types").stdout
    table = cli("types", "show", "demo").stdout
    assert str(worker.pid) in table
    assert '"maximum": 10000' in table
    unknown = cli("types", "show", "dem")
    assert (unknown.returncode, "did you mean 'demo'?" in unknown.stderr) == (1, True)
    assert (server["pid"], server["queues"]) == (worker.pid, {"critical": 6, "default": 3, "low": 1})

    refused = cli("enqueue", "demo", '{"message": "hi", "count": 10001}')
    assert refused.returncode == 1
    assert "$.count" in refused.stderr

    lines = run("enqueue", "demo", '{"message": "hi", "count": 2}', "--watch", "--json", environ=environ)
    assert lines.returncode == 0
    created, *entries = lines.json_lines
    assert created["status"] == "pending"
    assert [(entry["progress"]["percentage"], entry["status"]) for entry in entries] == [
        (50, None),
        (100, None),
        (100, "completed"),
    ]
    watched = cli("tasks", "watch", created["task_id"])
    assert watched.returncode == 0
    assert '"steps":2' in watched.stdout


def test_a_cancelled_task_ends_its_watching_with_1(
    cli: Run, start: Start, environ: dict[str, str], worker: Running
) -> None:
    cli("enqueue", "demo", '{"message": "long", "count": 10000}', "--task-id", "long")
    watching = start("tasks", "watch", "long", environ=environ)
    watching.wait_for_line("/10000")
    assert "is being stopped" in cli("tasks", "cancel", "long").stdout
    assert watching.process.wait(10) == 1
    assert "was cancelled" in watching.stdout


def test_a_terminal_gets_a_live_bar(environ: dict[str, str], worker: Running, here: Path) -> None:
    ours, theirs = os.openpty()
    words = command("enqueue", "demo", '{"message": "on a terminal", "count": 2}', "--watch")
    with subprocess.Popen(
        words, stdout=theirs, env=environment({**environ, "TERM": "xterm", "COLUMNS": "120"}), cwd=here
    ) as watching:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # how Linux tells that the terminal's other end is closed
            while data := os.read(ours, 4096):
                shown += data
        os.close(ours)
    assert watching.returncode == 0
    screen = shown.decode()
    assert "\x1b[" in screen
    assert "━" in screen
    assert "step 1/2" in screen
    assert "completed" in screen.splitlines()[-1]


def test_config_show_masks_secrets_and_names_sources(run: Run, here: Path) -> None:
    (here / "taskflow.yaml").write_text("server: {http: {port: 9000}}\nredis: {password: sesame}\n")
    done = run(
        "config", "show", "--json", "--redis-url", "redis://u:open@h/0", environ={"TASKFLOW_QUEUES_DEFAULT": "q"}
    )
    settings = {setting["name"]: (setting["value"], setting["source"]) for setting in done.json}
    assert settings["server.http.port"] == ("9000", "taskflow.yaml")
    assert settings["queues.default"] == ("q", "TASKFLOW_QUEUES_DEFAULT")
    assert settings["redis.url"] == ("redis://u:***@h/0", "option")
    assert settings["redis.password"] == ("***", "taskflow.yaml")
    assert settings["app.name"] == ("taskflow", "default")
    changed = run("config", "show", "--changed").stdout
    assert "server.http.port" in changed
    assert "app.name" not in changed
