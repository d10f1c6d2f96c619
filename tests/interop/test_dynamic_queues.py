"""A worker that serves queues by pattern finds what Go's clients make, and drops what asynq's tools remove."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

from interop.go_peer import TIMEOUT, GoPeer
from support.store import Store
from support.waiting import wait_until
from taskflow import TaskFlow

if TYPE_CHECKING:
    from conftest import StartWorker

pytestmark = [pytest.mark.go, pytest.mark.usefixtures("invariants_hold")]


async def test_a_queue_that_go_makes_and_removes(
    go: GoPeer, app: TaskFlow, start_worker: StartWorker, raw: redis.Redis
) -> None:
    ran: list[bytes] = []

    @app.task("t")
    async def handler(payload: bytes) -> None:
        ran.append(payload)

    worker = await start_worker(app, queues={"tenant-*": 1})
    await go.enqueue("t", b"first", queue="tenant-go")
    await wait_until(lambda: ran == [b"first"], TIMEOUT)
    await wait_until(lambda: Store(raw, "tenant-go").number("processed") == 1)

    await go.inspect("delete_queue", queue="tenant-go", force=True)
    await wait_until(lambda: not worker.queues, TIMEOUT)
