"""Steering tasks and queues from the command line: some by their ids, all that fit, and queues that go."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Finished, Run, command, environment
from support.store import Store
from taskflow import SyncClient, Task, TaskOptions
from taskflow.errors import TaskConflict


@pytest.fixture
def environ(redis_url: str) -> dict[str, str]:
    return {"TASKFLOW_REDIS_URL": redis_url}


@pytest.fixture
def cli(run_inside: Run, environ: dict[str, str]) -> Run:
    """Runs commands on the test's server; standard input is no terminal."""

    def run_here(*arguments: str, **more: Any) -> Finished:
        return run_inside(*arguments, environ=environ, **more)

    return run_here


@pytest.fixture
def client(redis_url: str) -> Iterator[SyncClient]:
    with SyncClient(redis_url) as client:
        yield client


def fill(client: SyncClient, ids: list[str], task_type: str = "mail", **options: Any) -> None:
    tasks = [Task(task_type, {"n": task_id}, TaskOptions(task_id=task_id, **options)) for task_id in ids]
    assert not [answer for answer in client.enqueue_many(tasks) if isinstance(answer, TaskConflict)]


# -- some ---------------------------------------------------------------------------------------------------------------


def test_tasks_are_run_archived_and_deleted_by_their_ids(cli: Run, client: SyncClient, store: Store) -> None:
    fill(client, ["a", "b"])
    fill(client, ["c"], queue="low")

    archived = cli("tasks", "archive", "a", "nobody", "c")
    assert archived.returncode == 1
    assert archived.stdout == "task a archived\ntask c archived\n"
    assert "task 'nobody' not found in any queue" in archived.stderr

    assert cli("tasks", "run", "a", "-q", "default").stdout == "task a pending now\n"
    again = cli("tasks", "run", "a")
    assert (again.returncode, "pending already" in again.stderr) == (1, True)

    assert cli("tasks", "delete", "a", "b", "--queue", "default").stdout == "task a deleted\ntask b deleted\n"
    assert store.list("pending") == []


def test_a_dry_run_of_ids_says_what_they_are(cli: Run, client: SyncClient, store: Store) -> None:
    fill(client, ["a"])

    done = cli("tasks", "delete", "a", "nobody", "--dry-run")

    assert done.returncode == 1
    assert done.stdout == "task a of type mail is pending in queue default\n"
    assert "nobody" in done.stderr
    assert store.state("a") == "pending"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "by their ids"),
        (["a", "--all", "--state", "archived"], "by their ids"),
        (["a", "--state", "archived"], "go with --all"),
        (["--all"], "--state archived"),
        (["--all", "--state", "gone"], "'gone'"),
    ],
)
def test_a_line_that_names_no_tasks_is_not_understood(cli: Run, words: list[str], reason: str) -> None:
    done = cli("tasks", "run", *words)

    assert done.returncode == 2
    assert reason in " ".join(done.stderr.replace("│", " ").split())


# -- edit ---------------------------------------------------------------------------------------------------------------


def test_a_task_is_edited(cli: Run, client: SyncClient, here: Path) -> None:
    fill(client, ["a"])
    assert "only a scheduled or retry task" in cli("tasks", "edit", "a", "{}").stderr
    cli("tasks", "delete", "a")
    created = client.enqueue("mail", {"n": 1}, task_id="a", process_in=timedelta(hours=1))
    assert created.id == "a"

    assert "task a is changed; it falls due in" in cli("tasks", "edit", "a", '{"n": 2}').stdout
    assert "in 10m" in cli("tasks", "edit", "a", "--process-in", "600s").stdout
    (here / "new.json").write_text('{"n": 3}')
    cli("tasks", "edit", "a", "--payload-file", "new.json", "--process-at", "2031-01-31T09:00:00Z")

    task = cli("tasks", "show", "a", "--json").json
    assert (task["payload"], task["next_process_at"]) == ({"n": 3}, "2031-01-31T09:00:00Z")
    both = cli("tasks", "edit", "a", "--process-in", "1s", "--process-at", "2031-01-31T09:00:00Z")
    assert both.returncode == 2
    nothing = cli("tasks", "edit", "a")
    assert (nothing.returncode, "give a payload, process_at, or both" in nothing.stderr) == (1, True)


# -- all ----------------------------------------------------------------------------------------------------------------


def test_all_that_fit_are_counted_by_a_dry_run(cli: Run, client: SyncClient, store: Store) -> None:
    fill(client, [f"{i}" for i in range(25)])
    fill(client, ["other"], "note")

    shown = cli("tasks", "delete", "--all", "--state", "pending", "--type", "mail", "--dry-run").stdout
    assert shown.startswith("25 pending tasks of queue default\n")
    assert "and 15 more" in shown
    assert "other" not in shown
    assert cli("tasks", "delete", "--all", "-s", "retry", "--dry-run").stdout == "0 retry tasks of queue default\n"
    assert len(store.list("pending")) == 26


def test_all_are_steered_where_somebody_said_yes_before(cli: Run, client: SyncClient, store: Store) -> None:
    fill(client, [f"{i}" for i in range(1200)])
    fill(client, ["note"], "note")

    asked = cli("tasks", "archive", "--all", "--state", "pending")
    assert asked.returncode == 2
    assert "archive 1,201 pending tasks of queue default? There is nobody to ask; say --yes" in asked.stderr
    assert len(store.list("pending")) == 1201

    words = ("--all", "--state", "pending", "--yes")
    assert cli("tasks", "archive", *words, "--text", '"n":"11').stdout == "111 tasks archived\n"
    assert cli("tasks", "cancel", *words, "--type", "note").stdout == "1 task cancelled\n"
    assert cli("tasks", "run", "--all", "--state", "archived", "--yes").stdout == "112 tasks pending now\n"
    assert cli("tasks", "delete", *words).stdout == "1,201 tasks deleted\n"
    assert cli("tasks", "delete", *words).stdout == "0 pending tasks of queue default\n"
    impossible = cli("tasks", "run", *words)
    assert impossible.returncode == 0, "there is nothing to run, so nothing to refuse"


def test_what_cannot_be_done_in_a_state_is_said(cli: Run, client: SyncClient) -> None:
    fill(client, ["a"])

    refused = cli("tasks", "run", "--all", "--state", "pending", "--yes")
    group = cli("tasks", "run", "--all", "--state", "pending", "--group", "g", "--yes")
    nowhere = cli("tasks", "run", "--all", "--state", "pending", "--queue", "nowhere", "--yes")

    assert [done.returncode for done in (refused, group, nowhere)] == [1, 1, 1]
    assert "tasks that are pending cannot be run" in refused.stderr
    assert "only aggregating tasks have one" in group.stderr
    assert "queue 'nowhere' not found" in nowhere.stderr


def on_a_terminal(words: list[str], environ: dict[str, str], here: Path, answer: str) -> tuple[int, str]:
    """Run a command on a terminal where somebody types an answer; return its exit code and what the terminal showed."""
    ours, theirs = os.openpty()
    wide = {**environ, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(
        command(*words), stdin=theirs, stdout=theirs, stderr=theirs, env=environment(wide), cwd=here
    ) as running:
        os.close(theirs)
        os.write(ours, answer.encode())
        shown = b""
        with suppress(OSError):  # how Linux tells that the terminal's other end is closed
            while data := os.read(ours, 4096):
                shown += data
        os.close(ours)
    return running.returncode, shown.decode()


def test_a_terminal_is_asked_and_shows_a_bar(
    client: SyncClient, environ: dict[str, str], here: Path, store: Store
) -> None:
    fill(client, [f"{i}" for i in range(1500)])
    words = ["tasks", "delete", "--all", "--state", "pending"]

    code, shown = on_a_terminal(words, environ, here, "n\n")
    assert code == 1
    assert "delete 1,500 pending tasks of queue default? [y/N]" in shown
    assert len(store.list("pending")) == 1500

    code, shown = on_a_terminal([*words, "--type", "mail"], environ, here, "y\n")
    assert code == 0
    assert "━" in shown
    assert "1500/1500" in shown
    assert "1,500 tasks deleted" in shown.splitlines()[-1]
    assert store.list("pending") == []


# -- queues ---------------------------------------------------------------------------------------------------------------


def test_a_queue_is_shown_with_its_memory_and_history(cli: Run, client: SyncClient, store: Store) -> None:
    fill(client, ["a", "b"])
    fill(client, ["c"], queue="low", group="g")
    today = cli("queues", "history", "default", "--days", "1", "--json").json[0]["day"]
    store.client.set(store.key(f"processed:{today}"), 200)
    store.client.set(store.key(f"failed:{today}"), 3)

    first, second = cli("queues", "show", "default", "low", "--json").json
    assert (first["queue"], first["pending"], first["size"], first["processed"]) == ("default", 2, 2, 200)
    assert (second["queue"], second["aggregating"], second["groups"]) == ("low", 1, 1)
    assert 500 < first["memory_bytes"] < 5000
    shown = cli("queues", "show", "default", "low").stdout
    assert "about" in shown
    assert "KiB" in shown or " B" in shown
    history = cli("queues", "history", "default", "-x", "3")
    rows = [line.split() for line in history.stdout.splitlines() if "default" in line]
    assert rows[0] == ["default", today, "200", "3", "1.5", "%"]
    assert rows[1][2:] == ["0", "0"]
    assert len(rows) == 3
    missing = cli("queues", "show", "default", "nowhere")
    assert (missing.returncode, "'nowhere' not found" in missing.stderr) == (1, True)


def test_several_queues_are_paused_and_resumed(cli: Run, client: SyncClient) -> None:
    fill(client, ["a"])
    fill(client, ["b"], queue="low")

    paused = cli("queues", "pause", "low", "nowhere", "default")
    assert paused.returncode == 1
    assert [line.split(" is paused")[0] for line in paused.stdout.splitlines()] == ["queue low", "queue default"]
    assert "queue 'nowhere' not found" in paused.stderr
    assert cli("queues", "resume", "low", "default").stdout == "queue low runs\nqueue default runs\n"


def test_a_queue_is_removed(cli: Run, client: SyncClient, environ: dict[str, str], here: Path) -> None:
    fill(client, [f"{i}" for i in range(600)])

    full = cli("queues", "rm", "default")
    assert (full.returncode, "600 in it" in full.stderr) == (1, True)
    asked = cli("queues", "rm", "default", "--force")
    assert asked.returncode == 2
    assert "delete queue default and the 600 tasks in it? There is nobody to ask" in asked.stderr
    code, shown = on_a_terminal(["queues", "rm", "default", "--force"], environ, here, "y\n")
    assert code == 0
    assert shown.splitlines()[-1].endswith("queue default is removed, with 600 tasks")
    gone = cli("queues", "rm", "default", "--force", "--yes")
    assert (gone.returncode, "not found" in gone.stderr) == (1, True)
    assert cli("queues", "ls", "--json").json == []


def test_the_whole_system_in_a_few_numbers(cli: Run, client: SyncClient) -> None:
    assert "none yet" in cli("stats").stdout
    fill(client, ["a", "b"])
    fill(client, ["c"], queue="low")
    cli("tasks", "archive", "c")

    numbers = cli("stats", "--json").json
    assert numbers["queues"] == {"default": 2, "low": 1}
    assert (numbers["tasks"]["pending"], numbers["tasks"]["archived"], numbers["servers"]) == (2, 1, 0)
    shown = cli("stats").stdout
    assert "default 2, low 1" in shown


# -- asynq's words --------------------------------------------------------------------------------------------------------


def test_the_verbs_of_asynqs_command_line_are_understood(cli: Run, client: SyncClient, store: Store) -> None:
    fill(client, ["a", "b"])

    assert "mail" in cli("task", "list", "--queue=default", "--state=pending").stdout
    assert "mail" in cli("task", "inspect", "a", "--queue=default").stdout
    assert cli("task", "archiveall", "--queue=default", "--state=pending", "--yes").stdout == "2 tasks archived\n"
    assert cli("task", "runall", "-q", "default", "-s", "archived", "-y").stdout == "2 tasks pending now\n"
    assert cli("task", "deleteall", "-q", "default", "-s", "pending", "-y").stdout == "2 tasks deleted\n"
    assert "is paused" in cli("queue", "pause", "default").stdout
    assert "runs" in cli("queue", "unpause", "default").stdout
    assert "default" in cli("queue", "inspect", "default").stdout
    assert "default" in cli("queue", "history", "default").stdout
    assert "is removed" in cli("queue", "remove", "default").stdout
    assert "no periodic tasks" in cli("cron", "ls").stdout
    assert cli("server", "ls", "--json").json == []
    assert store.client.smembers("asynq:queues") == set()
