"""Inspector: a queue is removed with all its keys, whatever it holds and whoever goes on using it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
import redis

from support.clock import MovableClock
from support.invariants import check_invariants
from support.store import Store
from support.tasks import STATES, bring, enqueue, placement, take, taken
from taskflow import Broker, Client, Inspector, SyncClient, TaskState
from taskflow.broker.delivery import Complete, Done, Retry
from taskflow.broker.groups import GroupPolicy, Groups
from taskflow.broker.known_queues import NOTE_SECONDS, KnownQueues
from taskflow.broker.scripts import Call
from taskflow.errors import InvalidQueue, QueueActive, QueueNotEmpty, QueueNotFound

pytestmark = pytest.mark.usefixtures("invariants_hold")

NOTE = "taskflow:{default}:removed"
HELD = [state for state in STATES if state != "active"]


def left(raw: redis.Redis) -> set[str]:
    """The names of all keys, but that of the note."""
    reader: Any = raw
    return {key.decode() for key in reader.scan_iter(count=1000)} - {NOTE}


async def fill(broker: Broker, count: int) -> int:
    """Bring tasks, each with a lock, into every state but active; return how many there are."""
    for i in range(0, 2 * count, 200):
        names = range(i, min(i + 200, 2 * count))
        deliveries = await taken(broker, *(placement(f"t{n}", lock=lock(f"t{n}"), retention=600) for n in names))
        outcomes = [Complete(b"1") if n % 2 else Retry(4e9 + 0.5, "no") for n in names]
        await broker.settle(list(zip(deliveries, outcomes, strict=True)))
    for i in range(count):
        await broker.enqueue(
            [
                placement(f"p{i}", lock=lock(f"p{i}")),
                placement(f"s{i}", lock=lock(f"s{i}"), due=4e9 + 0.5),
                placement(f"g{i}", lock=lock(f"g{i}"), group=f"g{i % 700}"),
                placement(f"a{i}", lock=lock(f"a{i}")),
            ]
        )
    await Inspector(broker).archive_many([f"a{i}" for i in range(count)], "default")
    return 6 * count


def lock(name: str) -> str:
    return f"asynq:{{default}}:unique:t:{name}"


async def test_nothing_is_left_of_a_removed_queue(broker: Broker, inspector: Inspector, raw: redis.Redis) -> None:
    count = await fill(broker, 1100)
    await enqueue(broker, placement("x", queue="other"))
    await inspector.pause("default")
    told: list[tuple[int, int]] = []

    assert await inspector.remove_queue("default", force=True, progress=lambda *args: told.append(args)) == count

    assert left(raw) == {"asynq:queues", "asynq:{other}:t:x", "asynq:{other}:pending"}
    assert 0 < raw.ttl(NOTE) <= NOTE_SECONDS
    assert await inspector.queues() == ["other"]
    assert told[-1] == (count, count)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


@pytest.mark.parametrize("state", HELD)
async def test_a_queue_that_holds_tasks_is_not_removed_unless_forced(
    broker: Broker, inspector: Inspector, store: Store, clock: MovableClock, raw: redis.Redis, state: str
) -> None:
    await bring(broker, clock, state)
    before = store.snapshot()

    with pytest.raises(QueueNotEmpty) as found:
        await inspector.remove_queue("default")

    assert found.value.details == {"queue": "default", "size": 1}
    assert store.snapshot() == before
    assert await inspector.remove_queue("default", force=True) == 1
    assert left(raw) == set()


async def test_a_queue_with_running_tasks_is_not_even_removed_by_force(
    broker: Broker, inspector: Inspector, store: Store
) -> None:
    (delivery,) = await taken(broker, placement("a"))
    await enqueue(broker, placement("b"))
    before = store.snapshot()

    for force in (False, True):
        with pytest.raises(QueueActive, match="running tasks: 1"):
            await inspector.remove_queue("default", force=force)

    assert store.snapshot() == before
    await broker.settle([(delivery, Done())])
    assert await inspector.remove_queue("default", force=True) == 1


async def test_an_empty_queue_is_removed_with_its_counters(
    broker: Broker, inspector: Inspector, raw: redis.Redis, clock: MovableClock
) -> None:
    for days in (0, 80):
        clock.advance(days * 24 * 3600)
        (delivery,) = await taken(broker, placement("a"))
        await broker.settle([(delivery, Done())])

    assert await inspector.remove_queue("default") == 0

    assert left(raw) == set()
    with pytest.raises(QueueNotFound):
        await inspector.remove_queue("default")
    with pytest.raises(InvalidQueue):
        await inspector.remove_queue("no{queue")


async def test_members_that_are_being_aggregated_go_too(broker: Broker, inspector: Inspector, raw: redis.Redis) -> None:
    groups = Groups(broker)
    await enqueue(broker, *(placement(f"{i}", group=f"g{i % 3}") for i in range(9)))
    closed = await groups.close("default", GroupPolicy(max_size=2))
    raw.zadd("asynq:{default}:aggregation_sets", {"no key of the queue's": 4e9})

    assert await inspector.remove_queue("default", force=True) == 9

    assert left(raw) == set()
    assert await groups.members(closed[0]) is None


async def test_keys_of_other_kinds_go_too(broker: Broker, inspector: Inspector, store: Store, raw: redis.Redis) -> None:
    await enqueue(broker, placement("a"))
    for name in ("scheduled", "groups", "aggregation_sets", "archived"):
        store.client.set(store.key(name), "another kind")

    assert await inspector.remove_queue("default", force=True) == 1

    assert left(raw) == set()


async def test_a_removal_that_was_cut_off_is_finished_by_the_next(
    broker: Broker, inspector: Inspector, raw: redis.Redis
) -> None:
    await enqueue(broker, *(placement(f"{i}", due=4e9) for i in range(1200)))
    run = broker.run

    async def cut_off(calls: Sequence[Call]) -> list[Any]:
        replies = await run(calls)
        if calls[0].script.name == "drain" and replies[0][0]:
            raise ConnectionError
        return replies

    broker.run = cut_off  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        await inspector.remove_queue("default", force=True)
    broker.run = run  # type: ignore[method-assign]
    assert (await inspector.queue_infos(["default"]))[0].size == 0
    await enqueue(broker, *(placement(f"new{i}", due=4e9) for i in range(3)))

    assert await inspector.remove_queue("default", force=True) == 703

    assert left(raw) == set()


async def test_no_script_of_a_removal_handles_more_than_a_chunk(
    broker: Broker, inspector: Inspector, raw: redis.Redis
) -> None:
    """20,000 tasks; a group for each of some thousands. Whoever asks meanwhile is answered."""
    for first in range(0, 20_000, 1000):
        await enqueue(
            broker, *(placement(f"{i}", group=f"g{i}" if i % 4 == 0 else "") for i in range(first, first + 1000))
        )
    work = asyncio.create_task(inspector.remove_queue("default", force=True))
    asked, most, held = 0, 0, 20_000
    while not work.done():
        now = raw.dbsize()
        assert isinstance(now, int)
        most = max(most, held - now)
        held, asked = now, asked + 1
        await asyncio.sleep(0)

    assert await work == 20_000
    assert asked > 40
    assert most < 3000, "keys that went between two questions"


# -- those who go on using it -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocking", [False, True])
async def test_a_client_that_thinks_a_removed_queue_known_names_it_again(
    client: Client, redis_url: str, inspector: Inspector, raw: redis.Redis, blocking: bool
) -> None:
    with SyncClient(redis_url) as other:

        async def enqueue_one() -> None:
            if blocking:
                await asyncio.to_thread(other.enqueue, "t")
            else:
                await client.enqueue("t")

        await enqueue_one()
        for _ in range(2):
            await inspector.remove_queue("default", force=True)
            assert await inspector.queues() == []

            await enqueue_one()
            assert await inspector.queues() == ["default"]

            raw.delete("asynq:queues", "asynq:{default}:pending", "asynq:{default}:t:*")
            for key in raw.scan_iter(match="asynq:{default}:t:*"):
                raw.delete(key)
            await enqueue_one()
            assert await inspector.queues() == [], "the note was heeded; it costs no round trip each time"
            raw.sadd("asynq:queues", "default")


async def test_tasks_enqueued_during_a_removal_make_the_queue_anew(
    broker: Broker, inspector: Inspector, store: Store
) -> None:
    await enqueue(broker, placement("old"))
    run = broker.run

    async def run_and_enqueue(calls: Sequence[Call]) -> list[Any]:
        replies = await run(calls)
        if calls[0].script.name == "remove":
            broker.run = run  # type: ignore[method-assign]
            await enqueue(broker, placement("new"), placement("member", group="g"))
        return replies

    broker.run = run_and_enqueue  # type: ignore[method-assign]

    assert await inspector.remove_queue("default", force=True) == 1

    assert await inspector.queues() == ["default"]
    assert [one.id for one in await inspector.tasks("default", TaskState.PENDING)] == ["new"]
    assert store.scores("g:g") == {"member": pytest.approx(broker.clock.now(), abs=5)}


async def test_a_worker_that_waits_at_a_removed_queue_takes_what_comes_later(
    broker: Broker, inspector: Inspector, redis_url: str
) -> None:
    await enqueue(broker, placement("a"))
    waiting = Broker(redis_url)
    try:
        await inspector.remove_queue("default", force=True)
        push = asyncio.create_task(waiting.wait_for_push("default", seconds=10))
        await enqueue(broker, placement("b"))
        assert await push
        assert [one.id for one in await take(broker)] == ["b"]
    finally:
        await waiting.close()


def test_names_are_remembered_for_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monotonic: Callable[[], float] = lambda: now  # noqa: E731 - `now` moves
    monkeypatch.setattr("taskflow.broker.known_queues.time.monotonic", monotonic)
    known = KnownQueues()
    known.learn({"a"})

    assert known.unknown({"a", "b"}) == {"b"}
    now += 10.1
    assert known.unknown({"a", "b"}) == {"a", "b"}


async def test_a_queue_that_is_removed_again_and_again_while_it_is_used_is_listed_whenever_it_holds_tasks(
    broker: Broker, inspector: Inspector, redis_url: str, raw: redis.Redis
) -> None:
    """Clients with names in memory enqueue, a worker takes and settles, and somebody removes the queue all the time."""
    clients = [Client(redis_url) for _ in range(3)]
    removed, stop = 0, asyncio.Event()

    async def enqueue_on(client: Client, number: int) -> None:
        for i in range(120):
            await client.enqueue(
                "t", [number, i], task_id=f"{number}-{i}", unique=timedelta(hours=1), group="g" if i % 3 else None
            )

    async def work() -> None:
        while not stop.is_set():
            deliveries = await broker.dequeue({"default": 2})
            await broker.settle([(delivery, Done()) for delivery in deliveries])
            await asyncio.sleep(0)

    async def remove() -> None:
        nonlocal removed
        while not stop.is_set():
            with suppress(QueueActive, QueueNotFound):
                await inspector.remove_queue("default", force=True)
                removed += 1

    others = [asyncio.create_task(work()), asyncio.create_task(remove())]
    await asyncio.gather(*(enqueue_on(client, number) for number, client in enumerate(clients)))
    stop.set()
    await asyncio.gather(*others)

    holds_tasks = bool(raw.exists("asynq:{default}:pending", "asynq:{default}:groups"))
    assert removed > 3
    assert not holds_tasks or await inspector.queues() == ["default"]
    await clients[0].enqueue("t", "last")
    assert await inspector.queues() == ["default"]
    check_invariants(raw)
    for client in clients:
        await client.close()
