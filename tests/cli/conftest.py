"""The command line as people use it: in processes of its own, or in the test's where starting one would show no more."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
from typer.testing import CliRunner

from support.waiting import wait_until_sync
from taskflow.cli.program import program, with_global_options_first


class Finished(subprocess.CompletedProcess[str]):
    """A command that has ended: `returncode`, `stdout`, `stderr`."""

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        assert self.returncode == 0, self.stderr
        return json.loads(self.stdout)

    @property
    def json_lines(self) -> list[Any]:
        """The lines it printed, each as JSON."""
        return [json.loads(line) for line in self.stdout.splitlines()]


class Running:
    """A command that runs, in a process group of its own; its output goes to files."""

    def __init__(self, process: subprocess.Popen[bytes], directory: Path) -> None:
        self.process = process
        self.pid = process.pid
        self._directory = directory

    @property
    def stdout(self) -> str:
        return (self._directory / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return (self._directory / "stderr").read_text()

    def wait_for_line(self, text: str, seconds: float = 20) -> str:
        """The first line of its output that holds the text."""

        def found() -> str | None:
            lines = (self.stdout + self.stderr).splitlines()
            return next((line for line in lines if text in line), None)

        try:
            wait_until_sync(lambda: found() or self.process.poll() is not None, seconds)
        except AssertionError as error:
            raise AssertionError(f"no {text!r} in:\n{self.stdout}{self.stderr}") from error
        line = found()
        assert line is not None, f"ended with exit code {self.process.returncode}:\n{self.stdout}{self.stderr}"
        return line

    def end(self, number: signal.Signals, seconds: float) -> int:
        """Send a signal, to it alone, and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(seconds)


class Run(Protocol):
    def __call__(
        self,
        *arguments: str,
        stdin: str | None = None,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Finished: ...


class Start(Protocol):
    def __call__(
        self, *arguments: str, environ: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> Running: ...


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "taskflow", *arguments]


def environment(more: Mapping[str, str] | None) -> dict[str, str]:
    """The environment without settings, but for these."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("TASKFLOW_")}
    return {**own, **(more or {})}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The working directory of the commands."""
    directory = tmp_path / "project"
    directory.mkdir()
    return directory


@pytest.fixture
def run(here: Path) -> Run:
    """`run("queues", "ls")` runs a command to its end."""

    def run_command(
        *arguments: str, stdin: str | None = None, environ: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> Finished:
        done = subprocess.run(
            command(*arguments),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            env=environment(environ),
            cwd=cwd or here,
            timeout=30,
            check=False,
        )
        return Finished(done.args, done.returncode, done.stdout, done.stderr)

    return run_command


@pytest.fixture
def run_inside(here: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in this process: for what only asks or changes something. An exception that gets out is raised."""

    def run_command(
        *arguments: str, stdin: str | None = None, environ: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> Finished:
        monkeypatch.chdir(cwd or here)
        done = CliRunner().invoke(program, with_global_options_first(arguments), input=stdin, env=environ)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Finished(arguments, done.exit_code, done.stdout, done.stderr)

    return run_command


@pytest.fixture
def start(here: Path, tmp_path: Path) -> Iterator[Start]:
    """`start("worker", "tasks:app")` starts a command; at the end it and all below it are killed, if they still run."""
    running: list[Running] = []

    def start_command(*arguments: str, environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> Running:
        directory = tmp_path / f"run{len(running)}"
        directory.mkdir()
        with (directory / "stdout").open("wb") as out, (directory / "stderr").open("wb") as err:
            process = subprocess.Popen(
                command(*arguments),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment(environ),
                cwd=cwd or here,
                start_new_session=True,
            )
        running.append(Running(process, directory))
        return running[-1]

    yield start_command
    for each in running:
        for pid in [*descendants(each.pid), each.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        each.process.wait(5)


def descendants(pid: int) -> list[int]:
    """The processes below one, at any depth."""
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout  # noqa: S607 - a standard program
    pairs = [tuple(map(int, line.split())) for line in listing.splitlines()]
    below, found = [pid], []
    while below:
        children = [child for child, parent in pairs if parent in below]
        found += children
        below = children
    return found


def lives(pid: int) -> bool:
    """Whether a process runs; one that has ended but was not waited for does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout  # noqa: S607
    return bool(state.strip()) and not state.strip().startswith("Z")


def http(method: str, url: str, body: object = None) -> tuple[int, Any]:
    """Make an HTTP request; return status and JSON, or (0, None) if nobody answers."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data, {"Content-Type": "application/json"}, method=method)  # noqa: S310 - our own server
    try:
        with urlopen(request, timeout=5) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except URLError as error:
        return getattr(error, "code", 0), None
