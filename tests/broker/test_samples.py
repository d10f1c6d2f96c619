"""Samples: each step of time is sampled once, in bounded lists; what nobody sampled is a gap; rates come from asynq's counters."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
import redis

from support.clock import MovableClock
from support.tasks import enqueue, placement, taken
from taskflow import Broker, Inspector
from taskflow.broker.delivery import Done, Retry
from taskflow.broker.sample_lists import RESOLUTIONS, Sample
from taskflow.broker.samples import Samples, series
from taskflow.errors import InvalidOption, QueueNotFound
from taskflow.wire.keys import SAMPLES_TURN

pytestmark = pytest.mark.usefixtures("invariants_hold")

KEY = "taskflow:{default}:samples:"


class Sampling:
    """Lets time pass from the beginning of a two-hour step on, with a sample every ten seconds."""

    def __init__(self, broker: Broker, clock: MovableClock, raw: Any) -> None:
        self.samples = Samples(broker)
        self.clock = clock
        self._raw = raw
        clock.advance(7200 - clock.now() % 7200 + 1)

    async def take(self, *, after: float = 0) -> int:
        """Take the next sample, `after` s; the turn, whose time is the server's, is given up."""
        self.clock.advance(after)
        self._raw.delete(SAMPLES_TURN)
        return await self.samples.take()

    def time(self) -> datetime:
        """What the clock says."""
        return datetime.fromtimestamp(self.clock.now(), UTC)

    def kept(self, span: str = "1h", queue: str = "default") -> list[list[int]]:
        """What is kept, without the times."""
        records = self._raw.lrange(f"taskflow:{{{queue}}}:samples:{span}", 0, -1)
        return [msgspec.msgpack.decode(record)[2:] for record in records]


@pytest.fixture
def sampling(broker: Broker, clock: MovableClock, raw: redis.Redis) -> Sampling:
    return Sampling(broker, clock, raw)


async def process(broker: Broker, *names: str, failing: int = 0) -> None:
    """Process tasks; the first `failing` of them fail."""
    deliveries = await taken(broker, *(placement(name) for name in names))
    outcomes = [Retry(4e9, "no") if i < failing else Done() for i in range(len(names))]
    await broker.settle(list(zip(deliveries, outcomes, strict=True)))


def near(found: Sequence[float | None], *expected: float | None) -> bool:
    """Whether rates are as expected, though the test's own commands take their time."""
    return all(
        one is two if two is None else one == pytest.approx(two, rel=0.2)
        for one, two in zip(found, expected, strict=True)
    )


# -- taking -----------------------------------------------------------------------------------------------------------


async def test_a_sample_holds_totals_backlog_and_the_age_of_the_oldest(broker: Broker, sampling: Sampling) -> None:
    await process(broker, "a", "b", "c", failing=1)
    await enqueue(broker, placement("d"), placement("e"))
    await broker.dequeue({"default": 1}, owner="server:1")

    assert await sampling.take(after=3) == 1

    (processed, failed, pending, active, age) = sampling.kept()[0]
    assert (processed, failed, pending, active) == (3, 1, 1, 1)
    assert 3000 <= age < 4000
    assert sampling.kept("24h") == sampling.kept("30d") == sampling.kept()


async def test_of_many_samplers_one_samples_each_step(broker: Broker, redis_url: str, sampling: Sampling) -> None:
    await enqueue(broker, placement("a"), placement("b", queue="other"))
    others = [Broker(redis_url, clock=sampling.clock) for _ in range(5)]

    taken_by = await asyncio.gather(*(Samples(one).take() for one in (broker, *others)))

    assert sorted(taken_by) == [0, 0, 0, 0, 0, 2]
    for other in others:
        await other.close()


async def test_a_step_has_one_sample_though_its_turn_was_lost(broker: Broker, sampling: Sampling) -> None:
    """After a failover the turn may be gone; a clock may have been set back."""
    await enqueue(broker, placement("a"))
    assert await sampling.take() == 1

    assert await sampling.take(after=5) == 0
    assert await sampling.take(after=-30) == 0
    assert await sampling.take(after=35) == 1


async def test_an_idle_queue_has_one_record(broker: Broker, sampling: Sampling) -> None:
    await process(broker, "a")

    for _ in range(50):
        await sampling.take(after=10)

    assert [len(sampling.kept(span)) for span in RESOLUTIONS] == [1, 1, 1]


async def test_lists_are_bounded_and_expire(broker: Broker, sampling: Sampling, raw: Any) -> None:
    for i in range(0, 400, 2):
        await enqueue(broker, placement(f"t{i}"))
        await sampling.take(after=10)
        await broker.dequeue({"default": 1})
        await sampling.take(after=10)

    assert len(sampling.kept("1h")) == 360
    assert len(sampling.kept("24h")) == 14
    assert len(sampling.kept("30d")) == 1
    for span, (step, points) in RESOLUTIONS.items():
        assert points * step < raw.ttl(KEY + span) <= (points + 2) * step


async def test_a_coarse_step_keeps_its_peak(broker: Broker, sampling: Sampling) -> None:
    await process(broker, "a")
    await sampling.take()
    await enqueue(broker, *(placement(f"p{i}") for i in range(7)))
    await sampling.take(after=10)
    await broker.dequeue({"default": 7})
    await sampling.take(after=10)

    (day,) = sampling.kept("24h")
    assert day[:4] == [1, 0, 7, 7]
    assert 9_900 <= day[4] < 11_000


async def test_an_idle_time_that_ends_within_a_coarse_step_ends_at_its_begin(
    broker: Broker, sampling: Sampling
) -> None:
    await process(broker, "a")
    for _ in range(45):
        await sampling.take(after=10)
    await process(broker, *(f"b{i}" for i in range(30)))
    await sampling.take(after=10)

    assert [record[0] for record in sampling.kept("24h")] == [1, 31]
    found = (await sampling.samples.read(["default"], "24h"))["default"]
    assert near(found.processed[-2:], None, 0.19)


async def test_other_kinds_of_values_hide_nothing(broker: Broker, sampling: Sampling, raw: Any) -> None:
    await enqueue(broker, placement("a"), placement("b", queue="other"))
    raw.set(KEY + "1h", "another kind")
    raw.rpush(KEY + "24h", "no sample")
    raw.rpush("asynq:{default}:processed", "another kind")

    assert await sampling.take() == 2

    assert sampling.kept() == [[0, 0, 1, 0, sampling.kept()[0][4]]]
    found = (await sampling.samples.read(["default"], "24h"))["default"]
    assert found.pending[-1] == 1
    raw.delete("asynq:{default}:processed")


async def test_a_removed_queue_leaves_no_samples(
    broker: Broker, inspector: Inspector, sampling: Sampling, raw: redis.Redis
) -> None:
    await process(broker, "a")
    await sampling.take()

    await inspector.remove_queue("default")
    raw.sadd("asynq:queues", "default")  # a sampler has read its name just before

    assert await sampling.take(after=10) == 0
    assert not list(raw.scan_iter(match="*samples:*h"))
    await enqueue(broker, placement("b"))
    assert await sampling.take() == 1


# -- reading ----------------------------------------------------------------------------------------------------------


async def test_rates_are_what_was_counted_in_the_time_between(broker: Broker, sampling: Sampling) -> None:
    await process(broker, "a")
    await sampling.take()
    await process(broker, *(f"b{i}" for i in range(20)), failing=5)
    await sampling.take(after=10)
    await sampling.take(after=10)

    found = (await sampling.samples.read(["default"], "1h"))["default"]

    assert len(found.processed) == 360
    assert near(found.processed[-4:], None, None, 2.0, 0.0)
    assert near(found.failed[-3:], None, 0.5, 0.0)
    assert found.pending[-4:] == (None, 0, 0, 0)
    assert found.start + 359 * found.step <= sampling.time() < found.start + 360 * found.step


async def test_what_nobody_sampled_is_a_gap(broker: Broker, sampling: Sampling) -> None:
    await enqueue(broker, placement("a"))
    await sampling.take()
    await sampling.take(after=10)
    await broker.settle([(delivery, Done()) for delivery in await broker.dequeue({"default": 1})])
    await sampling.take(after=60)

    found = (await sampling.samples.read(["default"], "1h"))["default"]

    assert found.pending[-9:] == (None, 1, 1, None, None, None, None, None, 0)
    assert found.processed[-9:] == (None, None, 0.0, None, None, None, None, None, None)


async def test_queues_add_up(broker: Broker, inspector: Inspector, sampling: Sampling) -> None:
    await enqueue(broker, placement("a"), placement("b", queue="other"), placement("c", queue="other"))
    await sampling.take()
    await sampling.take(after=10)

    total = await inspector.total_samples("1h")
    each = await inspector.samples(["default", "other"], "1h")

    assert total.pending[-3:] == (None, 3, 3)
    assert {queue: found.pending[-1] for queue, found in each.items()} == {"default": 1, "other": 2}
    assert total.latency[-1] == max(found.latency[-1] or 0 for found in each.values())
    assert total.processed[-2:] == (None, 0.0)


async def test_counters_that_began_anew_are_no_negative_rate(broker: Broker, sampling: Sampling, raw: Any) -> None:
    await process(broker, "a", "b")
    await sampling.take()
    raw.delete("asynq:{default}:processed")
    await process(broker, "c")
    await sampling.take(after=10)

    found = (await sampling.samples.read(["default"], "1h"))["default"]

    assert found.processed[-2:] == (None, None)
    assert found.pending[-2:] == (0, 0)


async def test_samples_that_there_are_none_of(broker: Broker, inspector: Inspector) -> None:
    await enqueue(broker, placement("a"))

    with pytest.raises(InvalidOption, match="1h, 24h, 30d"):
        await inspector.samples(["default"], "1y")
    with pytest.raises(InvalidOption, match="span"):
        await inspector.total_samples("")
    with pytest.raises(QueueNotFound):
        await inspector.samples(["nowhere"], "1h")
    assert set((await inspector.total_samples("30d")).pending) == {None}
    assert await inspector.samples([], "1h") == {}


def test_samples_outside_the_span_are_left_out() -> None:
    now = 1_000_000.0
    old = Sample(int((now - 4000) * 1000), 0, 1, 0, 9, 0, 0)
    across = Sample(int((now - 3700) * 1000), 200_000, 1, 0, 5, 0, 0)
    ahead = Sample(int((now + 100) * 1000), 0, 1, 0, 7, 0, 0)

    found = series("1h", [[old, across, ahead]], now)

    assert {value for value in found.pending if value is not None} == {5}
    assert found.pending[0] == 5
