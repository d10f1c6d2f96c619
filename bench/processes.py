"""The processes of a benchmark: a private server, the Go program, and children of our own (`roles`)."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from taskflow.broker import connection
from taskflow.broker.embedded import EmbeddedServer

ROOT = Path(__file__).resolve().parent.parent
_PEER = ROOT / "tests" / "interop" / "peer"
_ANSWER_SECONDS = 300.0
"""The longest time a child may take for one answer."""
_END_SECONDS = 20.0


class ChildFailed(Exception):
    """A process of a benchmark failed or did not answer; the message has the end of what it said."""


@contextmanager
def server() -> Iterator[str]:
    """Run a private server on loopback TCP, which Go can reach too, without persistence; give its URL."""
    stock = shutil.which("redis-server")
    with EmbeddedServer(port=0, server=Path(stock) if stock else None) as running:
        yield running.url


@contextmanager
def admin(url: str) -> Iterator[Any]:
    """Connect to a server with the plain client library, to look at it and to empty it."""
    client = connection.connect_sync(url)
    try:
        yield client
    finally:
        client.close()


def build_peer(folder: Path) -> tuple[Path | None, str]:
    """Build the Go program into a folder; return its path, or None and why there is none."""
    go = shutil.which("go")
    if go is None:
        return None, "Go is not installed"
    target = folder / "peer"
    built = subprocess.run(
        [go, "build", "-o", str(target), "."], cwd=_PEER, capture_output=True, text=True, check=False
    )
    if built.returncode:
        reason = (built.stderr.strip().splitlines() or ["no reason given"])[-1]
        return None, f"the Go program could not be built: {reason}"
    return target, ""


def peer_command(peer: Path, url: str, verb: str, *options: str) -> list[str]:
    """Return the command line of one of the Go program's benchmarks."""
    return [str(peer), "bench", verb, "--redis", url, *options]


def run_peer(peer: Path, url: str, verb: str, *options: str) -> dict[str, Any]:
    """Run a benchmark of the Go program; return what it measured.

    Raises:
        ChildFailed: It failed, or took too long.

    """
    with Child(peer_command(peer, url, verb, *options)) as child:
        return child.read()


def run_role(role: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Run a role that needs no word from us; return its one answer. Raises `ChildFailed`."""
    with start_role(role, spec) as child:
        return child.read()


def start_role(role: str, spec: Mapping[str, Any]) -> Child:
    """Start `python -m bench.roles.ROLE` with a description of what to do."""
    return Child([sys.executable, "-m", f"bench.roles.{role}", json.dumps(spec)], cwd=ROOT)


def environment() -> dict[str, str]:
    """Return the environment for children: without settings of TaskFlow's, which would change what is measured."""
    kept = {"TASKFLOW_REDIS_SERVER"}
    return {name: value for name, value in os.environ.items() if not name.startswith("TASKFLOW_") or name in kept}


class Child:
    """A process that answers in lines of JSON; it is ended at the end of the `with` block.

    Args:
        command: Its command line.
        cwd: Where it runs.

    """

    def __init__(self, command: list[str], *, cwd: Path | None = None) -> None:
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - it is open as long as the process; `_end` closes it
        self._process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            bufsize=0,
        )
        self.pid = self._process.pid
        self._unread = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(force=kind is not None)

    def send(self, line: str) -> None:
        """Send it a line."""
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write(f"{line}\n".encode())

    def close_input(self) -> None:
        """Let it read the end of its input, by which our roles know that they are to stop."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def read(self, seconds: float = _ANSWER_SECONDS) -> dict[str, Any]:
        """Return its next answer.

        Raises:
            ChildFailed: It ended, or did not answer in time.

        """
        stdout = self._process.stdout
        assert stdout is not None
        until = time.monotonic() + seconds
        while b"\n" not in self._unread:
            readable, _, _ = select.select([stdout], [], [], max(0.0, until - time.monotonic()))
            if not readable:
                raise ChildFailed(f"no answer within {seconds:g} s{self._last_words()}")
            data = stdout.read(1 << 16)
            if not data:
                raise ChildFailed(f"it ended without an answer{self._last_words()}")
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return cast("dict[str, Any]", json.loads(line))

    def _last_words(self) -> str:
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").strip().splitlines()
        return "".join(f"\n  {line}" for line in lines[-8:])

    def _end(self, *, force: bool) -> None:
        self.close_input()
        if force:
            self._process.terminate()
        try:
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        failure = None if force or code == 0 else ChildFailed(f"exit code {code}{self._last_words()}")
        self._complaints.close()
        if self._process.stdout is not None:
            self._process.stdout.close()
        if failure is not None:
            raise failure
