"""Progress streams and the catalog of task types, as they stand in Redis."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from taskflow import Broker
from taskflow.broker.catalog import TaskCatalog, TaskType
from taskflow.broker.progress import ProgressStream
from taskflow.task import Progress


def entry(percentage: float, metadata: dict[str, Any] | None = None) -> Progress:
    return Progress(task_id="a", percentage=percentage, stage="s", message="m", timestamp_ms=7, metadata=metadata)


async def test_progress_is_read_as_it_was_published(broker: Broker, raw: Any) -> None:
    stream = ProgressStream(broker, seconds=100)
    await stream.publish(entry(12.5, metadata={"n": [1, "é"]}))
    await stream.publish(entry(100), status="completed")

    first, last = await stream.history("a")

    assert first.progress == entry(12.5, metadata={"n": [1, "é"]})
    assert (first.is_final, first.status) == (False, None)
    assert last.progress == entry(100)
    assert (last.is_final, last.status) == (True, "completed")
    assert await stream.latest("a") == last
    assert await stream.history("a", after=first.stream_id) == [last]
    assert await stream.history("a", count=1) == [first]
    assert await stream.length("a") == 2
    assert 98 <= raw.ttl("progress:a") <= 100


async def test_a_percentage_is_whole_for_readers_that_know_no_others(broker: Broker, raw: Any) -> None:
    await ProgressStream(broker).publish_all([(entry(12.5), None), (entry(13), None)])

    (_, half), (_, whole) = raw.xrange("progress:a")

    assert (half[b"percentage"], half[b"percentage_exact"]) == (b"12", b"12.5")
    assert (whole[b"percentage"], b"percentage_exact" in whole) == (b"13", False)


async def test_a_stream_keeps_about_so_many_entries(broker: Broker) -> None:
    stream = ProgressStream(broker, entries=50)
    await stream.publish_all([(entry(n / 10), None) for n in range(1000)])

    assert 50 <= await stream.length("a") < 300
    latest = await stream.latest("a")
    assert latest is not None
    assert latest.progress.percentage == pytest.approx(99.9)


async def test_progress_wakes_who_follows_it(broker: Broker, raw: Any) -> None:
    with raw.pubsub() as channel:
        channel.subscribe("taskflow:progress:a")
        channel.get_message(timeout=1)

        await ProgressStream(broker).publish(entry(1))

        message = channel.get_message(timeout=1)
    assert message is not None


async def test_nothing_published(broker: Broker) -> None:
    stream = ProgressStream(broker)

    assert await stream.latest("a") is None
    assert await stream.history("a") == []
    assert await stream.length("a") == 0


async def test_entries_of_strangers_are_read_as_far_as_they_go(broker: Broker, raw: Any) -> None:
    raw.xadd("progress:a", {"percentage": "half", "metadata": "{", "timestamp_ms": "now", b"\xff": b"\xff"})
    raw.xadd("progress:a", {"status": "completed"})

    first, second = await ProgressStream(broker).history("a")

    assert (first.progress.percentage, first.progress.metadata) == (0.0, None)
    assert second.status is None


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e400", "1e300"])
async def test_numbers_that_are_none_break_no_reader(broker: Broker, raw: Any, number: str) -> None:
    raw.xadd("progress:a", {"percentage": number, "timestamp_ms": number})

    (found,) = await ProgressStream(broker).history("a")

    assert found.progress.percentage in {0.0, 1e300}
    assert found.progress.timestamp_ms == 0


async def test_the_catalog_finds_the_exact_type_then_the_longest_prefix(broker: Broker) -> None:
    catalog = TaskCatalog(broker)
    now = datetime(2026, 1, 31, tzinfo=UTC)
    types = [
        TaskType(type="image:", prefix=True, doc="all images"),
        TaskType(type="image:resize", schema={"type": "object"}, queue="slow", max_retries=3, timeout_seconds=1.5),
        TaskType(type="image:r", prefix=True, last_seen=now),
    ]
    await catalog.publish(types)
    await catalog.publish([])

    assert [one.type for one in await catalog.types()] == ["image:", "image:r", "image:resize"]
    found = [await catalog.find(f"image:{name}") for name in ("resize", "rotate", "crop")]
    assert [entry and entry.id for entry in found] == [types[1].id, types[2].id, types[0].id]
    assert await catalog.find("video:crop") is None


async def test_the_catalog_reads_past_strangers(broker: Broker, raw: Any) -> None:
    await TaskCatalog(broker).publish([TaskType(type="a")])
    raw.hset("taskflow:types", "b", "{no json")

    assert [one.type for one in await TaskCatalog(broker).types()] == ["a"]
