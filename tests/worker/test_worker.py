"""A real worker in the test's own loop: what becomes of the tasks it runs."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from conftest import StartWorker, WaitUntil
from support.store import Store
from support.tasks import LOCK, enqueue, placement
from taskflow import (
    Broker,
    Client,
    Inspector,
    Retry,
    RevokeTask,
    SkipRetry,
    Task,
    TaskContext,
    TaskFailed,
    TaskFlow,
    TaskOptions,
    TaskState,
    WorkerOptions,
)
from taskflow.broker.catalog import TaskCatalog
from taskflow.broker.progress import ProgressStream
from taskflow.errors import ConfigError, UnsupportedServer
from taskflow.wire.message import TaskMessage

pytestmark = pytest.mark.usefixtures("invariants_hold")

KEPT = timedelta(minutes=5)


async def test_a_task_is_run_and_gone(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    ran: list[int] = []

    @app.task("t")
    async def handler(n: int) -> int:
        ran.append(n)
        return n

    await start_worker(app)
    await client.enqueue("t", {"n": 1})

    await wait_until(lambda: store.number("processed") == 1)
    assert ran == [1]
    assert [key for key in store.snapshot() if ":t:" in key] == []


async def test_a_result_is_kept_for_its_retention(
    app: TaskFlow, client: Client, start_worker: StartWorker, inspector: Inspector
) -> None:
    @app.task("t")
    async def handler(n: int) -> dict[str, int]:
        return {"n": n}

    await start_worker(app)
    info = await client.enqueue("t", {"n": 1}, retention=KEPT)

    assert await client.result(info, timeout=20) == {"n": 1}
    kept = await inspector.task(info.id)
    assert kept.state is TaskState.COMPLETED
    assert kept.completed_at is not None
    assert kept.started_at is not None


async def test_a_result_written_early_is_seen_and_replaced(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    go_on = asyncio.Event()

    @app.task("t")
    async def handler(context: TaskContext, final: bool) -> str | None:
        await context.write_result(b'"early"')
        await go_on.wait()
        return "late" if final else None

    await start_worker(app)
    late = await client.enqueue("t", {"final": True}, retention=KEPT)
    early = await client.enqueue("t", {"final": False}, retention=KEPT)
    await wait_until(lambda: store.hash(late.id).get("result") == b'"early"')
    go_on.set()

    assert await client.result(late, timeout=20) == "late"
    assert await client.result(early, timeout=20) == "early"


async def test_a_failure_is_tried_again_and_told(
    app: TaskFlow, client: Client, start_worker: StartWorker, inspector: Inspector, wait_until: WaitUntil
) -> None:
    @app.task("t")
    async def handler(context: TaskContext) -> str:
        if context.retried < 2:
            raise Retry(timedelta(milliseconds=50 * (context.retried + 1)), f"attempt {context.retried}")
        return f"at last, {context.retried} of {context.max_retries}"

    await start_worker(app)
    info = await client.enqueue("t", max_retries=2, retention=KEPT)

    assert await client.result(info, timeout=20) == "at last, 2 of 2"
    kept = await inspector.task(info.id)
    assert [attempt.error for attempt in kept.attempts] == ["attempt 0", "attempt 1"]
    assert all("raise Retry" in (attempt.traceback or "") for attempt in kept.attempts)
    assert kept.retried == 2


async def test_an_ordinary_error_waits_for_its_backoff(
    app: TaskFlow, client: Client, start_worker: StartWorker, inspector: Inspector, store: Store, wait_until: WaitUntil
) -> None:
    @app.task("t")
    async def handler() -> None:
        raise ValueError("no luck")

    await start_worker(app)
    info = await client.enqueue("t")
    await wait_until(lambda: store.state(info.id) == "retry")

    kept = await inspector.task(info.id)
    assert kept.last_error == "ValueError: no luck"
    assert kept.next_process_at is not None
    assert 14 < (kept.next_process_at - datetime.now(UTC)).total_seconds() < 45
    assert (store.number("processed"), store.number("failed")) == (1, 1)


@pytest.mark.parametrize(
    ("error", "state"),
    [(SkipRetry("no use"), "archived"), (RevokeTask(), None), (SystemExit(1), "retry"), (KeyboardInterrupt(), "retry")],
)
async def test_what_a_handler_raises_steers(
    app: TaskFlow,
    client: Client,
    start_worker: StartWorker,
    store: Store,
    wait_until: WaitUntil,
    error: BaseException,
    state: str | None,
) -> None:
    @app.task("t")
    async def handler() -> None:
        raise error

    await start_worker(app)
    info = await client.enqueue("t")

    await wait_until(lambda: store.number("processed") == 1)
    assert store.state(info.id) == state


async def test_a_cancelled_error_of_the_handlers_own_is_a_failure(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    """It awaited something that had been cancelled; nobody asked for the task to be stopped."""

    @app.task("t")
    async def handler() -> None:
        inner = asyncio.create_task(asyncio.sleep(10))
        inner.cancel()
        await inner

    worker = await start_worker(app)
    info = await client.enqueue("t")

    await wait_until(lambda: store.state(info.id) == "retry")
    assert "CancelledError" in store.message(info.id).error_msg
    assert worker._executor.free == worker._executor.concurrency


async def test_an_invalid_payload_is_archived_with_the_reason(
    app: TaskFlow, client: Client, start_worker: StartWorker
) -> None:
    @app.task("t")
    async def handler(n: int) -> None: ...

    await start_worker(app)
    info = await client.enqueue("t", {"n": "one"})

    with pytest.raises(TaskFailed, match=r"Expected `int`, got `str` at \$\.n"):
        await client.result(info, timeout=20)


async def test_a_result_without_a_json_form_is_a_failure(
    app: TaskFlow, client: Client, start_worker: StartWorker
) -> None:
    @app.task("t")
    async def handler() -> object:
        return object()

    await start_worker(app)
    info = await client.enqueue("t", retention=KEPT)

    with pytest.raises(TaskFailed, match="no JSON form"):
        await client.result(info, timeout=20)


async def test_a_type_without_a_handler_is_tried_again_later(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    await start_worker(app)
    info = await client.enqueue("unknown")

    await wait_until(lambda: store.state(info.id) == "retry")
    assert "no handler of this worker serves the type 'unknown'" in store.message(info.id).error_msg


async def test_middleware_sees_every_attempt(redis_url: str, client: Client, start_worker: StartWorker) -> None:
    seen: list[str] = []

    async def layer(context: TaskContext, call_next: Any) -> Any:
        seen.append(context.type)
        return f"<{await call_next(context)}>"

    app = TaskFlow(redis_url, middleware=[layer])

    @app.task("known")
    async def handler() -> str:
        return "x"

    await start_worker(app)
    info = await client.enqueue("known", retention=KEPT)

    assert await client.result(info, timeout=20) == "<x>"
    assert seen == ["known"]


async def test_every_line_of_the_context(app: TaskFlow, client: Client, start_worker: StartWorker) -> None:
    @app.task("mail:*")
    async def handler(context: TaskContext) -> list[Any]:
        left = None if context.deadline is None else round((context.deadline - datetime.now(UTC)).total_seconds())
        return [
            context.id,
            context.type,
            context.queue,
            dict(context.headers),
            context.retried,
            context.max_retries,
            left,
            context.cancelled,
        ]

    await start_worker(app, queues={"low": 1})
    info = await client.enqueue(
        "mail:send",
        queue="low",
        headers={"trace": "é"},
        max_retries=7,
        timeout=timedelta(seconds=90),
        task_id="my id",
        retention=KEPT,
    )

    assert await client.result(info, timeout=20) == ["my id", "mail:send", "low", {"trace": "é"}, 0, 7, 90, False]


# -- time -------------------------------------------------------------------------------------------------------------


async def test_an_attempt_that_takes_too_long_is_stopped(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    stopped = asyncio.Event()

    @app.task("t")
    async def handler() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            stopped.set()
            raise

    await start_worker(app)
    info = await client.enqueue("t", timeout=timedelta(seconds=1))

    await asyncio.wait_for(stopped.wait(), 20)
    await wait_until(lambda: store.state(info.id) == "retry")
    assert "AttemptTimedOut" in store.message(info.id).error_msg


async def test_a_deadline_that_has_passed_stops_the_attempt_at_once(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    finished: list[str] = []

    @app.task("t")
    async def handler() -> None:
        await asyncio.sleep(30)
        finished.append("late")

    await start_worker(app)
    started = time.monotonic()
    info = await client.enqueue("t", deadline=datetime.now(UTC) - timedelta(seconds=5), max_retries=0)

    await wait_until(lambda: store.state(info.id) == "archived")
    assert time.monotonic() - started < 2
    assert "deadline" in store.message(info.id).error_msg
    assert finished == []


async def test_the_sooner_of_timeout_and_deadline_counts(
    app: TaskFlow, client: Client, start_worker: StartWorker
) -> None:
    @app.task("t")
    async def handler(context: TaskContext) -> float:
        assert context.deadline is not None
        return (context.deadline - datetime.now(UTC)).total_seconds()

    await start_worker(app)
    deadline = datetime.now(UTC) + timedelta(seconds=40)
    soon = await client.enqueue("t", timeout=timedelta(seconds=20), deadline=deadline, retention=KEPT)
    late = await client.enqueue("t", timeout=timedelta(seconds=600), deadline=deadline, retention=KEPT)

    assert 18 < await client.result(soon, timeout=20) <= 20
    assert 38 < await client.result(late, timeout=20) <= 40


async def test_a_deadline_that_no_calendar_holds_harms_nobody(
    app: TaskFlow, broker: Broker, store: Store, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    """Go writes any 64 bits."""
    go_on = asyncio.Event()

    @app.task("t")
    async def handler(context: TaskContext) -> None:
        assert context.deadline is None
        await go_on.wait()

    await enqueue(broker, placement("a"))
    message = TaskMessage(type="t", id="a", queue="default", retry=3, payload=b"{}", deadline=2**62, timeout=2**62)
    store.client.hset(store.key("t:a"), "msg", message.SerializeToString())
    worker = await start_worker(app)
    beaten_at = worker._heartbeater.beaten_at or 0
    await wait_until(lambda: (worker._heartbeater.beaten_at or 0) > beaten_at + 0.3)
    assert store.list("active") == ["a"]
    go_on.set()
    await wait_until(lambda: store.number("processed") == 1)


async def test_a_due_task_runs_on_time(app: TaskFlow, client: Client, start_worker: StartWorker) -> None:
    @app.task("t")
    async def handler() -> float:
        return time.time()

    await start_worker(app)
    await asyncio.sleep(0)
    due = datetime.now(UTC) + timedelta(seconds=0.7)
    info = await client.enqueue("t", process_at=due, retention=KEPT)

    ran_at = await client.result(info, timeout=20)
    assert due.timestamp() <= ran_at < due.timestamp() + 0.25


async def test_a_push_wakes_an_idle_worker_at_once(app: TaskFlow, client: Client, start_worker: StartWorker) -> None:
    @app.task("t")
    async def handler() -> float:
        return time.time()

    await start_worker(app)
    await client.enqueue("t")
    latencies = []
    for _ in range(20):
        sent_at = time.time()
        info = await client.enqueue("t", retention=KEPT)
        latencies.append(await client.result(info, timeout=20) - sent_at)

    assert sorted(latencies)[10] < 0.05


# -- many -------------------------------------------------------------------------------------------------------------


async def test_no_more_run_at_once_than_there_are_slots(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    running, most = 0, 0

    @app.task("t")
    async def handler() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.002)
        running -= 1

    await client.enqueue_many([Task("t")] * 400)
    await start_worker(app, concurrency=7)

    await wait_until(lambda: store.number("processed") == 400, 10)
    assert most == 7


async def test_one_slot_runs_tasks_in_their_order(
    app: TaskFlow, client: Client, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    ran: list[int] = []

    @app.task("t")
    async def handler(n: int) -> None:
        ran.append(n)

    await client.enqueue_many([Task("t", {"n": n}) for n in range(50)])
    await start_worker(app, concurrency=1)

    await wait_until(lambda: len(ran) == 50)
    assert ran == list(range(50))


async def _shares(
    app: TaskFlow, client: Client, start_worker: StartWorker, wait_until: WaitUntil, **options: Any
) -> dict[str, int]:
    """Which queues the first 1,000 tasks of 4,500 came from, all queues being full all the while."""
    first: list[str] = []

    @app.task("t")
    async def handler(context: TaskContext) -> None:
        if len(first) < 1000:
            first.append(context.queue)
        await asyncio.sleep(0)

    for queue in ("critical", "default", "low"):
        await client.enqueue_many([Task("t", options=TaskOptions(queue=queue))] * 1500)
    await start_worker(app, queues={"critical": 6, "default": 3, "low": 1}, concurrency=20, **options)
    await wait_until(lambda: len(first) == 1000, 20)
    return {queue: first.count(queue) for queue in ("critical", "default", "low")}


async def test_full_queues_share_the_slots_by_their_weights(
    app: TaskFlow, client: Client, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    shares = await _shares(app, client, start_worker, wait_until)

    assert 520 < shares["critical"] < 680
    assert 230 < shares["default"] < 370
    assert 50 < shares["low"] < 160


async def test_a_strict_worker_empties_the_heavier_queue_first(
    app: TaskFlow, client: Client, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    assert await _shares(app, client, start_worker, wait_until, strict=True) == {
        "critical": 1000,
        "default": 0,
        "low": 0,
    }


async def test_a_queue_alone_gets_all_slots_whatever_its_weight(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    full = asyncio.Event()
    running = 0

    @app.task("t")
    async def handler() -> None:
        nonlocal running
        running += 1
        if running == 10:
            full.set()
        await full.wait()

    await client.enqueue_many([Task("t", options=TaskOptions(queue="low"))] * 10)
    await start_worker(app, queues={"critical": 100, "low": 1}, concurrency=10)

    await asyncio.wait_for(full.wait(), 20)


async def test_a_paused_queue_waits_and_the_others_go_on(
    app: TaskFlow,
    client: Client,
    broker: Broker,
    inspector: Inspector,
    start_worker: StartWorker,
    raw: redis.Redis,
    wait_until: WaitUntil,
) -> None:
    @app.task("t")
    async def handler() -> None: ...

    await client.enqueue("t", queue="a")
    await client.enqueue("t", queue="b")
    await inspector.pause("a")
    await start_worker(app, queues={"a": 1, "b": 1})

    await wait_until(lambda: Store(raw, "b").number("processed") == 1)
    await client.enqueue("t", queue="b")
    await wait_until(lambda: Store(raw, "b").number("processed") == 2)
    assert len(Store(raw, "a").list("pending")) == 1

    await inspector.resume("a")
    await wait_until(lambda: Store(raw, "a").number("processed") == 1)


# -- what it publishes ------------------------------------------------------------------------------------------------


async def test_the_server_and_what_it_runs_are_published(
    app: TaskFlow, client: Client, inspector: Inspector, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    go_on = asyncio.Event()

    @app.task("t")
    async def handler() -> None:
        await go_on.wait()

    worker = await start_worker(app, queues={"default": 3}, strict=True, concurrency=5)
    info = await client.enqueue("t", timeout=timedelta(seconds=60))

    async def shown() -> bool:
        servers = await inspector.servers()
        return bool(servers and servers[0].running)

    await wait_until(shown)
    (server,) = await inspector.servers()
    assert (server.id, server.host, server.concurrency) == (worker.id, worker.host, 5)
    assert (server.queues, server.strict_priority, server.status) == ({"default": 3}, True, "active")
    assert server.active_count == 1
    (running,) = server.running
    assert (running.id, running.type, running.queue) == (info.id, "t", "default")
    assert running.deadline is not None
    go_on.set()
    worker.stop()

    async def gone() -> bool:
        return await inspector.servers() == []

    await wait_until(gone)


async def test_the_catalog_knows_the_types_of_the_worker(
    app: TaskFlow, broker: Broker, start_worker: StartWorker
) -> None:
    @app.task("mail:send", queue="mails", max_retries=2, timeout=timedelta(seconds=5))
    async def send(to: str) -> None:
        """Send a mail.

        Not part of the first paragraph.
        """

    @app.task("image:*")
    def images(payload: bytes) -> None: ...

    await start_worker(app)

    prefix, exact = await TaskCatalog(broker).types()
    assert (exact.type, exact.doc, exact.queue, exact.max_retries) == ("mail:send", "Send a mail.", "mails", 2)
    assert exact.timeout_seconds == 5
    assert exact.schema is not None
    assert exact.schema["properties"] == {"to": {"type": "string"}}
    assert exact.last_seen is not None
    assert (prefix.type, prefix.prefix, prefix.schema) == ("image:", True, None)


async def test_progress_ends_with_a_final_entry(
    app: TaskFlow, client: Client, broker: Broker, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    @app.task("t")
    async def handler(context: TaskContext, end: str) -> None:
        await context.progress(50, "halfway", metadata={"n": 1})
        if end == "failed":
            raise SkipRetry("no")

    await start_worker(app)
    stream = ProgressStream(broker)
    for end in ("completed", "failed"):
        info = await client.enqueue("t", {"end": end}, retention=KEPT)

        async def ended(task_id: str = info.id) -> bool:
            latest = await stream.latest(task_id)
            return latest is not None and latest.is_final

        await wait_until(ended)
        first, last = await stream.history(info.id)
        assert (first.progress.percentage, first.progress.metadata) == (50.0, {"n": 1})
        assert last.status == end
        assert last.progress.percentage == (100.0 if end == "completed" else 50.0)


# -- locks ------------------------------------------------------------------------------------------------------------


async def test_a_unique_task_may_come_again_when_it_has_ended(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    @app.task("t")
    async def handler() -> None: ...

    await start_worker(app)
    for round_number in (1, 2):
        await client.enqueue("t", unique=timedelta(hours=1))
        await wait_until(lambda wanted=round_number: store.number("processed") == wanted)
    assert store.client.exists(LOCK) == 0


# -- what cannot start ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"queues": {}},
        {"queues": {"a": 0}},
        {"concurrency": 0},
        {"lease": timedelta(seconds=1), "heartbeat": timedelta(seconds=0.6)},
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        WorkerOptions(**options)


async def test_a_server_that_evicts_is_refused(app: TaskFlow, raw: redis.Redis, start_worker: StartWorker) -> None:
    raw.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(UnsupportedServer, match="noeviction"):
            await start_worker(app)
        await start_worker(app, allow_eviction=True)
    finally:
        raw.config_set("maxmemory-policy", "noeviction")
