"""Fixtures of the tests with Go: the peer, built once a run, and what drives it."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from interop.go_peer import GoPeer
from support import servers

_SOURCE = Path(__file__).parent / "peer"
_BUILD_SECONDS = 100


@pytest.fixture(scope="session")
def peer_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The peer's program. Without Go, or without the modules it needs, the test is skipped with the reason."""
    go = servers.require("go")
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # of the whole run
    program = folder / "peer"
    with (folder / "peer.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _build(go, program)
    return program


def _build(go: str, program: Path) -> None:
    if problem := _run(go, "mod", "download"):
        servers.skip(f"the Go modules of the peer cannot be downloaded: {problem}")
    if problem := _run(go, "build", "-o", str(program), "."):
        pytest.fail(f"the peer does not build: {problem}")


def _run(*command: str) -> str:
    """Run a command in the peer's folder; return why it failed, '' if it did not."""
    done = subprocess.run(command, cwd=_SOURCE, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False)
    return "" if done.returncode == 0 else done.stderr.strip()


@pytest.fixture
async def go(peer_program: Path, redis_url: str) -> AsyncIterator[GoPeer]:
    """The Go peer on the test's server."""
    peer = GoPeer(peer_program, redis_url)
    yield peer
    await peer.close()
