"""Client and SyncClient: what is sent, what is answered, and what happens when an answer is lost."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from conftest import WaitUntil
from support.proxy import Proxy
from support.store import Store
from support.tasks import take
from taskflow import (
    Broker,
    BrokerUnavailable,
    Client,
    DuplicateTask,
    InvalidOption,
    InvalidPayload,
    ResultTimeout,
    SyncClient,
    Task,
    TaskFailed,
    TaskIdTaken,
    TaskNotFound,
    TaskOptions,
    TaskState,
)
from taskflow.broker.delivery import Archive, Complete, Done
from taskflow.broker.scripts import Script
from taskflow.task import TaskInfo

pytestmark = pytest.mark.usefixtures("invariants_hold")

ENQUEUE = (Script("enqueue").digest.encode(), Script("enqueue").flagged_digest.encode())
KEPT = timedelta(minutes=5)


def enqueues(data: bytes) -> bool:
    return any(digest in data for digest in ENQUEUE)


@pytest.fixture
async def proxy(redis_url: str, raw: Any) -> AsyncIterator[Proxy]:
    for script in (Script("enqueue"),):
        raw.script_load(script.text)
        raw.script_load(script.flagged_text)
    async with Proxy(redis_url) as proxy:
        yield proxy


# -- what is sent -----------------------------------------------------------------------------------------------------


async def test_every_option_is_on_the_wire(client: Client, store: Store) -> None:
    deadline = datetime(2030, 1, 31, tzinfo=UTC)
    info = await client.enqueue(
        "mail:send",
        {"to": "é"},
        max_retries=7,
        timeout=timedelta(seconds=1.2),
        deadline=deadline,
        retention=timedelta(seconds=0.5),
        unique=timedelta(seconds=90),
        task_id="mine",
        headers={"trace": "1"},
    )

    message = store.message("mine")
    assert message.type == "mail:send"
    assert message.payload == '{"to":"é"}'.encode()
    assert (message.id, message.queue, message.retry, message.retried) == ("mine", "default", 7, 0)
    assert (message.timeout, message.deadline, message.retention) == (2, int(deadline.timestamp()), 1)
    assert dict(message.headers) == {"trace": "1"}
    assert store.client.get(message.unique_key) == b"mine"
    assert 88 <= store.client.ttl(message.unique_key) <= 90
    assert (info.id, info.state, info.max_retries) == ("mine", TaskState.PENDING, 7)


async def test_the_defaults_are_asynqs(client: Client, store: Store) -> None:
    plain = await client.enqueue("t")
    with_deadline = await client.enqueue("t", deadline=datetime(2030, 1, 1, tzinfo=UTC))

    message = store.message(plain.id)
    assert (message.payload, message.retry, message.timeout, message.deadline) == (b"", 25, 1800, 0)
    assert (message.retention, message.unique_key, message.group_key) == (0, "", "")
    assert store.message(with_deadline.id).timeout == 0


async def test_ids_are_random_uuids(client: Client) -> None:
    infos = await client.enqueue_many([Task("t")] * 1000)
    ids = [info.id for info in infos if isinstance(info, TaskInfo)]

    assert len(set(ids)) == 1000
    assert {UUID(task_id).version for task_id in ids} == {4}
    assert all(str(UUID(task_id)) == task_id for task_id in ids)


async def test_a_due_time_in_the_past_means_now(client: Client, store: Store) -> None:
    past = await client.enqueue("t", process_at=datetime.now(UTC) - timedelta(seconds=1))
    zero = await client.enqueue("t", process_in=timedelta(0))

    assert store.state(past.id) == store.state(zero.id) == "pending"


async def test_a_lock_lasts_until_the_due_time_and_its_own_time_after(client: Client, store: Store) -> None:
    info = await client.enqueue("t", process_in=timedelta(seconds=100), unique=timedelta(seconds=50))

    assert 148 <= store.client.ttl(store.message(info.id).unique_key) <= 150


@pytest.mark.parametrize(
    "options",
    [
        {"queue": ""},
        {"queue": "a{b"},
        {"queue": "a" * 129},
        {"max_retries": -1},
        {"max_retries": 2**31},
        {"max_retries": True},
        {"timeout": timedelta(seconds=-1)},
        {"timeout": 5},
        {"deadline": datetime(2030, 1, 1)},  # noqa: DTZ001 - the mistake this test is about
        {"process_at": datetime(2030, 1, 1)},  # noqa: DTZ001 - as above
        {"process_in": timedelta(days=40_000)},
        {"unique": timedelta(milliseconds=500)},
        {"task_id": ""},
        {"task_id": "é" * 129},
        {"retention": timedelta(seconds=-1)},
        {"group": ""},
        {"headers": {"a": 1}},
        {"headers": {"a": "\ud800"}},
    ],
)
async def test_an_option_that_cannot_be_used_is_named_and_nothing_is_sent(
    client: Client, raw: Any, options: Any
) -> None:
    (name,) = options

    with pytest.raises(InvalidOption) as caught:
        await client.enqueue("t", **options)

    assert caught.value.option == name
    assert raw.dbsize() == 0


async def test_process_at_and_process_in_exclude_each_other(client: Client) -> None:
    with pytest.raises(InvalidOption, match="not both"):
        await client.enqueue("t", process_at=datetime.now(UTC), process_in=timedelta(seconds=1))


@pytest.mark.parametrize("payload", [object(), {"a": object()}, float])
async def test_a_payload_without_a_json_form_is_refused(client: Client, raw: Any, payload: Any) -> None:
    with pytest.raises(InvalidPayload):
        await client.enqueue("t", payload)

    assert raw.dbsize() == 0


async def test_a_cyclic_payload_is_refused(client: Client, raw: Any) -> None:
    cycle: list[Any] = []
    cycle.append(cycle)

    with pytest.raises(InvalidPayload):
        await client.enqueue("t", cycle)


# -- what is answered -------------------------------------------------------------------------------------------------


async def test_conflicts_name_who_is_in_the_way(client: Client) -> None:
    await client.enqueue("t", task_id="a", unique=timedelta(minutes=1))

    with pytest.raises(TaskIdTaken) as taken:
        await client.enqueue("other", task_id="a")
    with pytest.raises(DuplicateTask) as duplicate:
        await client.enqueue("t", unique=timedelta(minutes=1))

    assert (taken.value.holder, taken.value.queue) == ("a", "default")
    assert duplicate.value.holder == "a"
    assert (await client.enqueue("t")).state is TaskState.PENDING


async def test_the_very_same_task_twice_is_a_conflict_too(client: Client) -> None:
    """Only an answer that was lost makes a repeat."""
    await client.enqueue("t", {"n": 1}, task_id="a")

    with pytest.raises(TaskIdTaken):
        await client.enqueue("t", {"n": 1}, task_id="a")


async def test_once_is_once_within_a_day_even_when_the_task_is_gone(
    client: Client, broker: Broker, store: Store
) -> None:
    assert await client.enqueue_once(Task("t", {"n": 1}), once="schedule:2026-01-31")
    assert not await client.enqueue_once(Task("t", {"n": 2}), once="schedule:2026-01-31")
    assert await client.enqueue_once(Task("t", {"n": 3}), once="schedule:2026-02-01")
    await broker.settle([(delivery, Done()) for delivery in await take(broker)])

    assert not await client.enqueue_once(Task("t", {"n": 4}), once="schedule:2026-01-31")
    assert store.list("pending") == []


async def test_many_are_answered_in_order(client: Client) -> None:
    tasks = [Task("t", {"n": n}, TaskOptions(task_id=f"{n % 1200}", queue="ab"[n % 2])) for n in range(1500)]

    answers = await client.enqueue_many(tasks)

    assert [isinstance(answer, TaskIdTaken) for answer in answers] == [False] * 1200 + [True] * 300
    assert [answer.id for answer in answers if isinstance(answer, TaskInfo)] == [f"{n}" for n in range(1200)]
    assert await client.enqueue_many([]) == []


async def test_calls_at_once_go_out_together(client: Client, store: Store, raw: Any) -> None:
    await client.enqueue("t")
    raw.config_resetstat()

    infos = await asyncio.gather(*(client.enqueue("t", {"n": n}) for n in range(500)))

    stats: Any = raw.info("commandstats")
    assert stats["cmdstat_evalsha"]["calls"] <= 5
    assert [store.message(info.id).payload for info in infos] == [b'{"n":%d}' % n for n in range(500)]


async def test_of_calls_at_once_each_gets_its_own_answer(client: Client) -> None:
    answers = await asyncio.gather(
        *(client.enqueue("t", task_id=f"{n // 2}", payload={"n": n}) for n in range(100)), return_exceptions=True
    )

    assert sum(isinstance(answer, TaskIdTaken) for answer in answers) == 50
    for n in range(0, 100, 2):
        pair = answers[n : n + 2]
        assert sum(isinstance(answer, TaskInfo) for answer in pair) == 1


async def test_a_caller_that_gives_up_does_not_hurt_the_others(client: Client, store: Store) -> None:
    calls = [asyncio.create_task(client.enqueue("t", {"n": n})) for n in range(20)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()

    answers = await asyncio.gather(*calls, return_exceptions=True)

    assert all(isinstance(answer, TaskInfo) for answer in answers[1::2])
    assert isinstance(await client.enqueue("t"), TaskInfo)
    assert {info.id for info in answers[1::2] if isinstance(info, TaskInfo)} <= set(store.list("pending"))


# -- lost answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"unique": timedelta(minutes=1)}, {"task_id": "mine"}, {"process_in": KEPT}])
async def test_an_answer_that_was_lost_is_asked_for_again_and_the_task_is_stored_once(
    proxy: Proxy, raw: Any, store: Store, options: Any
) -> None:
    async with Client(proxy.url) as client:
        await client.enqueue("warm up", queue="other")
        lost = 0

        def first_time(data: bytes) -> bool:
            nonlocal lost
            lost += (hit := enqueues(data))
            return hit and lost == 1

        proxy.drop_replies(first_time)
        info = await client.enqueue("t", {"n": 1}, **options)

    assert proxy.dropped >= 1
    assert lost == 2
    assert store.state(info.id) is not None
    assert len(list(raw.scan_iter("asynq:{default}:t:*"))) == 1


@pytest.mark.parametrize("earlier", [False, True])
async def test_after_a_lost_answer_it_is_known_whose_mark_it_is(proxy: Proxy, store: Store, earlier: bool) -> None:
    """Neither whether the task is there nor whether the mark is tells it: the mark names its task."""
    async with Client(proxy.url) as client:
        if earlier:
            await client.enqueue_once(Task("t"), once="x")
        await client.enqueue("warm up", queue="other")
        lost = 0

        def first_time(data: bytes) -> bool:
            nonlocal lost
            lost += (hit := enqueues(data))
            return hit and lost == 1

        proxy.drop_replies(first_time)
        assert await client.enqueue_once(Task("t"), once="x") is not earlier

    assert lost == 2
    assert len(store.list("pending")) == 1


async def test_a_blocking_client_asks_again_too(proxy: Proxy, store: Store) -> None:
    lost = 0

    def first_time(data: bytes) -> bool:
        nonlocal lost
        lost += (hit := enqueues(data))
        return hit and lost == 1

    def enqueue() -> TaskInfo:
        with SyncClient(proxy.url) as client:
            client.enqueue("warm up", queue="other")
            proxy.drop_replies(first_time)
            return client.enqueue("t", unique=timedelta(minutes=1))

    info = await asyncio.to_thread(enqueue)

    assert lost == 2
    assert store.list("pending") == [info.id]


async def test_when_the_second_answer_is_lost_too_the_caller_is_told(proxy: Proxy) -> None:
    async with Client(proxy.url) as client:
        await client.enqueue("warm up")
        proxy.drop_replies()
        with pytest.raises(BrokerUnavailable):
            await client.enqueue("t")
        calls = [client.enqueue("t") for _ in range(10)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(answer) for answer in answers} == {BrokerUnavailable}
        proxy.pass_on()
        assert (await client.enqueue("t")).state is TaskState.PENDING


# -- results ----------------------------------------------------------------------------------------------------------


async def test_a_result_is_waited_for(client: Client, broker: Broker, wait_until: WaitUntil, raw: Any) -> None:
    info = await client.enqueue("t", retention=KEPT)
    waiting = [asyncio.create_task(client.result(info, timeout=20)) for _ in range(3)]
    await wait_until(lambda: raw.pubsub_numsub(f"taskflow:ended:{info.id}")[0][1] == 1)
    (delivery,) = await take(broker)
    started = asyncio.get_running_loop().time()
    await broker.settle([(delivery, Complete(b'{"n": 1}'))])

    assert await asyncio.gather(*waiting) == [{"n": 1}] * 3
    assert asyncio.get_running_loop().time() - started < 0.5
    assert await client.result(info.id) == {"n": 1}


@pytest.mark.parametrize(("raw_result", "result"), [(None, None), (b"", None), (b"\xff", b"\xff"), (b"null", None)])
async def test_results_of_all_kinds(client: Client, broker: Broker, raw_result: bytes | None, result: Any) -> None:
    info = await client.enqueue("t", retention=KEPT)
    (delivery,) = await take(broker)
    await broker.settle([(delivery, Complete(raw_result))])

    assert await client.result(info) == result


async def test_waiting_ends(client: Client, broker: Broker) -> None:
    info = await client.enqueue("t", retention=KEPT)
    with pytest.raises(ResultTimeout) as caught:
        await client.result(info, timeout=0.05)
    assert caught.value.state == "pending"

    (delivery,) = await take(broker)
    await broker.settle([(delivery, Archive("gave up"))])
    with pytest.raises(TaskFailed, match="gave up") as failed:
        await client.result(info, timeout=20)
    assert not failed.value.cancelled
    with pytest.raises(TaskNotFound):
        await client.result("nobody")


# -- the blocking client ----------------------------------------------------------------------------------------------


def test_threads_share_a_blocking_client(redis_url: str, store: Store) -> None:
    with SyncClient(redis_url) as client:
        threads = [
            threading.Thread(target=lambda: [client.enqueue("t", {"n": n}) for n in range(20)]) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(store.list("pending")) == 160


def test_a_fork_gets_connections_and_ids_of_its_own(redis_url: str, store: Store) -> None:
    with SyncClient(redis_url) as client:
        client.enqueue("t")
        child = os.fork()
        if child == 0:
            try:
                for _ in range(50):
                    client.enqueue("t")
            finally:
                os._exit(0)
        for _ in range(50):
            client.enqueue("t")
        assert os.waitpid(child, 0)[1] == 0

    assert len(store.list("pending")) == len(set(store.list("pending"))) == 101


def test_a_blocking_client_answers_as_the_other_does(redis_url: str) -> None:
    with SyncClient(redis_url) as client:
        info = client.enqueue("t", task_id="a", unique=timedelta(minutes=1))
        assert (info.id, info.state) == ("a", TaskState.PENDING)
        with pytest.raises(TaskIdTaken):
            client.enqueue("other", task_id="a")
        with pytest.raises(DuplicateTask):
            client.enqueue("t", unique=timedelta(minutes=1))
        answers = client.enqueue_many([Task("t", options=TaskOptions(task_id="b"))] * 2)
        assert isinstance(answers[0], TaskInfo)
        assert isinstance(answers[1], TaskIdTaken)
