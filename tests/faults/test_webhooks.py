"""Webhooks while workers die: no end goes untold, and each is told under one id, however often."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import redis

from conftest import WaitUntil
from support.invariants import check_invariants
from support.receiver import Receiver, receiving
from taskflow import Client, Task, TaskOptions
from taskflow.task import TaskInfo
from taskflow.webhooks import verify
from taskflow.wire.keys import queue_keys

if TYPE_CHECKING:
    from faults.conftest import Workers

SECRET = "a secret of the tests"  # noqa: S105 - of the tests
OUTBOX = queue_keys("default").outbox


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def told(receiver: Receiver) -> dict[str, set[str]]:
    """The ids of the deliveries that told of each task."""
    found: dict[str, set[str]] = {}
    for request in list(receiver.requests):
        event = verify(request.body, request.headers["taskflow-signature"], SECRET)
        found.setdefault(event["task"]["task_id"], set()).add(event["id"])
    return found


async def test_a_worker_that_dies_right_after_the_end_of_its_task_loses_no_webhook(
    client: Client, workers: Workers, receiver: Receiver, raw: redis.Redis, wait_until: WaitUntil
) -> None:
    await client.enqueue("work", {}, task_id="a", callback_url=receiver.url)
    victim = workers.start(die_at="settled", webhooks=SECRET)
    await wait_until(lambda: victim.poll() is not None, 20)
    assert raw.hlen(OUTBOX) == 1
    assert not raw.exists("asynq:{default}:t:a")

    workers.start(webhooks=SECRET)
    await wait_until(lambda: receiver.requests, 20)
    await wait_until(lambda: raw.zcard("asynq:{webhooks}:completed") == 1)
    await asyncio.to_thread(workers.stop)

    assert len(told(receiver)["a"]) == 1
    assert not raw.exists(OUTBOX)
    check_invariants(raw)


@pytest.mark.slow
async def test_workers_killed_at_random_lose_no_webhook(
    client: Client, workers: Workers, receiver: Receiver, raw: redis.Redis, wait_until: WaitUntil
) -> None:
    """Two workers, 200 tasks, a `kill -9` about every 0.6 s."""
    count = 200
    tasks = [
        Task("work", {"seconds": 0.05}, TaskOptions(task_id=f"{n}", callback_url=receiver.url)) for n in range(count)
    ]
    assert all(isinstance(answer, TaskInfo) for answer in await client.enqueue_many(tasks))
    options: dict[str, Any] = {"lease": 1.0, "heartbeat": 0.25, "grace": 0.5, "concurrency": 4, "webhooks": SECRET}
    workers.start(**options)
    workers.start(**options)
    await wait_until(lambda: len(receiver.requests) > 5, 30)
    dice = random.Random(7)
    killed, until = 0, time.monotonic() + 2
    while time.monotonic() < until:
        dice.choice(workers.alive()).kill()
        killed += 1
        workers.start(**options)
        await asyncio.sleep(0.6)

    await wait_until(lambda: len(told(receiver)) == count, 60)
    await asyncio.to_thread(workers.stop)

    assert killed >= 3
    assert {len(ids) for ids in told(receiver).values()} == {1}
    check_invariants(raw)
