"""Our clients enqueue, an asynq server runs; asynq's inspector and ours see what became of it."""

from __future__ import annotations

import asyncio
import base64
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from interop.go_peer import GoPeer, base64_text
from support.clock import MovableClock
from support.store import Store
from support.waiting import wait_until
from taskflow import (
    Broker,
    Client,
    Inspector,
    SyncClient,
    TaskFlow,
    TaskInfo,
)
from taskflow.worker.maintenance import Maintenance

if TYPE_CHECKING:
    from conftest import StartWorker

pytestmark = [pytest.mark.go, pytest.mark.usefixtures("invariants_hold")]

Enqueue = Callable[..., Awaitable[TaskInfo]]
HOUR = timedelta(hours=1)
RETRY_AT_ONCE = "--retry-delay=0s"

PAYLOADS: dict[str, Any] = {
    "none": None,
    "empty": b"",
    "every byte": bytes(range(256)),
    "json": {"to": "Łódź 🎉", "n": [1, 2.5, None]},
    "large": b"x" * 300_000,
}


@pytest.fixture(params=["async", "sync"])
async def enqueue(request: pytest.FixtureRequest, client: Client, redis_url: str) -> AsyncIterator[Enqueue]:
    """`enqueue` of each of our clients."""
    if request.param == "async":
        yield client.enqueue
        return
    with SyncClient(redis_url) as sync_client:

        async def enqueue(*args: Any, **options: Any) -> TaskInfo:
            return await asyncio.to_thread(sync_client.enqueue, *args, **options)

        yield enqueue


async def test_payload_type_queue_and_headers_arrive(go: GoPeer, enqueue: Enqueue) -> None:
    server = await go.work("--queues=очередь=1,default=1")
    headers = {"trace-id": "4bf92f35", "schlüssel": "wért 値", "empty": ""}
    for name, payload in PAYLOADS.items():
        await enqueue("größe:測試", payload, task_id=name, queue="очередь", headers=headers, max_retries=7)
    await enqueue("plain", task_id="plain")

    seen = {name: await server.event("start", name) for name in PAYLOADS}

    sent = {**PAYLOADS, "none": b"", "json": '{"to":"Łódź 🎉","n":[1,2.5,null]}'.encode()}
    assert {name: base64.b64decode(event["payload"]) for name, event in seen.items()} == sent
    one = seen["json"]
    assert (one["type"], one["queue"], one["headers"]) == ("größe:測試", "очередь", headers)
    assert (one["retried"], one["max_retry"]) == (0, 7)
    assert (await server.event("end", "plain"))["error"] is None


def half_past_next_second() -> float:
    """A due time that lies between two whole seconds, 0.5 to 1.5 s from now."""
    return math.floor(time.time()) + 1.5


async def test_go_never_runs_a_fractional_due_time_early(
    go: GoPeer, enqueue: Enqueue, store: Store, broker: Broker, inspector: Inspector
) -> None:
    server = await go.work()
    due = half_past_next_second()
    await enqueue("later", task_id="a", process_at=datetime.fromtimestamp(due, UTC))

    assert (await go.task("a"))["next_process_at"] == math.ceil(due)
    assert (await inspector.task("a")).next_process_at == datetime.fromtimestamp(due, UTC)
    await server.event("start", "a")
    assert due < math.ceil(due) <= time.time() < due + 1.5

    assert store.due() == {"a": due}
    await Maintenance(broker, ["default"], worker="test").forward()
    assert store.due() == {}


async def test_our_worker_runs_a_fractional_due_time_on_time(
    enqueue: Enqueue, app: TaskFlow, start_worker: StartWorker
) -> None:
    started: list[float] = []

    @app.task("later")
    async def later() -> None:
        started.append(time.time())

    await start_worker(app)
    due = half_past_next_second()
    await enqueue("later", process_at=datetime.fromtimestamp(due, UTC))

    await wait_until(lambda: started)
    assert due <= started[0] < math.ceil(due)


async def test_our_group_is_seen_by_go(go: GoPeer, enqueue: Enqueue, broker: Broker, clock: MovableClock) -> None:
    for number in range(3):
        await enqueue("notify", number, task_id=str(number), group="user:42")
    await enqueue("notify", task_id="scheduled", group="user:42", process_in=HOUR)

    assert await go.inspect("groups", queue="default") == [{"group": "user:42", "size": 3}]
    members = await go.inspect("list", queue="default", state="aggregating", group="user:42")
    assert {member["id"]: member["group"] for member in members} == dict.fromkeys("012", "user:42")
    clock.advance(seconds=3601)
    await Maintenance(broker, ["default"], worker="test").forward()
    assert (await go.task("scheduled"))["state"] == "aggregating"
    assert await go.inspect("groups", queue="default") == [{"group": "user:42", "size": 4}]


class TestGosInspectorSteersOurTasks:
    """Tasks with an exact due time of ours are moved by a program that knows nothing of it; nothing runs twice."""

    async def test_run_now(self, go: GoPeer, client: Client, store: Store, broker: Broker) -> None:
        due = half_past_next_second()
        await client.enqueue("now", b"old", task_id="a", process_at=datetime.fromtimestamp(due, UTC))

        await go.inspect("update_payload", queue="default", id="a", payload=base64_text(b"new"))
        await go.inspect("run_task", queue="default", id="a")
        server = await go.work()
        assert base64.b64decode((await server.event("start", "a"))["payload"]) == b"new"
        await wait_until(lambda: time.time() > due)
        await Maintenance(broker, ["default"], worker="test").forward()

        assert (store.list("pending"), store.due()) == ([], {})

    async def test_archive_and_delete(self, go: GoPeer, client: Client, store: Store, broker: Broker) -> None:
        due = half_past_next_second()
        for task_id in ("archived", "deleted"):
            await client.enqueue("never", task_id=task_id, process_at=datetime.fromtimestamp(due, UTC))

        await go.inspect("archive_task", queue="default", id="archived")
        await go.inspect("delete_task", queue="default", id="deleted")
        await wait_until(lambda: time.time() > due)
        await Maintenance(broker, ["default"], worker="test").forward()

        assert (store.list("pending"), store.due()) == ([], {})
        assert store.state("archived") == "archived"
        assert store.state("deleted") is None
