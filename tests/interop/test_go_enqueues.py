"""asynq's client enqueues, our worker runs; asynq's inspector sees what became of it."""

from __future__ import annotations

import asyncio
import base64
import time
from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from interop.go_peer import GoPeer
from support.store import Store
from support.waiting import wait_until
from taskflow import (
    Client,
    DuplicateTask,
    Inspector,
    Retry,
    RevokeTask,
    SkipRetry,
    TaskContext,
    TaskFlow,
    TaskState,
)

if TYPE_CHECKING:
    from conftest import StartWorker

pytestmark = [pytest.mark.go, pytest.mark.usefixtures("invariants_hold")]

PAYLOADS = {
    "empty": b"",
    "every byte": bytes(range(256)),
    "json": '{"to": "Łódź 🎉", "n": [1, 2.5, null]}'.encode(),
    "large": b"x" * 300_000,
}


async def test_payload_type_queue_and_headers_arrive(go: GoPeer, app: TaskFlow, start_worker: StartWorker) -> None:
    seen: dict[str, TaskContext] = {}

    @app.task("größe:*")
    async def handle(context: TaskContext, payload: bytes) -> None:
        assert payload == context.payload
        seen[context.id] = context

    await start_worker(app, queues={"очередь": 1, "default": 1})
    headers = {"trace-id": "4bf92f35", "schlüssel": "wért 値", "empty": ""}
    for name, payload in PAYLOADS.items():
        answer = await go.enqueue("größe:測試", payload, task_id=name, queue="очередь", headers=headers, max_retry=7)
        assert answer == {"id": name, "queue": "очередь", "state": "pending"}
    await go.enqueue("größe:nil", task_id="nil")

    await wait_until(lambda: len(seen) == len(PAYLOADS) + 1)

    assert {name: seen[name].payload for name in PAYLOADS} == PAYLOADS
    one = seen["json"]
    assert (one.type, one.queue, dict(one.headers)) == ("größe:測試", "очередь", headers)
    assert (one.retried, one.max_retries) == (0, 7)
    assert (seen["nil"].payload, seen["nil"].queue, seen["nil"].max_retries) == (b"", "default", 25)


async def test_go_reads_result_and_retention(go: GoPeer, app: TaskFlow, start_worker: StartWorker) -> None:
    @app.task("sum")
    async def add(a: int, b: int) -> dict[str, int]:
        return {"sum": a + b}

    @app.task("raw")
    async def echo(payload: bytes) -> bytes:
        return payload[::-1]

    await start_worker(app)
    before = int(time.time())
    await go.enqueue("sum", b'{"a": 20, "b": 22}', task_id="kept", retention="2h")
    await go.enqueue("raw", b"\x00\xff", task_id="bytes", retention="1h")
    await go.enqueue("sum", b'{"a": 1, "b": 1}', task_id="dropped")

    task = await go.wait_for_state("kept", "completed")
    assert base64.b64decode(task["result"]) == b'{"sum":42}'
    assert task["retention"] == 7200
    assert before <= task["completed_at"] <= time.time()
    assert base64.b64decode((await go.wait_for_state("bytes", "completed"))["result"]) == b"\xff\x00"
    assert [found["id"] for found in await go.inspect("list", queue="default", state="completed")] == ["bytes", "kept"]

    async def done() -> bool:
        return bool((await go.inspect("queue_info", queue="default"))["processed"] == 3)

    await wait_until(done)
    assert "not found" in (await go.ask("task", queue="default", id="dropped"))["error"]


async def test_failures_are_retried_and_counted(go: GoPeer, app: TaskFlow, start_worker: StartWorker) -> None:
    """One task succeeds at its third attempt, one has no retries left after its second."""
    attempts: dict[str, list[int]] = defaultdict(list)

    @app.task("flaky")
    async def flaky(context: TaskContext) -> str:
        attempts[context.id].append(context.retried)
        if context.retried < 2:
            raise Retry(timedelta(0), f"attempt {context.retried} failed")
        return "at last"

    await start_worker(app)
    await go.enqueue("flaky", task_id="succeeds", retention="1h", max_retry=5)
    await go.enqueue("flaky", task_id="given up", max_retry=1)

    task = await go.wait_for_state("succeeds", "completed")
    assert (task["retried"], task["last_err"]) == (2, "attempt 1 failed")
    task = await go.wait_for_state("given up", "archived")
    assert (task["retried"], task["last_err"]) == (1, "attempt 1 failed")
    assert abs(task["last_failed_at"] - time.time()) < 30
    assert attempts == {"succeeds": [0, 1, 2], "given up": [0, 1]}
    (today,) = await go.inspect("history", queue="default", days=1)
    assert (today["processed"], today["failed"]) == (5, 4)


async def test_an_error_is_retried_later(go: GoPeer, app: TaskFlow, start_worker: StartWorker) -> None:
    @app.task("broken")
    async def broken() -> None:
        raise ValueError("no such address: ⚠")

    await start_worker(app)
    await go.enqueue("broken", task_id="a")

    task = await go.wait_for_state("a", "retry")
    assert (task["retried"], task["last_err"]) == (1, "ValueError: no such address: ⚠")
    assert 14 <= task["next_process_at"] - time.time() <= 46


async def test_skip_retry_and_revoke(go: GoPeer, app: TaskFlow, start_worker: StartWorker) -> None:
    @app.task("hopeless")
    async def hopeless() -> None:
        raise SkipRetry("bad address")

    @app.task("moot")
    async def moot() -> None:
        raise RevokeTask("no longer wanted")

    await start_worker(app)
    await go.enqueue("moot", task_id="revoked", retention="1h")
    await go.enqueue("hopeless", task_id="skipped")

    task = await go.wait_for_state("skipped", "archived")
    assert (task["retried"], task["last_err"]) == (0, "bad address")

    async def gone() -> bool:
        return "not found" in (await go.ask("task", queue="default", id="revoked")).get("error", "")

    await wait_until(gone)


@pytest.mark.parametrize("payload", [None, b"", b"\x00\xff same"], ids=["nil", "empty", "binary"])
async def test_the_unique_lock_is_shared(
    payload: bytes | None, go: GoPeer, client: Client, app: TaskFlow, start_worker: StartWorker
) -> None:
    unique = timedelta(minutes=1)
    go_first = await go.enqueue("once", payload, unique="1m", task_id="gos")
    assert go_first["state"] == "pending"

    with pytest.raises(DuplicateTask) as refused:
        await client.enqueue("once", payload, unique=unique)
    assert refused.value.holder == "gos"
    await client.enqueue("other", payload, unique=unique)
    await client.enqueue("once", b"another payload", unique=unique)

    @app.task("*")
    async def anything(payload: bytes) -> None:
        pass

    await start_worker(app)

    async def freed() -> bool:
        return (await go.enqueue("once", payload, unique="1m", process_in="1h")).get("state") == "scheduled"

    await wait_until(freed)
    with pytest.raises(DuplicateTask):
        await client.enqueue("once", payload, unique=unique)


async def test_a_due_time_is_kept(go: GoPeer, app: TaskFlow, start_worker: StartWorker, store: Store) -> None:
    started: list[float] = []

    @app.task("later")
    async def later() -> None:
        started.append(time.time())

    await start_worker(app)
    assert (await go.enqueue("later", task_id="a", process_in="1500ms"))["state"] == "scheduled"
    due = store.scores("scheduled")["a"]

    await wait_until(lambda: started)

    assert due <= started[0] < due + 1


async def test_timeout_and_deadline(go: GoPeer, app: TaskFlow, start_worker: StartWorker) -> None:
    ends: dict[str, Any] = {}

    @app.task("slow")
    async def slow(context: TaskContext) -> None:
        ends[context.id] = context.deadline
        await asyncio.sleep(60)

    await start_worker(app)
    now = time.time()
    await go.enqueue("slow", task_id="timeout", timeout="1s")
    await go.enqueue("slow", task_id="deadline", deadline=int(now) + 2)
    await go.enqueue("slow", task_id="both", timeout="1s", deadline=int(now) + 3600)
    await go.enqueue("slow", task_id="far", timeout="1h", deadline=2**63 - 1)
    await go.enqueue("slow", task_id="neither")

    for task_id in ("timeout", "deadline", "both"):
        assert "AttemptTimedOut" in (await go.wait_for_state(task_id, "retry"))["last_err"]
    assert ends["deadline"].timestamp() == int(now) + 2
    for task_id, seconds in (("timeout", 1), ("both", 1), ("far", 3600), ("neither", 1800)):
        assert ends[task_id].timestamp() == pytest.approx(now + seconds, abs=2)
    assert (await go.task("far"))["state"] == "active"


async def test_a_group_of_gos_is_seen(go: GoPeer, client: Client, inspector: Inspector) -> None:
    for number in range(3):
        await go.enqueue("notify", b"%d" % number, task_id=str(number), group="user:42")
    await go.enqueue("notify", task_id="scheduled", group="user:42", process_in="1h")

    members = await inspector.tasks("default", TaskState.AGGREGATING, group="user:42")

    assert {task.id for task in members} == {"0", "1", "2"}
    assert {task.group for task in members} == {"user:42"}
    (info,) = await inspector.queue_infos(["default"])
    assert (info.aggregating, info.groups, info.scheduled) == (3, 1, 1)
    await inspector.delete("0", "default")
    assert await go.inspect("groups", queue="default") == [{"group": "user:42", "size": 2}]


async def test_our_inspector_cancels_and_deletes_gos_tasks(go: GoPeer, inspector: Inspector) -> None:
    await go.enqueue("a", task_id="waiting", unique="1h")
    await go.enqueue("b", task_id="scheduled", process_in="1h")
    await go.enqueue("c", task_id="unwanted", unique="1h")

    await inspector.cancel("waiting")
    await inspector.cancel("scheduled")
    await inspector.delete("unwanted", "default")

    archived = await go.inspect("list", queue="default", state="archived")
    assert {task["id"]: task["last_err"] for task in archived} == {
        "waiting": "task cancelled",
        "scheduled": "task cancelled",
    }
    assert (await go.enqueue("a", unique="1h"))["state"] == "pending"
    assert (await go.enqueue("c", unique="1h"))["state"] == "pending"
