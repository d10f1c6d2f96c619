"""Periodic tasks in Redis: what is kept, what is known of each, and the records for asynq's tools."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from support.clock import MovableClock
from taskflow import Broker, InvalidOption, ScheduleEntry, ScheduleNotFound, ScheduleStore, Task, TaskOptions
from taskflow.broker.schedule_entry import Fired, ScheduleEvent
from taskflow.broker.schedules import EVENTS, RECORD_SECONDS
from taskflow.wire import asynq_pb2
from taskflow.wire.keys import ALL_SCHEDULERS, SCHEDULE_HISTORY, SCHEDULE_NEWS, SCHEDULER_KEY, SCHEDULES

FULL = ScheduleEntry(
    id="nightly",
    spec="0 3 * * *",
    type="report:build",
    payload=b'{"days":1}',
    timezone="Europe/Berlin",
    queue='lo"w',
    max_retries=3,
    timeout=timedelta(minutes=5),
    retention=timedelta(hours=1),
    unique=timedelta(seconds=90),
    headers={"trace": "abc"},
    missed="all",
    catch_up=7,
    jitter=timedelta(seconds=30),
)
TICK = ScheduleEntry(id="tick", spec="@every 10s", type="tick")


@pytest.fixture
def schedules(broker: Broker) -> ScheduleStore:
    return ScheduleStore(broker)


def now(broker: Broker) -> datetime:
    return datetime.fromtimestamp(broker.clock.now(), UTC)


async def until_of(schedules: ScheduleStore, entry_id: str) -> datetime:
    return (await schedules.snapshot()).fired[entry_id].until


# -- entries ----------------------------------------------------------------------------------------------------------


async def test_an_entry_comes_back_as_it_was(schedules: ScheduleStore) -> None:
    await schedules.put(FULL)
    await schedules.put(TICK)

    assert await schedules.entries() == [FULL, TICK]


async def test_deleting_leaves_nothing(schedules: ScheduleStore, broker: Broker, raw: Any) -> None:
    await schedules.put(TICK)
    await schedules.pause("tick")
    await schedules.record("tick", [ScheduleEvent(task_id="tick:1", at=now(broker))])

    await schedules.delete("tick")

    assert raw.keys("*") == []
    with pytest.raises(ScheduleNotFound, match="tick"):
        await schedules.delete("tick")


async def test_every_change_is_told(schedules: ScheduleStore, raw: Any) -> None:
    with raw.pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe(SCHEDULE_NEWS)
        channel.get_message(timeout=5)
        await schedules.put(TICK)
        await schedules.pause("tick")
        await schedules.resume("tick")
        await schedules.delete("tick")
        heard: list[Any] = [channel.get_message(timeout=5) for _ in range(4)]

    assert [message["data"] for message in heard] == [b"tick"] * 4


async def test_what_cannot_be_read_is_named_and_left_out(schedules: ScheduleStore, raw: Any) -> None:
    await schedules.put(TICK)
    raw.hset(SCHEDULES, mapping={"garbage": b"\xff", "refused": '{"id":"x","spec":"@daily","type":"t","queue":"a b"}'})

    snapshot = await schedules.snapshot()

    assert list(snapshot.stored) == ["tick"]
    assert snapshot.unreadable == ("garbage", "refused")


@pytest.mark.parametrize(
    ("change", "option"),
    [
        ({"id": ""}, "id"),
        ({"id": "a\nb"}, "id"),
        ({"id": "x" * 129}, "id"),
        ({"spec": "* * *"}, "spec"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"type": " "}, "type"),
        ({"queue": "a b"}, "queue"),
        ({"max_retries": -1}, "max_retries"),
        ({"unique": timedelta(milliseconds=1)}, "unique"),
        ({"missed": "some"}, "missed"),
        ({"catch_up": 0}, "catch_up"),
        ({"catch_up": 10_001}, "catch_up"),
        ({"jitter": timedelta(seconds=-1)}, "jitter"),
    ],
)
def test_what_cannot_be_used_is_refused(change: dict[str, Any], option: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        ScheduleEntry(**{"id": "a", "spec": "@daily", "type": "t", **change})

    assert refused.value.option == option


@pytest.mark.parametrize(
    "options",
    [
        {"task_id": "x"},
        {"process_in": timedelta(1)},
        {"process_at": datetime.now(UTC)},
        {"deadline": datetime.now(UTC)},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_of_a_single_task_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match="periodic"):
        ScheduleEntry.of(Task("t", options=TaskOptions(**options)), "@daily", id="a")


# -- what is done with ------------------------------------------------------------------------------------------------


async def test_a_new_entry_and_a_new_rule_count_from_now(
    schedules: ScheduleStore, broker: Broker, clock: MovableClock
) -> None:
    await schedules.put(TICK)
    first = await until_of(schedules, "tick")
    clock.advance(100)
    await schedules.put(ScheduleEntry(id="tick", spec="@every 10s", type="other"))
    assert await until_of(schedules, "tick") == first

    await schedules.put(ScheduleEntry(id="tick", spec="@every 20s", type="other"))
    assert await until_of(schedules, "tick") >= first + timedelta(seconds=100)

    clock.advance(100)
    await schedules.delete("tick")
    await schedules.note_fired({"tick": Fired(first)})  # a scheduler that had not heard of it yet
    await schedules.put(TICK)
    assert await until_of(schedules, "tick") >= first + timedelta(seconds=200)


async def test_resuming_counts_from_now_but_only_after_a_pause(schedules: ScheduleStore, clock: MovableClock) -> None:
    await schedules.put(TICK)
    first = await until_of(schedules, "tick")
    clock.advance(100)
    await schedules.resume("tick")
    assert await until_of(schedules, "tick") == first

    await schedules.pause("tick")
    assert (await schedules.snapshot()).paused == {"tick"}
    await schedules.resume("tick")
    assert not (await schedules.snapshot()).paused
    assert await until_of(schedules, "tick") >= first + timedelta(seconds=100)


async def test_what_was_fired_last_survives_a_pause(schedules: ScheduleStore, broker: Broker) -> None:
    await schedules.put(TICK)
    moment = datetime(2026, 1, 31, 9, 0, 0, 123456, tzinfo=UTC)
    await schedules.note_fired({"tick": Fired(moment, moment)})

    await schedules.pause("tick")
    await schedules.resume("tick")

    (state,) = (await schedules.snapshot()).states({}, now=now(broker)).values()
    assert state.last_fired == moment
    assert state.origin == "redis"


async def test_garbage_among_the_times_counts_as_nothing_known(schedules: ScheduleStore, raw: Any) -> None:
    raw.hset("taskflow:schedules:fired", mapping={"a": "soon", "b": "", "c": "1e99", "d": "5 x"})

    assert (await schedules.snapshot()).fired == {}


# -- events -----------------------------------------------------------------------------------------------------------


async def test_events_are_the_newest_ones_newest_first_and_written_once(schedules: ScheduleStore, raw: Any) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    events = [ScheduleEvent(task_id=f"tick:{n}", at=start + timedelta(seconds=n)) for n in range(EVENTS + 5)]
    for _ in range(2):
        await schedules.record("tick", events)

    assert raw.zcard(SCHEDULE_HISTORY + "tick") == EVENTS
    assert await schedules.events("tick", size=2) == [events[-1], events[-2]]
    assert await schedules.events("tick", page=1, size=2) == [events[-3], events[-4]]
    assert await schedules.events("nobody") == []


async def test_an_event_that_cannot_be_read_is_left_out(schedules: ScheduleStore, raw: Any) -> None:
    event = ScheduleEvent(task_id="a", at=datetime(2026, 1, 1, tzinfo=UTC))
    await schedules.record("tick", [event])
    raw.zadd(SCHEDULE_HISTORY + "tick", {b"\xff\xff": 1})

    assert await schedules.events("tick") == [event]


# -- records ----------------------------------------------------------------------------------------------------------


async def test_entries_in_redis_have_one_list_and_those_of_each_program_another(
    schedules: ScheduleStore, broker: Broker, raw: Any, clock: MovableClock
) -> None:
    await schedules.put(FULL)
    snapshot = await schedules.snapshot()
    for own in ({"tick": TICK}, {"tick": TICK}, {}):
        await schedules.publish(snapshot.states(own, now=now(broker)).values())

    lists = [raw.lrange(key, 0, -1) for key in sorted(raw.zrange(ALL_SCHEDULERS, 0, -1))]
    ids = [[asynq_pb2.SchedulerEntry.FromString(data).id for data in records] for records in lists]
    assert sorted(ids) == [["nightly"], ["tick"]]
    assert 0 < raw.ttl(SCHEDULER_KEY) <= RECORD_SECONDS
    assert set((await schedules.snapshot()).code) == {"tick"}
    assert await schedules.asynq_entries() == []

    clock.advance(RECORD_SECONDS + 2)
    assert (await schedules.snapshot()).code == {}
    await schedules.publish([])
    assert raw.zrange(ALL_SCHEDULERS, 0, -1) == [SCHEDULER_KEY.encode()]


async def test_a_record_says_what_asynq_needs(schedules: ScheduleStore, broker: Broker, raw: Any) -> None:
    await schedules.put(FULL)
    states = (await schedules.snapshot()).states({}, now=now(broker))
    await schedules.publish(states.values())

    (data,) = raw.lrange(SCHEDULER_KEY, 0, -1)
    record = asynq_pb2.SchedulerEntry.FromString(data)
    assert record.spec == "CRON_TZ=Europe/Berlin 0 3 * * *"
    assert list(record.enqueue_options) == [
        'Queue("lo\\"w")',
        "MaxRetry(3)",
        "Timeout(5m)",
        "Retention(1h)",
        "Unique(1m30s)",
    ]
    assert record.prev_enqueue_time.seconds == -62135596800
    assert record.next_enqueue_time.ToDatetime(UTC) == states["nightly"].next_fire


async def test_asynqs_own_entries_are_read_and_garbage_among_them_is_left_out(
    schedules: ScheduleStore, broker: Broker, raw: Any
) -> None:
    key = "asynq:schedulers:{host:1:id}"
    record = asynq_pb2.SchedulerEntry(id="e", spec="@every 1s", task_type="tick", enqueue_options=["MaxRetry(3)"])
    raw.rpush(key, b"\xff\xff", record.SerializeToString())
    raw.set("asynq:schedulers:{host:1:kind}", "another kind")
    raw.zadd(ALL_SCHEDULERS, {key: broker.clock.now() + 10, "asynq:schedulers:{host:1:dead}": 5})
    raw.zadd(ALL_SCHEDULERS, {"asynq:schedulers:{host:1:kind}": broker.clock.now() + 10})

    (entry,) = await schedules.asynq_entries()

    assert (entry.id, entry.spec, entry.options, entry.next_fire) == ("e", "@every 1s", ("MaxRetry(3)",), None)
