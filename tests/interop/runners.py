"""Workers of both sides that do the same by a task's type, and tell what their handlers saw.

What a type's beginning means: see `work` in `peer/README.md`.
"""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from interop.go_peer import TIMEOUT, GoPeer, GoServer, Reply, base64_text
from support.waiting import wait_until
from taskflow import Registry, Retry, RevokeTask, SkipRetry, TaskContext, TaskFlow
from taskflow.worker.server import Worker

if TYPE_CHECKING:
    from conftest import StartWorker

Queues = Mapping[str, int]


class Runner(ABC):
    """A running worker of either side, in the process `pid`."""

    pid: int

    @property
    @abstractmethod
    def starts(self) -> list[Reply]:
        """What each started handler saw: id, type, queue, payload, headers, retried, max_retry, deadline."""

    async def started(self, task_id: str, *, count: int = 1) -> Reply:
        """Wait until a task's handler has started for the `count`-th time; return what it saw."""
        await wait_until(lambda: len(self._of(task_id)) >= count, TIMEOUT)
        return self._of(task_id)[count - 1]

    def _of(self, task_id: str) -> list[Reply]:
        return [start for start in self.starts if start["id"] == task_id]

    @abstractmethod
    async def stop(self) -> None:
        """Let it shut down in order: it gives back what runs."""


class GoRunner(Runner):
    """An asynq server."""

    def __init__(self, server: GoServer) -> None:
        self._server = server
        self.pid = server.process.pid

    @property
    def starts(self) -> list[Reply]:
        names = ("id", "type", "queue", "payload", "headers", "retried", "max_retry", "deadline")
        return [{name: event[name] for name in names} for event in self._server.about("start")]

    async def stop(self) -> None:
        await self._server.stop()


class PythonRunner(Runner):
    """A worker of ours in the test's loop."""

    def __init__(self, worker: Worker, seen: list[Reply]) -> None:
        self._worker = worker
        self._seen = seen
        self.pid = os.getpid()

    @property
    def starts(self) -> list[Reply]:
        return self._seen

    async def stop(self) -> None:
        self._worker.stop()
        await wait_until(lambda: self._worker.describe().status == "closed", TIMEOUT)


class Workers(ABC):
    """Starts workers of one side."""

    @abstractmethod
    async def start(
        self, queues: Queues | None = None, *, concurrency: int = 10, strict: bool = False, retry_delay: float = 3600
    ) -> Runner:
        """Start one and return it once it takes tasks; `retry_delay` is in seconds."""


class GoWorkers(Workers):
    """Starts asynq servers."""

    def __init__(self, peer: GoPeer) -> None:
        self._peer = peer

    async def start(
        self, queues: Queues | None = None, *, concurrency: int = 10, strict: bool = False, retry_delay: float = 3600
    ) -> Runner:
        weights = ",".join(f"{name}={weight}" for name, weight in (queues or {"default": 1}).items())
        flags = [f"--queues={weights}", f"--concurrency={concurrency}", f"--retry-delay={retry_delay}s"]
        return GoRunner(await self._peer.work(*flags, *(["--strict"] if strict else [])))


class PythonWorkers(Workers):
    """Starts workers of ours."""

    def __init__(self, start_worker: StartWorker) -> None:
        self._start_worker = start_worker

    async def start(
        self, queues: Queues | None = None, *, concurrency: int = 10, strict: bool = False, retry_delay: float = 3600
    ) -> Runner:
        seen: list[Reply] = []
        worker = await self._start_worker(
            handlers(seen, retry_delay),
            queues=queues or {"default": 1},
            concurrency=concurrency,
            strict=strict,
            shutdown_timeout=0.3,
        )
        return PythonRunner(worker, seen)


class _Excused(Exception):
    """An error that is no failure."""


def handlers(seen: list[Reply], retry_delay: float) -> Registry:
    """What the Go peer's handlers do."""

    async def note(context: TaskContext, call_next: Any) -> Any:
        seen.append(_as_seen(context))
        return await call_next(context)

    app = TaskFlow(
        middleware=[note],
        backoff=timedelta(seconds=retry_delay),
        is_failure=lambda error: not isinstance(error, _Excused),
    )

    @app.task("*")
    async def succeed(payload: bytes) -> None:
        pass

    @app.task("echo*")
    async def echo(payload: bytes) -> bytes:
        return payload

    @app.task("fail*")
    async def fail(payload: bytes) -> None:
        raise Retry(timedelta(seconds=retry_delay), payload.decode())

    @app.task("excuse*")
    async def excuse(payload: bytes) -> None:
        raise _Excused(payload.decode())

    @app.task("panic*")
    async def panic(payload: bytes) -> None:
        raise RuntimeError(payload.decode())

    @app.task("skip*")
    async def skip(payload: bytes) -> None:
        raise SkipRetry(payload.decode())

    @app.task("revoke*")
    async def revoke(payload: bytes) -> None:
        raise RevokeTask(payload.decode())

    @app.task("sleep*")
    async def sleep(payload: bytes) -> None:
        await asyncio.sleep(int(payload) / 1000)

    return app.registry


def _as_seen(context: TaskContext) -> Reply:
    return {
        "id": context.id,
        "type": context.type,
        "queue": context.queue,
        "payload": base64_text(context.payload),
        "headers": dict(context.headers),
        "retried": context.retried,
        "max_retry": context.max_retries,
        "deadline": 0.0 if context.deadline is None else context.deadline.timestamp(),
    }
