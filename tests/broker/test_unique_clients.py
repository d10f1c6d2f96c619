"""Unique locks as clients see them: what is answered, waited for, and true when answers are lost or clients race."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import redis

from conftest import StartWorker, WaitUntil
from support.invariants import check_invariants
from support.proxy import Proxy
from support.store import Store
from support.tasks import take
from taskflow import (
    Broker,
    Client,
    DuplicateTask,
    ScheduleEntry,
    SyncClient,
    Task,
    TaskConflict,
    TaskContext,
    TaskFlow,
    TaskIdTaken,
    TaskInfo,
    TaskNotFound,
    TaskOptions,
    TaskState,
    Unique,
)
from taskflow.broker.delivery import Complete
from taskflow.broker.schedules import ScheduleStore
from taskflow.broker.scripts import Script
from taskflow.errors import InvalidUnique
from taskflow.scheduler import fire_now
from taskflow.unique import OnConflict

pytestmark = pytest.mark.usefixtures("invariants_hold")

HOUR = timedelta(hours=1)
RETURN = Unique(HOUR, key="k", on_conflict="return")
REPLACE = Unique(HOUR, key="k", on_conflict="replace")
KEY = "asynq:{default}:unique:t:key=k"


# -- what is answered -------------------------------------------------------------------------------------------------


async def test_return_answers_with_the_task_that_is_there(client: Client, store: Store) -> None:
    first = await client.enqueue("t", {"n": 1}, unique=RETURN)

    second = await client.enqueue("t", {"n": 2}, unique=RETURN, queue="default")

    assert not first.existing
    assert second.existing
    assert (second.id, second.payload, second.state) == (first.id, b'{"n":1}', TaskState.PENDING)
    assert store.list("pending") == [first.id]


async def test_return_answers_for_a_given_id_too(client: Client) -> None:
    await client.enqueue("t", {"n": 1}, unique=RETURN, task_id="mine")

    again = await client.enqueue("t", {"n": 1}, unique=RETURN, task_id="mine")

    assert (again.id, again.existing) == ("mine", True)


async def test_a_fixed_lock_whose_task_is_gone_has_none_to_return(
    client: Client, broker: Broker, fixed_locks: set[str]
) -> None:
    fixed_locks.add(KEY)
    unique = Unique(HOUR, key="k", until="expired", on_conflict="return")
    first = await client.enqueue("t", unique=unique, retention=HOUR)
    (delivery,) = await take(broker)
    await broker.settle([(delivery, Complete(b"7"))])
    ended = await client.enqueue("t", unique=unique)
    assert (ended.id, ended.state, ended.result) == (first.id, TaskState.COMPLETED, b"7")
    await broker.execute(("DEL", f"asynq:{{default}}:t:{first.id}", "asynq:{default}:completed"))

    with pytest.raises(DuplicateTask) as error:
        await client.enqueue("t", unique=unique)

    assert error.value.holder == first.id


async def test_replace_tells_whose_place_was_taken(client: Client, store: Store) -> None:
    first = await client.enqueue("t", unique=REPLACE, process_in=HOUR)
    second = await client.enqueue("t", unique=REPLACE)

    assert (first.replaced, second.replaced) == (None, first.id)
    assert store.list("pending") == [second.id]
    assert store.scores("scheduled") == {}


async def test_replace_is_refused_while_the_holder_runs_and_when_it_has_ended(
    client: Client, broker: Broker, fixed_locks: set[str]
) -> None:
    fixed_locks.add(KEY)
    unique = Unique(HOUR, key="k", until="expired", on_conflict="replace")
    await client.enqueue("t", unique=unique, task_id="first")
    (delivery,) = await take(broker)

    with pytest.raises(DuplicateTask, match=r"'first'.*it is running, so it cannot be replaced") as running:
        await client.enqueue("t", unique=unique)
    await broker.settle([(delivery, Complete())])
    with pytest.raises(DuplicateTask, match="it has ended, so it cannot be replaced"):
        await client.enqueue("t", unique=unique)

    assert (running.value.holder, running.value.state) == ("first", "active")


async def test_a_debounce_with_an_id_of_its_own(client: Client, store: Store) -> None:
    for n in range(3):
        info = await client.enqueue("t", {"n": n}, unique=REPLACE, task_id="mine", process_in=HOUR)
        assert (info.id, info.replaced) == ("mine", None)

    assert list(store.scores("scheduled")) == ["mine"]
    assert store.message("mine").payload == b'{"n":2}'


async def test_a_replaced_task_may_be_enqueued_again(client: Client, store: Store) -> None:
    await client.enqueue("t", unique=REPLACE, task_id="a")
    await client.enqueue("t", unique=REPLACE, task_id="b")

    assert (await client.enqueue("t", unique=REPLACE, task_id="a")).replaced == "b"
    with pytest.raises(TaskIdTaken):
        await client.enqueue("t", {"other": 1}, task_id="a")


async def test_many_tasks_and_concurrent_calls_get_each_its_own_answer(client: Client, store: Store) -> None:
    tasks = [Task("t", n, TaskOptions(unique=REPLACE if n % 3 == 2 else RETURN)) for n in range(6)]

    many = await client.enqueue_many(tasks)
    at_once = await asyncio.gather(*(client.enqueue(task) for task in tasks))

    for answers in (many, at_once):
        infos = [answer for answer in answers if isinstance(answer, TaskInfo)]
        assert len(infos) == 6
        assert infos[0].id == infos[1].id == infos[2].replaced
        assert infos[2].id == infos[3].id == infos[4].id == infos[5].replaced
        assert [info.existing for info in infos[1:]] == [True, False, True, True, False]
    assert len(store.list("pending")) == 1


async def test_a_blocking_client_has_the_same_choices(redis_url: str, store: Store) -> None:
    def enqueue() -> list[TaskInfo | TaskConflict]:
        with SyncClient(redis_url) as client:
            first = client.enqueue("t", 1, unique=REPLACE)
            return [first, client.enqueue("t", 2, unique=RETURN), client.enqueue("t", 3, unique=REPLACE)]

    first, second, third = await asyncio.to_thread(enqueue)

    assert isinstance(first, TaskInfo)
    assert isinstance(second, TaskInfo)
    assert isinstance(third, TaskInfo)
    assert (second.id, second.existing, third.replaced) == (first.id, True, first.id)
    assert store.list("pending") == [third.id]


async def test_fields_of_a_payload_that_is_no_object_are_said_before_anything_is_sent(
    client: Client, store: Store
) -> None:
    with pytest.raises(InvalidUnique, match="JSON object"):
        await client.enqueue("t", [1], unique=Unique(HOUR, fields=("a",)))

    await client.enqueue("t", {"a": 1, "b": 1}, unique=Unique(HOUR, fields=("a",)))
    with pytest.raises(DuplicateTask):
        await client.enqueue("t", {"a": 1, "b": 2}, unique=Unique(HOUR, fields=("a",)))
    assert len(store.list("pending")) == 1


async def test_a_type_may_have_a_lock_of_its_own(app: TaskFlow) -> None:
    @app.task("reindex", unique=Unique(HOUR, fields=("shop",)))
    async def reindex(shop: int, version: int = 0) -> None:
        pass

    first = await reindex.enqueue(7)
    with pytest.raises(DuplicateTask) as error:
        await reindex.enqueue(7, version=1)
    await reindex.enqueue(8)
    await reindex.with_options(unique=None).enqueue(7)
    again = await reindex.with_options(unique=Unique(HOUR, fields=("shop",), on_conflict="return")).enqueue(7)

    assert error.value.holder == first.id == again.id


def test_a_lock_of_a_type_that_cannot_be_used_is_refused_where_it_is_written(app: TaskFlow) -> None:
    with pytest.raises(InvalidUnique, match="at least 1 second"):
        app.task("t", unique=timedelta(milliseconds=1))(lambda: None)


# -- with a worker ----------------------------------------------------------------------------------------------------


async def test_the_next_task_may_be_enqueued_while_the_first_runs(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store
) -> None:
    """Until the start: a change that comes while its task runs is not lost, and many changes make one more task."""
    running, go_on = asyncio.Event(), asyncio.Event()
    seen: list[int] = []

    @app.task("reindex")
    async def reindex(ctx: TaskContext, version: int) -> None:
        seen.append(version)
        running.set()
        await go_on.wait()

    unique = Unique(HOUR, key="k", until="started", on_conflict="return")
    await start_worker(app, concurrency=1)
    first = await client.enqueue("reindex", {"version": 1}, unique=unique)
    async with asyncio.timeout(5):
        await running.wait()

    second, third = [await client.enqueue("reindex", {"version": n}, unique=unique, retention=HOUR) for n in (2, 3)]
    go_on.set()
    await client.result(second, timeout=20)

    assert first.id != second.id
    assert (third.id, third.existing) == (second.id, True)
    assert seen == [1, 2]


async def test_who_waits_for_a_replaced_task_is_told_at_once(client: Client, raw: Any, wait_until: WaitUntil) -> None:
    first = await client.enqueue("t", unique=REPLACE, retention=HOUR)
    waiting = asyncio.create_task(client.result(first, timeout=10))
    await wait_until(lambda: raw.pubsub_numsub(f"taskflow:ended:{first.id}")[0][1] == 1)
    started = time.monotonic()

    await client.enqueue("t", unique=REPLACE)

    with pytest.raises(TaskNotFound):
        await waiting
    assert time.monotonic() - started < 0.5


async def test_of_tasks_that_replace_one_another_while_workers_take_them_each_runs_or_is_replaced(
    redis_url: str, start_worker: StartWorker, wait_until: WaitUntil, store: Store
) -> None:
    ran: Counter[str] = Counter()
    app = TaskFlow(redis_url)

    @app.task("t")
    async def run(ctx: TaskContext) -> None:
        ran[ctx.id] += 1

    clients = [Client(redis_url) for _ in range(4)]
    stored: list[TaskInfo] = []
    refused: list[str | None] = []

    async def call(client: Client, n: int) -> None:
        unique = Unique(HOUR, key=f"{n % 3}", on_conflict="replace", until=("done", "started")[n % 2])
        try:
            stored.append(await client.enqueue("t", unique=unique, process_in=timedelta(milliseconds=n % 5)))
        except DuplicateTask as error:
            refused.append(error.state)

    for _ in range(2):
        await start_worker(app, concurrency=2)
    for n in range(0, 400, 8):
        await asyncio.gather(*(call(clients[i % 4], n + i) for i in range(8)))
    replaced = {info.replaced for info in stored if info.replaced}
    await wait_until(lambda: len(ran) + len(replaced) == len(stored), 10)
    for client in clients:
        await client.close()

    assert set(ran.values()) == {1}
    assert set(ran) | replaced == {info.id for info in stored}
    assert len(stored) + len(refused) == 400
    assert set(refused) <= {"active"}
    assert ran
    assert replaced
    await wait_until(lambda: not store.client.keys("asynq:{default}:[tul]*"))


# -- periodic tasks ---------------------------------------------------------------------------------------------------


async def test_a_periodic_task_keeps_its_choices(broker: Broker) -> None:
    unique = Unique(HOUR, fields=("a", "b"), until="started", on_conflict="replace")
    entry = ScheduleEntry.of(Task("t", {"a": 1}, TaskOptions(unique=unique)), "@daily", id="x")
    schedules = ScheduleStore(broker)
    await schedules.put(entry)

    (kept,) = await schedules.entries()

    assert kept.unique == unique
    assert kept.task().options.unique == unique
    assert "Unique(1h)" in kept.asynq_options()


def test_a_periodic_task_whose_fields_cannot_be_chosen_is_refused() -> None:
    with pytest.raises(InvalidUnique, match="JSON object"):
        ScheduleEntry(id="x", spec="@daily", type="t", payload=b"[]", unique=Unique(HOUR, fields=("a",)))


async def test_a_firing_that_finds_its_task_there_is_no_event(client: Client, broker: Broker) -> None:
    entry = ScheduleEntry(id="x", spec="@daily", type="t", unique=RETURN)
    schedules = ScheduleStore(broker)
    await schedules.put(entry)
    first = await fire_now(client, schedules, entry)

    again = await fire_now(client, schedules, entry)
    with pytest.raises(DuplicateTask):
        await client.enqueue_once(entry.task(task_id="x:1"), once="x:1")

    assert (again.id, again.existing) == (first.id, True)
    assert [event.task_id for event in await schedules.events("x")] == [first.id]


# -- when answers are lost, and when clients race ---------------------------------------------------------------------


@pytest.fixture
async def proxy(redis_url: str, raw: redis.Redis) -> AsyncIterator[Proxy]:
    script = Script("enqueue")
    raw.script_load(script.text)
    raw.script_load(script.flagged_text)
    async with Proxy(redis_url) as proxy:
        yield proxy


@pytest.mark.parametrize("choice", ["refuse", "return", "replace"])
@pytest.mark.parametrize("ending", ["done", "started", "expired"])
@pytest.mark.parametrize("holder", [False, True])
async def test_a_lost_answer_is_asked_for_again_and_one_task_is_there(
    proxy: Proxy, store: Store, fixed_locks: set[str], choice: OnConflict, ending: Any, holder: bool
) -> None:
    unique = Unique(HOUR, key="k", until=ending, on_conflict=choice)
    if ending == "expired":
        fixed_locks.add(KEY)
    digest = Script("enqueue").digest.encode(), Script("enqueue").flagged_digest.encode()
    lost = 0

    def first_time(data: bytes) -> bool:
        nonlocal lost
        lost += (hit := any(one in data for one in digest))
        return hit and lost == 1

    async with Client(proxy.url) as client:
        first = await client.enqueue("t", 1, unique=unique) if holder else await client.enqueue("other")
        proxy.drop_replies(first_time)
        answer: Any
        (answer,) = await asyncio.gather(client.enqueue("t", 2, unique=unique), return_exceptions=True)

    assert lost == 2
    waiting = [task_id for task_id in store.list("pending") if task_id != first.id]
    if holder and choice != "replace":
        assert waiting == []
        assert isinstance(answer, DuplicateTask) if choice == "refuse" else answer.id == first.id
    else:
        assert isinstance(answer, TaskInfo)
        assert not answer.existing
        assert waiting == [answer.id]
        assert store.client.get(KEY) == answer.id.encode()


@pytest.mark.parametrize("delay", [timedelta(0), timedelta(minutes=5)])
async def test_of_eight_clients_that_replace_one_another_one_survives(
    redis_url: str, store: Store, raw: redis.Redis, delay: timedelta
) -> None:
    clients = [Client(redis_url) for _ in range(8)]
    for n in range(25):
        unique = Unique(HOUR, key=f"{n}", on_conflict="replace")
        infos = await asyncio.gather(
            *(client.enqueue("t", i, unique=unique, process_in=delay) for i, client in enumerate(clients))
        )
        replaced = Counter(info.replaced for info in infos)
        assert replaced.pop(None) == 1, "one was the first"
        assert set(replaced.values()) == {1}, "each of the others took the place of one"
        (survivor,) = {info.id for info in infos} - set(replaced)
        assert store.text(f"unique:t:key={n}") == survivor
    for client in clients:
        await client.close()

    assert len(store.list("pending") or store.scores("scheduled")) == 25
    check_invariants(raw, "default")
