"""Fixtures of the tests with Go: the programs, built once a run, and what drives them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from interop.asynq_cli import AsynqCli
from interop.go_peer import Console, GoPeer
from interop.go_programs import GoPrograms
from interop.scene import Scene, a_system_at_work
from support.invariants import violations
from taskflow import TaskFlow
from taskflow.worker import fetcher

if TYPE_CHECKING:
    from conftest import StartWorker


@pytest.fixture(scope="session")
def go_programs(tmp_path_factory: pytest.TempPathFactory) -> GoPrograms:
    """The programs in Go. Without Go, or without the modules they need, a test that asks for one is skipped."""
    return GoPrograms(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def peer_program(go_programs: GoPrograms) -> Path:
    """The peer's program."""
    return go_programs.build("peer")


@pytest.fixture(scope="session")
def consoles() -> Iterator[dict[str, Console]]:
    """Asynq's inspector and client on each server that was asked for."""
    running: dict[str, Console] = {}
    yield running
    for console in running.values():
        console.close()


@pytest.fixture
async def go(peer_program: Path, redis_url: str, consoles: dict[str, Console]) -> AsyncIterator[GoPeer]:
    """The Go peer on the test's server."""
    if redis_url not in consoles:
        consoles[redis_url] = Console(peer_program, redis_url)
    peer = GoPeer(peer_program, redis_url, consoles[redis_url])
    await peer.ask("new_client")
    yield peer
    await peer.close()


@pytest.fixture
def asynq(go_programs: GoPrograms, redis_url: str, tmp_path: Path) -> AsynqCli:
    """Asynq's command line tool on the test's server."""
    return AsynqCli(go_programs.build("tools/asynq", "github.com/hibiken/asynq/tools/asynq"), redis_url, tmp_path)


@pytest.fixture
async def scene(app: TaskFlow, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """A TaskFlow system at work on the test's server, for tools to look at."""
    monkeypatch.setattr(fetcher, "ARMED_SECONDS", 0.02)  # a quiet queue keeps one of the two slots that long
    async with a_system_at_work(app, start_worker) as running:
        yield running


@pytest.fixture
def consistent(raw: redis.Redis) -> Iterator[None]:
    """Checks at the end of the test that every queue is consistent, but for three things that asynq's tools leave as they were.

    These are when a task became pending, the lock of a task that is archived, and our exact due times, which count only
    beside the same second in asynq's set.
    """
    yield
    reader: Any = raw
    queues = [name.decode() for name in reader.smembers("asynq:queues")]
    found = [f"{queue}: {violation}" for queue in queues for violation in violations(raw, queue)]
    left = ("and pending_since is", "the lock", "has the exact due time")
    assert not [violation for violation in found if not any(text in violation for text in left)]
