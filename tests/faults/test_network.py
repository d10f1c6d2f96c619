"""Replies that never arrive, and clients that race."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

import redis

from conftest import WaitUntil
from support.invariants import check_invariants
from support.proxy import Proxy
from support.store import Store
from taskflow import Client, DuplicateTask, Task, TaskIdTaken, TaskOptions
from taskflow.broker.scripts import Script
from taskflow.task import TaskInfo

if TYPE_CHECKING:
    from faults.conftest import Workers

KEPT = timedelta(hours=1)


def digests(*names: str) -> list[bytes]:
    scripts = [Script(name) for name in names]
    return [digest.encode() for script in scripts for digest in (script.digest, script.flagged_digest)]


def teach(raw: redis.Redis, *names: str) -> None:
    """Load scripts, so that the first call of each has its effect."""
    for script in map(Script, names):
        raw.script_load(script.text)
        raw.script_load(script.flagged_text)


async def test_replies_of_deliveries_are_lost(
    client: Client, workers: Workers, proxy: Proxy, store: Store, raw: redis.Redis, wait_until: WaitUntil
) -> None:
    """Fault 4: every task of a lost delivery runs within five seconds, and no retry is burned."""
    wanted = digests("dequeue")
    teach(raw, "dequeue")
    dropped = 0

    def first_three(data: bytes) -> bool:
        nonlocal dropped
        hit = any(digest in data for digest in wanted) and bool(store.list("pending"))
        dropped += hit and dropped < 3
        return hit and dropped <= 3 and proxy.dropped < 3

    proxy.drop_replies(first_three)
    tasks = [Task("work", {}, TaskOptions(retention=KEPT)) for _ in range(40)]
    await client.enqueue_many(tasks)
    workers.start(url=proxy.url)
    await wait_until(lambda: proxy.dropped >= 3, 20)
    started = time.monotonic()

    await wait_until(lambda: len(store.scores("completed")) == 40, 10)
    assert time.monotonic() - started < 5
    await asyncio.to_thread(workers.stop)

    assert set(workers.runs().values()) == {1}
    assert all(store.message(task_id).retried == 0 for task_id in store.scores("completed"))
    assert not any("deaths" in store.hash(task_id) for task_id in store.scores("completed"))
    check_invariants(raw, "default")


async def test_replies_of_enqueues_are_lost(
    proxy: Proxy, store: Store, raw: redis.Redis, wait_until: WaitUntil
) -> None:
    """Fault 5: success is reported, and there is exactly one task of each."""
    wanted = digests("enqueue")
    teach(raw, "enqueue")
    seen: Counter[bool] = Counter()

    def every_other(data: bytes) -> bool:
        hit = any(digest in data for digest in wanted)
        seen[hit] += 1
        return hit and seen[True] % 2 == 1

    async with Client(proxy.url) as client:
        await client.enqueue("warm up", queue="other")
        proxy.drop_replies(every_other)
        infos = []
        for n in range(10):
            infos.append(await client.enqueue("t", {"n": n}))
            infos.append(await client.enqueue("u", {"n": n}, unique=timedelta(minutes=5)))
    assert proxy.dropped == 20
    assert sorted(store.list("pending")) == sorted(info.id for info in infos)
    check_invariants(raw, "default")


async def test_a_settlement_waits_for_the_network(
    client: Client, workers: Workers, proxy: Proxy, store: Store, raw: redis.Redis, wait_until: WaitUntil
) -> None:
    """Fault 6: the network is gone for longer than a heartbeat after the handler's success; nothing runs again."""
    workers.start(url=proxy.url, lease=6.0, heartbeat=0.5)
    info = await client.enqueue("work", {"seconds": 0.5}, retention=KEPT)
    await wait_until(lambda: workers.runs()[info.id] == 1, 20)
    proxy.cut()
    await wait_until(lambda: workers.runs("end")[info.id] == 1, 10)
    await asyncio.sleep(1.5)
    assert store.state(info.id) == "active"
    proxy.pass_on()

    await client.result(info, timeout=10)
    await asyncio.to_thread(workers.stop)

    assert workers.runs()[info.id] == 1
    assert (store.number("processed"), store.number("failed")) == (1, 0)
    check_invariants(raw, "default")


async def test_clients_race_for_one_id_and_one_lock(redis_url: str, store: Store, raw: redis.Redis) -> None:
    """Fault 14: eight clients; for each id and each lock there is exactly one winner."""
    clients = [Client(redis_url) for _ in range(8)]
    for n in range(25):
        ids = await asyncio.gather(
            *(client.enqueue("t", {"from": i}, task_id=f"id-{n}") for i, client in enumerate(clients)),
            return_exceptions=True,
        )
        locks = await asyncio.gather(
            *(client.enqueue("u", {"n": n}, unique=timedelta(minutes=5)) for client in clients),
            return_exceptions=True,
        )
        assert Counter(map(type, ids)) == {TaskInfo: 1, TaskIdTaken: 7}
        assert Counter(map(type, locks)) == {TaskInfo: 1, DuplicateTask: 7}
        (winner,) = [info for info in locks if isinstance(info, TaskInfo)]
        assert {error.holder for error in locks if isinstance(error, DuplicateTask)} == {winner.id}
    for client in clients:
        await client.close()

    assert len(store.list("pending")) == 50
    check_invariants(raw, "default")


async def test_locks_that_expire_under_a_race_have_one_holder_at_a_time(
    redis_url: str, store: Store, raw: redis.Redis
) -> None:
    """Fault 14 again: whoever wins after the lock's end is its only holder."""
    clients = [Client(redis_url) for _ in range(8)]
    winners: list[TaskInfo] = []

    async def race(client: Client) -> None:
        until = time.monotonic() + 2.5
        while time.monotonic() < until:
            try:
                winners.append(await client.enqueue("u", unique=timedelta(seconds=1)))
            except DuplicateTask:
                await asyncio.sleep(0.01)

    await asyncio.gather(*(race(client) for client in clients))
    for client in clients:
        await client.close()

    assert len(winners) == 3
    assert len(store.list("pending")) == 3
    check_invariants(raw, "default")
