"""Fixtures of the fault tests: a server of each test's own, real worker processes, and the log that handlers write."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from support import fault_worker
from support.proxy import Proxy
from taskflow.broker.embedded import EmbeddedServer


class Workers:
    """Starts worker processes and knows which are alive."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self.log = log
        self.all: list[subprocess.Popen[bytes]] = []

    def start(self, url: str | None = None, **options: Any) -> subprocess.Popen[bytes]:
        """Start a worker process; the options are `fault_worker`'s."""
        settings = [f"{name}={value}" for name, value in options.items()]
        command = [sys.executable, fault_worker.__file__, url or self.url, str(self.log), *settings]
        with self.log.with_suffix(".err").open("ab") as errors:
            process = subprocess.Popen(command, stdout=errors, stderr=errors)
        self.all.append(process)
        return process

    def alive(self) -> list[subprocess.Popen[bytes]]:
        return [process for process in self.all if process.poll() is None]

    def stop(self) -> None:
        """Ask all to stop, and wait; one that does not is killed."""
        for process in self.alive():
            process.terminate()
        for process in self.all:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)

    def events(self) -> list[tuple[str, int, int, str]]:
        """What the handlers have written: (id, attempt, pid, start or end)."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        parts = (line.rsplit(" ", 3) for line in lines)
        return [(task_id, int(attempt), int(pid), event) for task_id, attempt, pid, event in parts]

    def runs(self, event: str = "start") -> Counter[str]:
        """How often each task has come to an event."""
        return Counter(task_id for task_id, _, _, what in self.events() if what == event)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server of the test's own."""
    with EmbeddedServer() as server:
        yield server


@pytest.fixture
def workers(redis_url: str, tmp_path: Path) -> Iterator[Workers]:
    """Worker processes, all of which have ended when the test ends."""
    workers = Workers(redis_url, tmp_path / "log")
    yield workers
    for process in workers.all:
        process.kill()
        process.wait(5)


@pytest.fixture
async def proxy(redis_url: str, raw: redis.Redis) -> AsyncIterator[Proxy]:
    async with Proxy(redis_url) as proxy:
        yield proxy
