"""Subscriptions: one connection hears for many listeners, and hears again after each loss."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from conftest import WaitUntil
from support.proxy import Proxy
from taskflow.broker.subscriptions import Listener, Subscriptions


@pytest.fixture
async def subscriptions(redis_url: str) -> AsyncIterator[Subscriptions]:
    subscriptions = Subscriptions(redis_url)
    yield subscriptions
    await subscriptions.close()


def connections(raw: Any) -> list[dict[str, Any]]:
    clients: Any = raw.client_list()
    return [client for client in clients if client["name"] == "taskflow-pubsub"]


def subscribers(raw: Any, *channels: str) -> list[int]:
    counts: Any = raw.pubsub_numsub(*channels)
    return [count for _, count in counts]


async def hear(listener: Listener, count: int = 1) -> list[bytes]:
    """Wait for messages: a listener may also be woken without any."""
    heard: list[bytes] = []
    async with asyncio.timeout(5):
        while len(heard) < count:
            heard += await listener.wait(5)
    return heard


async def test_a_listener_hears_its_channels_and_no_others(subscriptions: Subscriptions, raw: Any) -> None:
    async with subscriptions.listen("a", "b") as both, subscriptions.listen("b") as one:
        for channel in ("a", "b", "c"):
            raw.publish(channel, f"to {channel}")

        assert await hear(both, 2) == [b"to a", b"to b"]
        assert await hear(one) == [b"to b"]
        assert await one.wait(0.01) == []


async def test_one_connection_serves_all_listeners(subscriptions: Subscriptions, raw: Any) -> None:
    async with subscriptions.listen("a"), subscriptions.listen("b"), subscriptions.listen("a"):
        assert len(connections(raw)) == 1
        assert subscribers(raw, "a", "b") == [1, 1]


async def test_a_channel_without_listeners_is_left(
    subscriptions: Subscriptions, raw: Any, wait_until: WaitUntil
) -> None:
    async with subscriptions.listen("a"):
        async with subscriptions.listen("a", "b"):
            pass
        await wait_until(lambda: subscribers(raw, "a", "b") == [1, 0])
    await wait_until(lambda: subscribers(raw, "a", "b") == [0, 0])

    async with subscriptions.listen("a") as again:
        raw.publish("a", "hello")
        assert await hear(again) == [b"hello"]


async def test_a_killed_connection_comes_back_and_wakes_the_listeners(subscriptions: Subscriptions, raw: Any) -> None:
    async with subscriptions.listen("a") as first, subscriptions.listen("b") as second:
        raw.execute_command("CLIENT", "KILL", "ID", connections(raw)[0]["id"])

        started = time.monotonic()
        assert await first.wait(5) == []
        assert await second.wait(5) == []
        assert time.monotonic() - started < 2
        assert subscribers(raw, "a", "b") == [1, 1]
        raw.publish("b", "after")
        assert await hear(second) == [b"after"]
        assert len(connections(raw)) == 1


async def test_who_began_to_listen_during_an_outage_hears_afterwards(redis_url: str, raw: Any) -> None:
    async with Proxy(redis_url) as proxy:
        subscriptions = Subscriptions(proxy.url)
        async with subscriptions.listen("a") as before:
            proxy.cut()
            async with subscriptions.listen("b") as during:
                proxy.pass_on()
                assert await during.wait(8) == []
                assert await before.wait(8) == []
                raw.publish("a", "to a")
                raw.publish("b", "to b")
                assert await hear(before) == [b"to a"]
                assert await hear(during) == [b"to b"]
        await subscriptions.close()


async def test_an_outage_at_the_first_listener(redis_url: str, raw: Any) -> None:
    async with Proxy(redis_url) as proxy:
        proxy.cut()
        subscriptions = Subscriptions(proxy.url)
        async with subscriptions.listen("a") as listener:
            assert await listener.wait(0.05) == []
            proxy.pass_on()
            assert await listener.wait(8) == []
            raw.publish("a", "hello")
            assert await hear(listener) == [b"hello"]
        await subscriptions.close()


async def test_what_is_missed_is_bounded(subscriptions: Subscriptions) -> None:
    async with subscriptions.listen("a") as listener:
        for i in range(20_000):
            listener.notify(b"%d" % i)

        heard = await listener.wait(1)

    assert len(heard) == 10_000
    assert heard[-1] == b"19999"


async def test_closing_wakes_nobody_for_ever(redis_url: str) -> None:
    subscriptions = Subscriptions(redis_url)
    async with subscriptions.listen("a") as listener:
        waiting = asyncio.create_task(listener.wait(0.05))
        await subscriptions.close()
        assert await waiting == []


async def test_a_listener_that_is_cancelled_while_it_connects_ends_and_leaves_no_connection(redis_url: str) -> None:
    """At whatever step of connecting it is cancelled; the fixture of the URL looks for connections left."""

    async def listen(subscriptions: Subscriptions) -> None:
        async with subscriptions.listen("news") as listener:
            await listener.wait()

    for steps in range(60):
        subscriptions = Subscriptions(redis_url)
        listening = asyncio.create_task(listen(subscriptions))
        for _ in range(steps):
            await asyncio.sleep(0)
        listening.cancel()
        async with asyncio.timeout(5):
            await asyncio.wait([listening])
        await subscriptions.close()

        assert listening.cancelled(), f"after {steps} steps"
