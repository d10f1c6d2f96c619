"""Help: it is there for every command, teaches by example, and comes at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from cli.conftest import Run, environment
from taskflow.cli.program import program, with_global_options_first

HEAVY = {"asyncio", "litestar", "pydantic", "redis", "rich", "structlog", "uvicorn", "yaml"}
LOADED_BY_HELP = """
import sys
sys.argv = ["taskflow", "--help"]
from taskflow.cli import main
try:
    main()
except SystemExit as ended:
    assert ended.code == 0
print("loaded:", *sorted(sys.modules))
"""


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
    for name, child in (children or {}).items():
        if not child.hidden:
            yield from leaves(child, (*path, name))


COMMANDS = dict(leaves(typer.main.get_command(program)))


def test_these_are_the_commands() -> None:
    assert sorted(" ".join(path) for path in COMMANDS) == [
        "api",
        "config show",
        "dev",
        "doctor",
        "enqueue",
        "groups ls",
        "keys ls",
        "keys new",
        "queues history",
        "queues ls",
        "queues pause",
        "queues resume",
        "queues rm",
        "queues show",
        "scheduler",
        "schedules add",
        "schedules events",
        "schedules ls",
        "schedules next",
        "schedules pause",
        "schedules resume",
        "schedules rm",
        "schedules run",
        "schedules show",
        "servers drain",
        "servers ls",
        "stats",
        "tasks archive",
        "tasks cancel",
        "tasks delete",
        "tasks edit",
        "tasks ls",
        "tasks run",
        "tasks show",
        "tasks watch",
        "types ls",
        "types show",
        "version",
        "worker",
    ]


@pytest.mark.parametrize("path", [path for path in COMMANDS if path != ("version",)], ids=" ".join)
def test_the_help_of_each_command_has_an_example_that_calls_it(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    examples = [line.strip() for line in command.help.splitlines() if f"taskflow {' '.join(path)}" in line]
    assert examples, command.help
    for parameter in command.params:
        hidden = getattr(parameter, "hidden", False)
        assert hidden or parameter.name == "help" or parameter.help, f"{parameter.name} is not explained"


def test_help_loads_nothing_heavy() -> None:
    """What must not be loaded, so that help comes within 300 ms, is told by name: a clock would measure the machine."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED_BY_HELP], capture_output=True, text=True, check=True, env=environment(None)
    )
    loaded = set(done.stdout.rpartition("loaded:")[2].split())
    assert "taskflow.cli.program" in loaded
    assert not HEAVY & loaded


def test_global_options_may_stand_behind_the_command() -> None:
    assert with_global_options_first(["queues", "ls", "--redis-url", "redis://h", "--json", "--log-level=debug"]) == [
        "--redis-url",
        "redis://h",
        "--log-level=debug",
        "queues",
        "ls",
        "--json",
    ]


def test_what_stands_behind_two_dashes_is_no_option() -> None:
    line = ["tasks", "show", "--", "--config", "x"]
    assert with_global_options_first(line) == line


def test_version(run: Run) -> None:
    done = run("version")
    assert done.returncode == 0
    assert done.stdout.startswith("taskflow 0.")


def test_no_command_shows_help(run: Run) -> None:
    done = run()
    assert "taskflow dev" in done.stdout + done.stderr
    assert done.returncode == 2
