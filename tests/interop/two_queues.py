"""Two queues with two tasks in each state, one by each client: one queue was worked on by Go, the other by us.

The workers' slots are taken, so nothing moves.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from interop.go_peer import GoPeer
from support.waiting import wait_until
from taskflow import Client, Inspector, Retry, SkipRetry, TaskContext, TaskFlow

if TYPE_CHECKING:
    from conftest import StartWorker

QUEUES = ("gos", "ours")
GROUP = "user:42"
HOUR = timedelta(hours=1)
IN_2100 = 4102444800


async def fill(go: GoPeer, client: Client, inspector: Inspector, app: TaskFlow, start_worker: StartWorker) -> None:
    """Fill the queues."""
    _handlers(app)
    await go.work("--queues=gos", "--concurrency=2", "--retry-delay=1h")
    await start_worker(app, queues={"ours": 1}, concurrency=2)
    for queue in QUEUES:
        await _run_some(go, client, queue)
        await wait_until(lambda queue=queue: _settled(inspector, queue))  # type: ignore[misc]  # a default binds the name
        await _take_the_slots(go, client, queue)
        await wait_until(lambda queue=queue: _busy(inspector, queue))  # type: ignore[misc]  # as above
        await _let_some_wait(go, client, queue)


def _handlers(app: TaskFlow) -> None:
    """What the peer's handlers do, for the types used here."""

    @app.task("fail*")
    async def fail(context: TaskContext, payload: bytes) -> None:
        raise Retry(HOUR, payload.decode())

    @app.task("skip")
    async def skip(payload: bytes) -> None:
        raise SkipRetry(payload.decode())

    @app.task("echo")
    async def echo(payload: bytes) -> bytes:
        return payload

    @app.task("sleep")
    async def sleep(payload: bytes) -> None:
        await asyncio.Event().wait()


async def _run_some(go: GoPeer, client: Client, queue: str) -> None:
    headers = {"trace-id": "4bf92f35", "schlüssel": "wért"}
    await go.enqueue("echo", b"\x00\xff", queue=queue, task_id="completed-go", retention="1h", headers=headers)
    await go.enqueue("fail", "gave up: ⚠".encode(), queue=queue, task_id="archived-go", max_retry=0)
    await go.enqueue("fail:later", b"not yet", queue=queue, task_id="retry-go", unique="3h")
    await client.enqueue("echo", b"", queue=queue, task_id="completed-py", retention=HOUR, headers=headers)
    await client.enqueue("skip", b"bad address", queue=queue, task_id="archived-py")
    await client.enqueue("fail:later", b"not yet either", queue=queue, task_id="retry-py", max_retries=3)
    await client.enqueue("echo", b"not kept", queue=queue)


async def _settled(inspector: Inspector, queue: str) -> bool:
    (info,) = await inspector.queue_infos([queue])
    return info.processed == 7


async def _take_the_slots(go: GoPeer, client: Client, queue: str) -> None:
    await go.enqueue("sleep", b"600000", queue=queue, task_id="active-go", deadline=IN_2100)
    await client.enqueue("sleep", b"600000", queue=queue, task_id="active-py", timeout=HOUR)


async def _busy(inspector: Inspector, queue: str) -> bool:
    (info,) = await inspector.queue_infos([queue])
    return info.active == 2


async def _let_some_wait(go: GoPeer, client: Client, queue: str) -> None:
    await go.enqueue("größe:測試", b"p", queue=queue, task_id="pending-go", timeout="90s", deadline=2**63 - 1)
    await go.enqueue("later", queue=queue, task_id="scheduled-go", process_at=IN_2100, max_retry=2**31 - 1)
    await go.enqueue("notify", b"n", queue=queue, task_id="aggregating-go", group=GROUP)
    await client.enqueue(
        "größe:測試", {"n": 1}, queue=queue, task_id="pending-py", deadline=datetime(2100, 1, 1, tzinfo=UTC)
    )
    fractional = datetime.fromtimestamp(IN_2100 + 0.25, UTC)
    await client.enqueue("later", queue=queue, task_id="scheduled-py", process_at=fractional, unique=HOUR)
    await client.enqueue("notify", b"m", queue=queue, task_id="aggregating-py", group=GROUP)
