"""Hundreds of viewers of one API process, many of which never read: what they cost it, and everybody else."""

from __future__ import annotations

import asyncio
import socket
import statistics
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import redis

from support.api_process import MEGABYTE, ApiProcess, api_process
from support.waiting import wait_until
from taskflow import Client, Progress
from taskflow.broker.progress import ProgressStream

READERS = 200
"""Viewers of one task that read, and as many of a task of their own each."""
SLEEPERS = 100
"""Viewers that never read."""
SECONDS = 15.0
PAUSE = 0.25
"""Time (s) between two events of the task that all watch."""


class Viewer:
    """A viewer that counts the events it gets."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.names: list[str] = []
        self._writer = writer
        self._reading = asyncio.create_task(self._read(reader))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        async for line in reader:
            if line.startswith(b"event: "):
                self.names.append(line[7:].decode().strip())

    async def close(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


@pytest.fixture
def api(redis_url: str, tmp_path: Path) -> Iterator[ApiProcess]:
    """An API process of its own, which lets one address have so many streams."""
    with api_process(redis_url, tmp_path, API_STREAMS_PER_CLIENT="1000") as api:
        yield api


@asynccontextmanager
async def viewing(api: ApiProcess, tasks: list[str]) -> AsyncIterator[list[Viewer]]:
    """Viewers of tasks, one each."""
    viewers = []
    for task in tasks:
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port, limit=MEGABYTE)
        writer.write(_request(task))
        viewers.append(Viewer(reader, writer))
    try:
        yield viewers
    finally:
        await asyncio.gather(*(viewer.close() for viewer in viewers))


@contextmanager
def sleeping(api: ApiProcess, task: str) -> Iterator[None]:
    """Viewers that never read, and have more to come than fits into the buffers on the way."""
    with ExitStack() as stack:
        for _ in range(SLEEPERS):
            each = stack.enter_context(socket.socket())
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            each.connect(("127.0.0.1", api.port))
            each.sendall(_request(task, "?history=true"))
        yield


def _request(task: str, query: str = "") -> bytes:
    return f"GET /api/v1/tasks/{task}/progress/stream{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


@contextmanager
def probing(probe: Callable[[], float]) -> Iterator[list[float]]:
    """Measure ten times a second, in a thread."""
    took: list[float] = []
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(0.1):
            took.append(probe())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield took
    finally:
        stop.set()
        thread.join()


async def publish(stream: ProgressStream, tasks: list[str], seconds: float) -> tuple[int, list[float]]:
    """Publish an event of the first task every `PAUSE`, of the others once; return of the first how many, and how long each took."""
    took: list[float] = []
    others = iter(tasks[1:])
    until = time.monotonic() + seconds
    at_a_time = max(1, int((len(tasks) - 1) / (seconds / PAUSE)) + 1)
    while time.monotonic() < until:
        started = time.perf_counter()
        await stream.publish(Progress(task_id=tasks[0], percentage=1, message="m" * 500))
        took.append(time.perf_counter() - started)
        for task in islice(others, at_a_time):
            await stream.publish(Progress(task_id=task, percentage=1))
        await asyncio.sleep(PAUSE)
    for task in others:
        await stream.publish(Progress(task_id=task, percentage=1))
    return len(took), took


def _connections(raw: redis.Redis) -> int:
    clients: Any = raw.client_list()
    return sum(client["name"].startswith("taskflow") for client in clients)


def _summary(took: list[float]) -> str:
    ordered = sorted(took)
    return f"median {statistics.median(took) * 1000:.1f} ms, p99 {ordered[int(len(ordered) * 0.99)] * 1000:.1f} ms"


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_five_hundred_viewers_of_whom_a_hundred_never_read(
    api: ApiProcess, client: Client, raw: redis.Redis, record_property: Any
) -> None:
    stream = ProgressStream(client.broker)
    own = [f"own-{number}" for number in range(READERS)]
    for task in ("hot", "full", *own):
        await client.enqueue("demo", task_id=task)
    for _ in range(6):
        await stream.publish_all([(Progress(task_id="full", percentage=1, message="x" * 30_000), None)] * 100)

    with probing(api.health) as idle:
        _, alone = await publish(stream, ["nobody"], 3)
    async with viewing(api, ["hot"]):
        await wait_until(lambda: raw.pubsub_channels("taskflow:progress:*"))
        with_one = _connections(raw)

    async with viewing(api, [*["hot"] * READERS, *own]) as viewers:
        with sleeping(api, "full"):
            await wait_until(lambda: len(raw.pubsub_channels("taskflow:progress:*")) == READERS + 2, 60)
            warm, _ = await publish(stream, ["hot"], 3)
            await wait_until(lambda: all(len(viewer.names) == warm for viewer in viewers[:READERS]), 60)
            before = {viewer: len(viewer.names) for viewer in viewers}
            memory = api.memory
            with probing(api.health) as busy:
                count, beside = await publish(stream, ["hot", *own], SECONDS)
                await wait_until(
                    lambda: all(len(viewer.names) - before[viewer] >= count for viewer in viewers[:READERS]), 30
                )
            grown = api.memory - memory
            with_all = _connections(raw)

        seen = [len(viewer.names) - before[viewer] for viewer in viewers]

    measured = {
        "memory": f"{memory:.0f} MB, then {grown:+.1f} MB in {SECONDS:g} s",
        "health": f"{_summary(busy)}; with no viewers: {_summary(idle)}",
        "publish": f"{_summary(beside)}; with no viewers: {_summary(alone)}",
        "connections": f"{with_all}; with one viewer: {with_one}",
        "events": f"{sum(seen)} to {len(viewers)} viewers, beside {SLEEPERS} that do not read",
    }
    for name, value in measured.items():
        record_property(name, value)
        print(f"{name}: {value}")  # noqa: T201 - `pytest -s` shows what was measured
    assert seen == [count] * READERS + [1] * READERS
    assert grown < 16
    assert with_all == with_one
    assert statistics.median(busy) < max(0.05, 5 * statistics.median(idle))
    assert statistics.median(beside) < max(0.02, 5 * statistics.median(alone))
