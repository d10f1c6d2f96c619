"""on_dead: who is told of a task that has been given up, of what, and when."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog

from conftest import StartWorker, WaitUntil
from support.store import Store
from support.tasks import enqueue, placement, taken
from taskflow import (
    Broker,
    Client,
    Inspector,
    InvalidPayload,
    RetryPolicy,
    RevokeTask,
    SkipRetry,
    Task,
    TaskFlow,
    TaskInfo,
    TaskState,
)
from taskflow.errors import AttemptTimedOut, ConfigError, HandlerNotFound, MessageInvalid, WorkerDied
from taskflow.wire.message import UNDECODABLE_TYPE
from taskflow.worker import dead_letters

pytestmark = pytest.mark.usefixtures("invariants_hold")


class Told:
    """An `on_dead` function that remembers what it is told."""

    def __init__(self) -> None:
        self.all: list[tuple[TaskInfo, BaseException]] = []

    async def __call__(self, task: TaskInfo, error: BaseException) -> None:
        self.all.append((task, error))

    @property
    def types(self) -> list[str]:
        return sorted(task.type for task, _ in self.all)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def app(redis_url: str, told: Told) -> AsyncIterator[TaskFlow]:
    """An app that wants to know of every dead task."""
    app = TaskFlow(redis_url, on_dead=told)
    yield app
    await app.close()


async def test_a_task_whose_retries_are_used_up_is_told_of_with_all_that_is_known(
    app: TaskFlow, told: Told, client: Client, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    error = ValueError("no luck")

    @app.task("t", backoff=timedelta(0))
    async def handler(n: int) -> None:
        raise error

    worker = await start_worker(app)
    info = await client.enqueue("t", {"n": 1}, max_retries=2, headers={"trace": "7"})
    await wait_until(lambda: told.all)

    ((task, cause),) = told.all
    assert cause is error
    assert (task.id, task.type, task.queue, task.state) == (info.id, "t", "default", TaskState.ARCHIVED)
    assert (task.payload, task.headers, task.retried, task.max_retries) == (b'{"n":1}', {"trace": "7"}, 2, 2)
    assert task.last_error == "ValueError: no luck"
    assert task.last_failed_at is not None
    assert abs(task.last_failed_at - datetime.now(UTC)) < timedelta(seconds=10)
    (attempt,) = task.attempts
    assert (attempt.error, attempt.worker.partition(":")[0]) == ("ValueError: no luck", worker.host)
    assert "raise error" in (attempt.traceback or "")


async def test_it_is_told_when_redis_has_the_task_in_the_archive(
    redis_url: str, client: Client, start_worker: StartWorker, inspector: Inspector, wait_until: WaitUntil
) -> None:
    seen: list[TaskInfo] = []

    async def on_dead(task: TaskInfo, error: BaseException) -> None:
        seen.append(await inspector.task(task.id, task.queue))

    app = TaskFlow(redis_url, on_dead=on_dead)

    @app.task("t")
    async def handler() -> None:
        raise SkipRetry("no use")

    await start_worker(app)
    await client.enqueue("t")
    await wait_until(lambda: seen)

    assert seen[0].state is TaskState.ARCHIVED
    assert [attempt.error for attempt in seen[0].attempts] == ["no use"]


async def test_every_way_to_be_given_up_has_its_error(
    app: TaskFlow, told: Told, client: Client, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    @app.task("skips")
    async def skips() -> None:
        raise SkipRetry("no use")

    @app.task("misfits")
    async def misfits(n: int) -> None: ...

    @app.task("dawdles", max_retries=0, timeout=timedelta(seconds=1))
    async def dawdles() -> None:
        await asyncio.sleep(60)

    await start_worker(app)
    await skips.enqueue()
    await client.enqueue("misfits", {"n": "one"})
    await dawdles.enqueue()
    await client.enqueue("unknown", max_retries=0)
    await wait_until(lambda: len(told.all) == 4)

    assert {task.type: type(error) for task, error in told.all} == {
        "skips": SkipRetry,
        "misfits": InvalidPayload,
        "dawdles": AttemptTimedOut,
        "unknown": HandlerNotFound,
    }


async def test_what_is_not_given_up_is_not_told_of(
    app: TaskFlow,
    told: Told,
    client: Client,
    inspector: Inspector,
    start_worker: StartWorker,
    store: Store,
    wait_until: WaitUntil,
) -> None:
    """Cancelled, revoked, tried again, done: none of them is a dead letter."""
    started = asyncio.Event()

    @app.task("cancelled")
    async def cancelled() -> None:
        started.set()
        await asyncio.sleep(60)

    @app.task("revoked")
    async def revoked() -> None:
        raise RevokeTask

    @app.task("fails")
    async def fails() -> None:
        raise ValueError("once")

    @app.task("done")
    async def done() -> None: ...

    @app.task("dead")
    async def dead() -> None:
        raise SkipRetry

    await start_worker(app)
    running = await client.enqueue("cancelled")
    waiting = await client.enqueue("cancelled", process_in=timedelta(hours=1))
    for task_type in ("revoked", "fails", "done"):
        await client.enqueue(task_type)
    await started.wait()
    for info in (running, waiting):
        await inspector.cancel(info.id)
    await wait_until(lambda: len(store.scores("archived")) == 2)
    await client.enqueue("dead")
    await wait_until(lambda: told.all)

    assert told.types == ["dead"]


async def test_a_type_has_its_own_and_the_others_the_applications(
    app: TaskFlow, told: Told, client: Client, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    own = Told()

    @app.task("own", on_dead=own)
    async def first() -> None:
        raise SkipRetry

    @app.task("other:*")
    async def second() -> None:
        raise SkipRetry

    await start_worker(app)
    for task_type in ("own", "other:a", "other:b"):
        await client.enqueue(task_type)
    await wait_until(lambda: len(own.all) + len(told.all) == 3)

    assert (own.types, told.types) == (["own"], ["other:a", "other:b"])


async def test_a_def_is_called_in_a_thread(
    redis_url: str, client: Client, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    threads: list[str] = []

    def on_dead(task: TaskInfo, error: BaseException) -> None:
        threads.append(threading.current_thread().name)

    app = TaskFlow(redis_url, on_dead=on_dead)

    @app.task("t")
    async def handler() -> None:
        raise SkipRetry

    await start_worker(app)
    await client.enqueue("t")
    await wait_until(lambda: threads)

    assert threads[0].startswith("taskflow dead letter")


# -- tasks that nobody ran to their end ---------------------------------------------------------------------------------


async def test_a_task_that_three_workers_died_with_is_told_of_by_the_one_that_gives_it_up(
    app: TaskFlow, told: Told, broker: Broker, store: Store, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    await taken(broker, placement("a"), owner="gone:1")
    store.client.hset(store.key("t:a"), "deaths", 2)
    store.client.zadd(store.key("lease"), {"a": time.time() - 60.5})
    await start_worker(app)
    await wait_until(lambda: told.all)

    ((task, error),) = told.all
    assert (task.id, task.type) == ("a", "t")
    assert isinstance(error, WorkerDied)
    assert str(error) == task.last_error


async def test_a_message_that_cannot_be_decoded_is_told_of_to_the_application(
    app: TaskFlow, told: Told, broker: Broker, store: Store, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    own = Told()

    @app.task("*", on_dead=own)
    async def anything(payload: bytes) -> None: ...

    await enqueue(broker, placement("a"))
    store.client.hset(store.key("t:a"), "msg", b"\xff\xff")
    await start_worker(app)
    await wait_until(lambda: told.all)

    ((task, error),) = told.all
    assert (task.id, task.type, task.payload) == ("a", UNDECODABLE_TYPE, b"\xff\xff")
    assert isinstance(error, MessageInvalid)
    assert own.all == []


# -- functions that misbehave -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocking", [False, True], ids=["async def", "def"])
@pytest.mark.parametrize("error", [ValueError("mine"), SystemExit(3), asyncio.CancelledError()], ids=repr)
async def test_what_it_raises_is_logged_and_the_worker_goes_on(
    redis_url: str,
    client: Client,
    start_worker: StartWorker,
    wait_until: WaitUntil,
    error: BaseException,
    blocking: bool,
) -> None:
    told: list[str] = []

    def first_raises(task: TaskInfo, _: BaseException) -> None:
        told.append(task.type)
        if len(told) == 1:
            raise error

    async def async_first_raises(task: TaskInfo, error: BaseException) -> None:
        first_raises(task, error)

    app = TaskFlow(redis_url, on_dead=first_raises if blocking else async_first_raises)

    @app.task("t:*")
    async def handler() -> None:
        raise SkipRetry

    with structlog.testing.capture_logs() as lines:
        await start_worker(app)
        for n in (1, 2):
            await client.enqueue(f"t:{n}")
            await wait_until(lambda n=n: len(told) == n)
        await wait_until(lambda: [line for line in lines if "on_dead" in line["event"]])

    assert told == ["t:1", "t:2"]


@pytest.mark.parametrize("blocking", [False, True], ids=["async def", "def"])
async def test_one_that_does_not_end_is_given_up(
    redis_url: str,
    client: Client,
    start_worker: StartWorker,
    wait_until: WaitUntil,
    monkeypatch: pytest.MonkeyPatch,
    blocking: bool,
) -> None:
    monkeypatch.setattr(dead_letters, "LONGEST_CALL", 0.05)
    monkeypatch.setattr(dead_letters, "AT_ONCE", 2)
    let_go = threading.Event()
    told: list[str] = []

    def first_hangs(task: TaskInfo, _: BaseException) -> None:
        told.append(task.type)
        if len(told) == 1:
            let_go.wait(20)

    async def async_first_hangs(task: TaskInfo, _: BaseException) -> None:
        told.append(task.type)
        if len(told) == 1:
            await asyncio.sleep(20)

    app = TaskFlow(redis_url, on_dead=first_hangs if blocking else async_first_hangs)

    @app.task("t:*")
    async def handler() -> None:
        raise SkipRetry

    with structlog.testing.capture_logs() as lines:
        await start_worker(app)
        await client.enqueue("t:1")
        await wait_until(lambda: [line for line in lines if "on_dead" in line["event"]])
        await client.enqueue("t:2")
        await wait_until(lambda: told == ["t:1", "t:2"])
    let_go.set()


async def test_many_deaths_at_once_are_told_a_few_at_a_time(
    redis_url: str, client: Client, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    under_way, most, told = 0, 0, 0

    async def on_dead(task: TaskInfo, error: BaseException) -> None:
        nonlocal under_way, most, told
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.002)
        under_way -= 1
        told += 1

    app = TaskFlow(redis_url, on_dead=on_dead)

    @app.task("t")
    async def handler() -> None:
        raise SkipRetry

    await client.enqueue_many([Task("t")] * 200)
    await start_worker(app, concurrency=100)
    await wait_until(lambda: told == 200)

    assert most == dead_letters.AT_ONCE


async def test_more_deaths_than_can_wait_are_logged_not_kept(
    redis_url: str,
    client: Client,
    start_worker: StartWorker,
    store: Store,
    wait_until: WaitUntil,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dead_letters, "MOST_WAITING", 5)
    monkeypatch.setattr(dead_letters, "AT_ONCE", 1)
    let_go = asyncio.Event()
    told: list[str] = []

    async def on_dead(task: TaskInfo, error: BaseException) -> None:
        await let_go.wait()
        told.append(task.id)

    app = TaskFlow(redis_url, on_dead=on_dead)

    @app.task("t")
    async def handler() -> None:
        raise SkipRetry

    def untold() -> list[str]:
        return [line["task_id"] for line in lines if "too many" in line["event"]]

    with structlog.testing.capture_logs() as lines:
        await client.enqueue_many([Task("t")] * 50)
        await start_worker(app)
        await wait_until(lambda: len(store.scores("archived")) == 50)
        let_go.set()
        await wait_until(lambda: len(told) + len(untold()) >= 50)

    assert sorted(told + untold()) == sorted(store.scores("archived"))
    assert untold()


# -- at the end ---------------------------------------------------------------------------------------------------------


async def test_a_worker_that_stops_waits_until_all_is_told(
    redis_url: str, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    told: list[str] = []

    async def on_dead(task: TaskInfo, error: BaseException) -> None:
        await asyncio.sleep(0.2)
        told.append(task.id)

    app = TaskFlow(redis_url, on_dead=on_dead)

    @app.task("t")
    async def handler() -> None:
        raise SkipRetry

    worker = await start_worker(app)
    await client.enqueue("t")
    await wait_until(lambda: store.scores("archived"))
    worker.stop()
    await wait_until(lambda: worker.describe().status == "closed")

    assert len(told) == 1


async def test_a_worker_does_not_wait_for_ever(
    redis_url: str,
    client: Client,
    start_worker: StartWorker,
    store: Store,
    wait_until: WaitUntil,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("taskflow.worker.drain._SETTLE", 0.1)
    given_up = asyncio.Event()

    async def on_dead(task: TaskInfo, error: BaseException) -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        given_up.set()

    app = TaskFlow(redis_url, on_dead=on_dead)

    @app.task("t")
    async def handler() -> None:
        raise SkipRetry

    with structlog.testing.capture_logs() as lines:
        worker = await start_worker(app)
        await client.enqueue("t")
        await wait_until(lambda: store.scores("archived"))
        worker.stop()
        await wait_until(lambda: worker.describe().status == "closed")

    assert given_up.is_set()
    assert [line["tasks"] for line in lines if "before on_dead" in line["event"]] == [1]


@pytest.mark.parametrize("on_dead", [lambda: None, lambda _: None, 5], ids=["none", "one", "no function"])
def test_what_cannot_be_told_is_refused_at_once(on_dead: Any) -> None:
    with pytest.raises(ConfigError, match="on_dead"):
        RetryPolicy(on_dead=on_dead)
