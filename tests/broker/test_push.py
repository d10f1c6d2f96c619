"""Waiting for a push: nothing is polled, and the task can be had at that very moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from support.store import Store
from support.tasks import enqueue, placement
from taskflow import Broker
from taskflow.broker.connection import BLOCKING
from taskflow.broker.delivery import Done, Settled

pytestmark = pytest.mark.usefixtures("invariants_hold")


@pytest.fixture
async def blocking(redis_url: str, broker: Broker) -> AsyncIterator[Broker]:
    """A broker whose connection may be occupied."""
    waiting = Broker(redis_url, profile=BLOCKING, clock=broker.clock)
    await waiting.open()
    await broker.dequeue({"default": 1})  # the server knows the script now
    yield waiting
    await waiting.close()


async def _soon(broker: Broker, *ids: str) -> None:
    await asyncio.sleep(0.05)
    await enqueue(broker, *map(placement, ids))


async def test_a_push_ends_the_wait_and_moves_nothing(broker: Broker, blocking: Broker, store: Store) -> None:
    pushing = asyncio.create_task(_soon(broker, "a", "b"))

    assert await blocking.wait_for_push("default", seconds=5)

    await pushing
    assert store.list("pending") == ["b", "a"]


async def test_a_wait_without_a_push_ends_in_time(blocking: Broker) -> None:
    started = time.monotonic()

    assert not await blocking.wait_for_push("default", seconds=0.1)

    assert 0.05 < time.monotonic() - started < 2


async def test_the_pushed_task_is_leased_at_that_moment(broker: Broker, blocking: Broker, store: Store) -> None:
    pushing = asyncio.create_task(_soon(broker, "a", "b"))

    got = await blocking.take_at_push("default", seconds=5, owner="server:9")

    await pushing
    (delivery,) = got.deliveries
    assert (got.pushed, got.paused, delivery.id) == (True, False, "a")
    assert store.hash("a")["owner"] == b"server:9"
    assert int(store.hash("a")["started_at"]) / 1e9 == pytest.approx(time.time(), abs=5)
    assert store.list("pending") == ["b"]
    assert store.scores("lease")["a"] == delivery.expiry
    assert await broker.settle([(delivery, Done())]) == [Settled.SETTLED]


async def test_what_is_there_already_is_taken_at_once(broker: Broker, blocking: Broker) -> None:
    await enqueue(broker, placement("a"))

    got = await blocking.take_at_push("default", seconds=5, owner="server:9")

    assert [delivery.id for delivery in got.deliveries] == ["a"]
    await broker.settle([(got.deliveries[0], Done())])


async def test_without_a_push_nothing_is_taken(blocking: Broker) -> None:
    got = await blocking.take_at_push("default", seconds=0.1, owner="server:9")

    assert (got.pushed, got.paused, got.deliveries) == (False, False, [])


async def test_a_paused_queue_gives_nothing(broker: Broker, blocking: Broker, store: Store) -> None:
    await enqueue(broker, placement("a"))
    store.client.set(store.key("paused"), 1)

    got = await blocking.take_at_push("default", seconds=5, owner="server:9")

    assert (got.pushed, got.paused, got.deliveries) == (True, True, [])
    assert store.list("pending") == ["a"]


async def test_of_two_that_wait_one_gets_the_task(redis_url: str, broker: Broker, blocking: Broker) -> None:
    other = Broker(redis_url, profile=BLOCKING, clock=broker.clock)
    await other.open()
    waiting = [asyncio.create_task(one.take_at_push("default", seconds=1, owner="s:1")) for one in (blocking, other)]

    await _soon(broker, "a")

    taken = [delivery for got in await asyncio.gather(*waiting) for delivery in got.deliveries]
    assert [delivery.id for delivery in taken] == ["a"]
    await broker.settle([(taken[0], Done())])
    await other.close()
