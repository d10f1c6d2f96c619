"""ApiProcess: `taskflow api` as a process of its own, and what it takes of the machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

from support.waiting import wait_until_sync

MEGABYTE = 1024 * 1024


class ApiProcess:
    """An API process.

    Attributes:
        pid: Its process id.
        port: Its port, on 127.0.0.1.
        log: The file that its log goes to.

    """

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.pid = process.pid
        self.port = port
        self.log = log

    @property
    def memory(self) -> float:
        """What it holds of the machine's memory, in MB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / MEGABYTE

    @property
    def descriptors(self) -> int:
        """How many files and connections it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))  # noqa: PTH208 - names suffice

    def ask(self, path: str) -> tuple[int, float]:
        """The status of an answer, and how long it took in seconds."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        started = time.perf_counter()
        with closing(connection):
            connection.request("GET", path)
            return connection.getresponse().status, time.perf_counter() - started

    def health(self) -> float:
        """How long `/health` takes, in seconds."""
        status, took = self.ask("/health")
        assert status == 200
        return took


@contextmanager
def api_process(redis_url: str, folder: Path, *, descriptors: int = 0, **settings: str) -> Iterator[ApiProcess]:
    """Run an API process; settings are named as in the environment (`SERVER_HTTP_READ_TIMEOUT="1s"`).

    With `descriptors`, it may have no more open at once, and at most 100 at its start.
    """
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TASKFLOW_")}
    environ |= {"TASKFLOW_REDIS_URL": redis_url} | {f"TASKFLOW_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "taskflow", "api", "--port", "0"]
    if descriptors:
        soft = min(descriptors, 100)  # which it may raise
        command = ["sh", "-c", f'ulimit -Sn {soft} && ulimit -Hn {descriptors} && exec "$@"', "sh", *command]
    log = folder / "api.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=output, stderr=output)

    def port() -> int:
        assert process.poll() is None, log.read_text()
        found = re.search(r"127\.0\.0\.1:(\d+)", log.read_text())
        return int(found[1]) if found else 0

    try:
        wait_until_sync(port, 30)
        api = ApiProcess(process, port(), log)
        wait_until_sync(lambda: api.ask("/ready")[0] == 200, 30)
        yield api
    finally:
        process.terminate()
        process.wait(30)
