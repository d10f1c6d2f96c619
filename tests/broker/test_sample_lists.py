"""What is remembered of samples is what a first look sees, whatever happened in between; only what is new is read."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import redis

from support.clock import MovableClock, StandingClock
from support.tasks import enqueue, placement
from taskflow import Broker, Inspector
from taskflow.broker import sample_lists
from taskflow.broker.delivery import Done
from taskflow.broker.sample_lists import RESOLUTIONS, Sample, SampleLists, Span
from taskflow.broker.samples import Samples
from taskflow.wire.keys import SAMPLES_TURN

QUEUES = ("default", "other")
KEY = "taskflow:{default}:samples:1h"


class History:
    """Makes the past of some queues, at random."""

    def __init__(self, broker: Broker, clock: MovableClock, raw: Any) -> None:
        self.broker = broker
        self.dice = random.Random()
        self._clock = clock
        self._raw = raw
        self._tasks = 0

    async def go_on(self, step: int) -> None:
        """Let something happen, or nothing, and some steps (s) pass; then take a sample, unless nobody is there to do it."""
        queue = self.dice.choice(QUEUES)
        match self.dice.choice(["process", "enqueue", "begin anew", "remove", *["idle"] * 8]):
            case "process":
                await self.process(queue)
            case "enqueue":
                await self._enqueue(queue)
            case "begin anew" if self.dice.random() < 0.2:
                self._raw.delete(f"asynq:{{{queue}}}:processed")
            case "remove" if self.dice.random() < 0.2:
                await Inspector(self.broker).remove_queue(queue, force=True)
                await self.process(queue)
            case _:
                pass
        self._clock.advance(step * self.dice.choice([0.1, 0.2, 0.4, 0.6, 0.9, 1, 1, 1.1, 1.2, 2.4, 2.6, 50]))
        self._raw.delete(SAMPLES_TURN)
        if self.dice.random() < 0.6:
            await Samples(self.broker).take()

    async def process(self, queue: str) -> None:
        """Let the queue be idle: some tasks come, and nothing is left."""
        for _ in range(self.dice.randint(1, 3)):
            await self._enqueue(queue)
        deliveries = await self.broker.dequeue({queue: 100}, owner="server:1")
        await self.broker.settle([(one, Done()) for one in deliveries])

    async def _enqueue(self, queue: str) -> None:
        self._tasks += 1
        await enqueue(self.broker, placement(f"{self._tasks}", queue=queue))


@pytest.fixture
async def history(redis_url: str, raw: redis.Redis) -> AsyncIterator[History]:
    clock = StandingClock()
    broker = Broker(redis_url, clock=clock)
    yield History(broker, clock, raw)
    await broker.close()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("span", RESOLUTIONS)
async def test_what_is_remembered_is_what_a_first_look_sees(history: History, span: Span, seed: int) -> None:
    dice = history.dice
    dice.seed(seed)
    old = Samples(history.broker)
    for queue in QUEUES:
        await history.process(queue)

    for step in range(300):
        await history.go_on(RESOLUTIONS[span].step)
        if dice.random() < 0.1:
            continue  # nobody looks
        new = Samples(history.broker)
        assert await old.total(QUEUES, span) == await new.total(QUEUES, span), step
        assert await old.recent(QUEUES, 600) == await new.recent(QUEUES, 600), step
        assert await old.read(QUEUES, span) == await new.read(QUEUES, span), step


def records(count: int, *, since: float, step: int = 10) -> list[bytes]:
    return [msgspec.msgpack.encode(Sample(int((since + i * step) * 1000), 0, i, 0, 0, 0, 0)) for i in range(count)]


async def test_what_is_known_is_not_read_again(broker: Broker, clock: MovableClock, raw: Any) -> None:
    lists = SampleLists(broker)
    written = records(300, since=clock.now() - 3000)
    raw.rpush(KEY, *written)
    first = await lists.read(["default"], "1h")
    raw.lset(KEY, 0, b"what nobody looks at any more")
    clock.advance(10)
    raw.rpush(KEY, *records(1, since=clock.now()))

    second = await lists.read(["default"], "1h")

    assert list(second["default"][:300]) == list(first["default"])
    assert len(second["default"]) == 301
    assert lists.replaced == 1, "the first look"


async def test_of_what_is_recent_no_more_is_read(broker: Broker, clock: MovableClock, raw: Any) -> None:
    lists = SampleLists(broker)
    raw.rpush(KEY, *records(300, since=clock.now() - 3000))

    assert len((await lists.read(["default"], "1h", most=62))["default"]) == 62
    assert len((await lists.read(["default"], "1h", most=62))["default"]) == 62
    assert len((await lists.read(["default"], "1h"))["default"]) == 300
    assert len((await lists.read(["default"], "1h", most=62))["default"]) == 300


async def test_a_list_that_does_not_go_on_from_what_is_known_is_read_anew(
    broker: Broker, clock: MovableClock, raw: Any
) -> None:
    lists = SampleLists(broker)
    raw.rpush(KEY, *records(100, since=clock.now() - 1000))
    await lists.read(["default"], "1h")
    raw.delete(KEY)
    raw.rpush(KEY, *records(50, since=clock.now() + 1))

    found = await lists.read(["default"], "1h")

    assert [sample.processed for sample in found["default"]] == list(range(50))
    assert lists.replaced == 2


async def test_lists_are_bounded_and_so_is_how_many_are_remembered(
    broker: Broker, clock: MovableClock, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_lists, "REMEMBERED", 1)
    lists = SampleLists(broker)
    raw.rpush(KEY, *records(360, since=clock.now() - 3600))
    await lists.read(["default", "other"], "1h")
    for _ in range(5):
        clock.advance(10)
        raw.rpush(KEY, *records(1, since=clock.now()))
        raw.ltrim(KEY, -360, -1)
        found = await lists.read(["default", "other"], "1h")

    assert list(map(len, found.values())) == [360, 0]
    assert list(lists._known) == [("default", "1h")]
    clock.advance(3600)
    await lists.read([], "1h")
    assert not lists._known
