"""The worker's health server: /health, /ready and /live."""

from __future__ import annotations

import asyncio
import http.client
import socket
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from conftest import StartWorker, WaitUntil
from support.proxy import Proxy
from taskflow import TaskFlow, Worker
from taskflow.worker import server as server_module


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        number: int = free.getsockname()[1]
        return number


def _get(port: int, path: str) -> tuple[int, Any]:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        link.request("GET", path)
        answer = link.getresponse()
        return answer.status, msgspec.json.decode(answer.read())
    finally:
        link.close()


async def get(port: int, path: str) -> tuple[int, Any]:
    return await asyncio.to_thread(_get, port, path)


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(redis_url) as proxy:
        yield proxy


async def test_a_working_worker_is_well(
    app: TaskFlow, start_worker: StartWorker, port: int, wait_until: WaitUntil
) -> None:
    worker = await start_worker(app, health=("127.0.0.1", port))
    await wait_until(lambda: worker._heartbeater.beaten_at is not None)

    assert await get(port, "/live") == (200, {"status": "alive"})
    assert await get(port, "/ready?verbose") == (200, {"status": "ready"})
    status, body = await get(port, "/health")
    assert status == 200
    assert body["status"] == "healthy"
    assert body["services"] == {"redis": "healthy"}
    assert body["timestamp"]
    status, body = await get(port, "/secret")
    assert (status, body["code"]) == (404, "NOT_FOUND")


async def test_an_outage_is_shown_and_its_end(
    app: TaskFlow,
    proxy: Proxy,
    start_worker: StartWorker,
    port: int,
    wait_until: WaitUntil,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_module, "_READY_WITHIN", 0.6)
    worker = await start_worker(app, url=proxy.url, health=("127.0.0.1", port))
    await wait_until(lambda: worker._heartbeater.beaten_at is not None)
    proxy.cut()

    async def ready() -> bool:
        return (await get(port, "/ready"))[0] == 200

    async def unwell() -> bool:
        return (await get(port, "/ready"))[0] == (await get(port, "/health"))[0] == 503

    await wait_until(unwell)
    assert (await get(port, "/live"))[0] == 200
    assert (await get(port, "/health"))[1]["services"] == {"redis": "unhealthy"}
    proxy.pass_on()
    await wait_until(ready, 10)


async def test_a_stopping_worker_is_not_ready(
    app: TaskFlow, start_worker: StartWorker, port: int, wait_until: WaitUntil
) -> None:
    go_on = asyncio.Event()

    @app.task("t")
    async def handler() -> None:
        await go_on.wait()

    worker: Worker = await start_worker(app, health=("127.0.0.1", port))
    await app.client.enqueue("t")
    await wait_until(lambda: len(worker._executor.running) == 1)
    worker.stop()

    async def stopping() -> bool:
        status, body = await get(port, "/ready")
        return status == 503 and "stopped" in body["reason"]

    await wait_until(stopping)
    go_on.set()


async def test_a_port_in_use_stops_the_start(app: TaskFlow, start_worker: StartWorker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        await start_worker(app, health=("127.0.0.1", taken.getsockname()[1]))
