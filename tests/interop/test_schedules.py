"""Periodic tasks of each side as the other sees them: entries with their options, and what they have enqueued."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from interop.features import Direction, shows
from interop.go_peer import GoPeer, base64_text
from support.schedulers import running
from support.waiting import wait_until
from taskflow import Client, ScheduleEntry, Scheduler, ScheduleStore

pytestmark = pytest.mark.go

AREA = "Schedules"
NIGHTLY = ScheduleEntry(
    id="nightly",
    spec="0 3 * * *",
    type="report:größe",
    payload=b'{"days":1}',
    timezone="Europe/Berlin",
    queue='lo"w\\',
    max_retries=3,
    timeout=timedelta(minutes=30),
    retention=timedelta(hours=1),
    unique=timedelta(seconds=90),
)
TICK = ScheduleEntry(id="tick", spec="@every 1s", type="tick")


@pytest.fixture
def schedules(client: Client) -> ScheduleStore:
    return ScheduleStore(client.broker)


@shows(AREA, "entries with their options and times, and what they have enqueued", Direction.PYTHON_GO)
async def test_asynqs_inspector_reads_our_entries_and_events(
    go: GoPeer, redis_url: str, schedules: ScheduleStore
) -> None:
    await schedules.put(NIGHTLY)
    async with running(Scheduler(redis_url, [TICK])), running(Scheduler(redis_url, [TICK])) as scheduler:
        await wait_until(lambda: schedules.events("tick"), 5)
        events = await schedules.events("tick")
        states = {state.entry.id: state for state in await scheduler.states()}
        theirs = {found["id"]: found for found in await go.inspect("scheduler_entries")}
        listed = await go.inspect("scheduler_entries")
        seen = await go.inspect("scheduler_events", id="tick", page=1, size=100)

    assert sorted(found["id"] for found in listed) == ["nightly", "tick"]
    next_fire = states["nightly"].next_fire
    assert next_fire is not None
    assert theirs["nightly"] == {
        "id": "nightly",
        "spec": "CRON_TZ=Europe/Berlin 0 3 * * *",
        "task_type": "report:größe",
        "task_payload": base64_text(b'{"days":1}'),
        "options": ['Queue("lo\\"w\\\\")', "MaxRetry(3)", "Timeout(30m0s)", "Retention(1h0m0s)", "Unique(1m30s)"],
        "next": int(next_fire.timestamp()),
        "prev": 0,
    }
    assert {"task_id": events[-1].task_id, "enqueued_at": int(events[-1].at.timestamp())} in seen
    ids = [event["task_id"] for event in seen]
    assert len(ids) == len(set(ids))


@shows(AREA, "a paused entry", Direction.PYTHON_GO, note="asynq has none; it reads that there is no next time")
async def test_a_paused_entry_has_no_next_time_in_asynqs_eyes(
    go: GoPeer, redis_url: str, schedules: ScheduleStore
) -> None:
    await schedules.put(TICK)
    await schedules.pause("tick")
    async with running(Scheduler(redis_url)):
        (found,) = await go.inspect("scheduler_entries")

    assert (found["id"], found["next"], found["prev"]) == ("tick", 0, 0)


@shows(AREA, "a rule with a time zone means the same time", Direction.PYTHON_GO)
async def test_our_spec_with_its_zone_is_one_for_asynq(go: GoPeer, schedules: ScheduleStore) -> None:
    """Both find the same next time."""
    entry_id = await go.schedule(NIGHTLY.asynq_spec(), "report")

    await wait_until(lambda: schedules.asynq_entries(), 10)
    (found,) = await schedules.asynq_entries()
    assert found.id == entry_id
    assert found.next_fire == NIGHTLY.rule().next(datetime.now(UTC))


@shows(AREA, "entries with their options and times, and what they have enqueued", Direction.GO_PYTHON)
async def test_we_read_the_entries_and_events_of_a_go_scheduler(go: GoPeer, schedules: ScheduleStore) -> None:
    payload = json.dumps({"days": 1}).encode()
    entry_id = await go.schedule("@every 1s", "tick", payload, queue="gos", max_retry=3, unique="1m30s")

    await wait_until(lambda: schedules.events(entry_id), 10)

    async def fired() -> bool:
        return any(found.last_fired is not None for found in await schedules.asynq_entries())

    await wait_until(fired, 10)
    (found,) = await schedules.asynq_entries()
    assert (found.id, found.spec, found.type, found.payload) == (entry_id, "@every 1s", "tick", payload)
    assert found.options == ('Queue("gos")', "MaxRetry(3)", "Unique(1m30s)")
    events = await schedules.events(entry_id, size=1000)
    seen = await go.inspect("scheduler_events", id=entry_id, page=1, size=100)
    ours = [{"task_id": event.task_id, "enqueued_at": int(event.at.timestamp())} for event in events]
    assert ours[-1] in seen
