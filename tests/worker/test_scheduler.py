"""The scheduler: what it fires, when, how often; with replicas, changes, pauses and outages. The tests move its clock."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
import structlog.testing

from conftest import WaitUntil
from support.clock import MovableClock
from support.proxy import Proxy
from support.store import Store
from taskflow import (
    Broker,
    Client,
    DuplicateTask,
    Inspector,
    InvalidOption,
    ScheduleEntry,
    ScheduleNotFound,
    Scheduler,
    ScheduleStore,
    Task,
    TaskFlow,
    TaskOptions,
)
from taskflow.broker.embedded import EmbeddedServer
from taskflow.config import ScheduleSettings, Settings
from taskflow.errors import ConfigError, UnsupportedServer
from taskflow.scheduler import effective_entries, wanted_times
from taskflow.wire.keys import ALL_SCHEDULERS

START = datetime(2026, 5, 1, 12, tzinfo=UTC)


def entry(spec: str = "@every 10s", **options: Any) -> ScheduleEntry:
    return ScheduleEntry(**{"id": "tick", "spec": spec, "type": "tick", **options})


def set_clock(clock: MovableClock, moment: datetime) -> None:
    clock.offset = moment.timestamp() - time.time()


@pytest.fixture
def clock() -> MovableClock:
    """Stands (nearly) still at `START`."""
    clock = MovableClock()
    set_clock(clock, START)
    return clock


@pytest.fixture
def replica(broker: Broker) -> Callable[..., Scheduler]:
    """Makes schedulers on the test's broker, and so with its clock."""

    def make(*entries: ScheduleEntry) -> Scheduler:
        return Scheduler(broker, entries)

    return make


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(redis_url) as proxy:
        yield proxy


@asynccontextmanager
async def running(scheduler: Scheduler) -> AsyncIterator[Scheduler]:
    task = asyncio.create_task(scheduler.run())
    async with asyncio.timeout(10):
        await scheduler.ready.wait()
    yield scheduler
    scheduler.stop()
    async with asyncio.timeout(10):
        await task


def fired(store: Store, entry_id: str = "tick") -> list[int]:
    """The seconds after `START` for which tasks wait, in the order in which they were enqueued."""
    ids = [task_id.rpartition(":") for task_id in reversed(store.list("pending"))]
    return [int(at) - int(START.timestamp()) for name, _, at in ids if name == entry_id]


# -- times ------------------------------------------------------------------------------------------------------------


async def test_an_entry_fires_at_each_of_its_times_and_not_before(
    replica: Callable[..., Scheduler], clock: MovableClock, store: Store
) -> None:
    scheduler = replica(entry())
    assert 0 < await scheduler.run_once() <= 10
    assert fired(store) == []
    for _ in range(3):
        clock.advance(10)
        await scheduler.run_once()

    assert fired(store) == [10, 20, 30]
    clock.advance(4)
    assert 5 < await scheduler.run_once() <= 6


async def test_the_task_is_as_the_entry_says(
    replica: Callable[..., Scheduler], clock: MovableClock, raw: redis.Redis
) -> None:
    task = Task("report", {"days": 1}, TaskOptions(queue="low", max_retries=2, headers={"trace": "abc"}))
    scheduler = replica(ScheduleEntry.of(task, "@every 10s", id="a"))
    await scheduler.run_once()
    clock.advance(10)
    await scheduler.run_once()

    (task_id,) = Store(raw, "low").list("pending")
    message = Store(raw, "low").message(task_id)
    assert task_id == f"a:{int(START.timestamp()) + 10}"
    assert (message.type, message.payload, message.retry) == ("report", b'{"days":1}', 2)
    assert dict(message.headers) == {"trace": "abc"}
    (event,) = await scheduler.store.events("a")
    assert (event.task_id, event.at) == (task_id, START + timedelta(seconds=10))


async def test_between_beats_it_works_from_what_it_has_read(
    replica: Callable[..., Scheduler], clock: MovableClock, store: Store, raw: redis.Redis
) -> None:
    scheduler = replica(entry("@every 1s"))
    await scheduler.run_once()
    clock.advance(1)
    raw.config_resetstat()
    await scheduler.run_once(news=False)
    commands: Any = raw.info("commandstats")
    assert "cmdstat_hgetall" not in commands
    clock.advance(10)
    await scheduler.run_once(news=False)
    commands = raw.info("commandstats")
    assert "cmdstat_hgetall" in commands
    assert fired(store) == list(range(1, 12))


async def test_over_a_change_of_the_clocks(
    replica: Callable[..., Scheduler], clock: MovableClock, store: Store
) -> None:
    scheduler = replica(entry("30 2 * * *", timezone="Europe/Berlin"))
    for day in (datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)):
        set_clock(clock, day)
        await scheduler.store.forget(["tick"])
        await scheduler.run_once()
        for _ in range(12):  # three hours
            clock.advance(900)
            await scheduler.run_once()

    seconds = [int(task_id.rpartition(":")[2]) for task_id in reversed(store.list("pending"))]
    assert [datetime.fromtimestamp(second, UTC) for second in seconds] == [
        datetime(2026, 3, 29, 1, tzinfo=UTC),
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
    ]


async def test_jitter_lets_a_task_fall_due_a_little_later(
    replica: Callable[..., Scheduler], clock: MovableClock, store: Store
) -> None:
    scheduler = replica(entry(jitter=timedelta(seconds=5)))
    await scheduler.run_once()
    for _ in range(20):
        clock.advance(10)
        await scheduler.run_once()

    delays = [due - int(task_id.rpartition(":")[2]) for task_id, due in store.due().items()]
    assert len(delays) == 20
    assert len({round(delay, 3) for delay in delays}) > 10
    assert min(delays) > 0
    assert max(delays) < 5 + 2  # the clock goes on while the test works


# -- replicas ---------------------------------------------------------------------------------------------------------


async def test_two_replicas_that_race_fire_each_time_once(
    replica: Callable[..., Scheduler], clock: MovableClock, store: Store
) -> None:
    first, second = replica(entry()), replica(entry())
    await asyncio.gather(first.run_once(), second.run_once())
    for _ in range(20):
        clock.advance(10)
        await asyncio.gather(first.run_once(news=False), second.run_once(news=False))

    assert fired(store) == [*range(10, 210, 10)]
    assert len(await first.store.events("tick", size=100)) == 20


async def test_a_replica_that_comes_late_does_not_fire_again_what_is_done_and_gone(
    replica: Callable[..., Scheduler], clock: MovableClock, store: Store, inspector: Inspector
) -> None:
    first, second = replica(entry()), replica(entry())
    await asyncio.gather(first.run_once(), second.run_once())
    for n in range(1, 6):
        clock.advance(10)
        second._read_again_at = START + timedelta(days=1)  # it works from what it has read
        await first.run_once()
        assert fired(store) == [10 * n]
        await inspector.delete(store.list("pending")[0], "default")
        await second.run_once(news=False)
        assert fired(store) == []


async def test_a_replica_that_died_between_enqueueing_and_noting_it_does_no_harm(
    replica: Callable[..., Scheduler], clock: MovableClock, store: Store
) -> None:
    scheduler = replica(entry(missed="all"))
    await scheduler.run_once()
    before = (await scheduler.store.snapshot()).fired
    clock.advance(30)
    await scheduler.run_once()
    await scheduler.store.note_fired(before)

    await replica(entry(missed="all")).run_once()

    assert fired(store) == [10, 20, 30]


async def test_entries_of_two_programs_are_all_listed(replica: Callable[..., Scheduler], raw: Any) -> None:
    await replica(entry(id="a")).run_once()
    await replica(entry(id="b")).run_once()
    await replica(entry(id="b")).run_once()

    keys = [key for key in raw.zrange(ALL_SCHEDULERS, 0, -1) if raw.exists(key)]
    assert [raw.llen(key) for key in keys] == [1, 1]
    assert set((await replica().store.snapshot()).code) == {"a", "b"}


# -- missed times -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [100, 110, 120]),
        ({"missed": "once"}, [100, 110, 120]),
        ({"missed": "all"}, [*range(10, 121, 10)]),
        ({"missed": "all", "catch_up": 2}, [80, 90, 100, 110, 120]),
    ],
    ids=["skip", "once", "all", "limit"],
)
async def test_times_at_which_no_scheduler_ran(
    replica: Callable[..., Scheduler], clock: MovableClock, store: Store, options: dict[str, Any], expected: list[int]
) -> None:
    """What is late by no more than 30 s is not missed: another scheduler has just taken over."""
    await replica(entry(**options)).run_once()
    clock.advance(125)
    await replica(entry(**options)).run_once()

    assert fired(store) == expected


@pytest.mark.parametrize(("missed", "expected"), [("skip", []), ("once", [3600]), ("all", [1800, 3600])])
async def test_times_long_missed(
    replica: Callable[..., Scheduler], clock: MovableClock, store: Store, missed: str, expected: list[int]
) -> None:
    await replica(entry("*/30 * * * *", missed=missed)).run_once()
    clock.advance(5000)
    scheduler = replica(entry("*/30 * * * *", missed=missed))
    await scheduler.run_once()
    await scheduler.run_once()

    assert fired(store) == expected
    clock.advance(400)
    await scheduler.run_once()
    assert fired(store) == [*expected, 5400]


async def test_a_new_entry_has_missed_nothing(
    replica: Callable[..., Scheduler], clock: MovableClock, store: Store
) -> None:
    clock.advance(5)
    await replica(entry("@every 1h", missed="all")).run_once()

    assert fired(store) == []


def test_years_of_missed_seconds_are_limited() -> None:
    every_second = entry("@every 1s", missed="all", catch_up=5)

    times = wanted_times(every_second, START, START + timedelta(days=1000))

    assert len(times) == 31 + 5
    assert times[-1] == START + timedelta(days=1000)


# -- steering ---------------------------------------------------------------------------------------------------------


async def test_a_paused_entry_does_not_fire_and_its_times_are_not_missed_ones(
    replica: Callable[..., Scheduler], clock: MovableClock, store: Store
) -> None:
    scheduler = replica(entry(missed="all"))
    await scheduler.run_once()
    await scheduler.store.pause("tick")
    clock.advance(100)
    assert await scheduler.run_once() > 9
    assert [(state.paused, state.next_fire) for state in await scheduler.states()] == [(True, None)]

    clock.advance(100)  # no scheduler runs
    await scheduler.store.resume("tick")
    await scheduler.run_once()
    assert fired(store) == []
    clock.advance(10)
    await scheduler.run_once()
    assert fired(store) == [210]


async def test_run_now(replica: Callable[..., Scheduler], store: Store) -> None:
    scheduler = replica(entry(unique=timedelta(hours=1)))
    info = await scheduler.fire_now("tick")

    assert store.list("pending") == [info.id]
    assert [event.task_id for event in await scheduler.store.events("tick")] == [info.id]
    with pytest.raises(DuplicateTask):
        await scheduler.fire_now("tick")
    with pytest.raises(ScheduleNotFound):
        await scheduler.fire_now("nobody")


async def test_while_an_earlier_task_holds_the_lock_none_is_enqueued(
    replica: Callable[..., Scheduler], clock: MovableClock, store: Store, inspector: Inspector
) -> None:
    scheduler = replica(entry(unique=timedelta(hours=1)))
    for _ in range(3):
        await scheduler.run_once()
        clock.advance(10)
    await scheduler.run_once()
    assert fired(store) == [10]

    await inspector.delete(store.list("pending")[0], "default")
    clock.advance(10)
    await scheduler.run_once()
    assert fired(store) == [40]


async def test_an_entry_in_redis_takes_the_place_of_one_in_the_code(
    replica: Callable[..., Scheduler], clock: MovableClock, store: Store
) -> None:
    scheduler = replica(entry())
    await scheduler.store.put(entry("@every 20s"))
    for _ in range(4):
        await scheduler.run_once()
        clock.advance(10)
    assert fired(store) == [20]

    await scheduler.store.delete("tick")
    for _ in range(2):
        await scheduler.run_once()
        clock.advance(10)
    assert fired(store) == [20, 50]


async def test_a_broken_entry_does_not_stop_the_others(
    replica: Callable[..., Scheduler], clock: MovableClock, store: Store, broker: Broker, raw: redis.Redis
) -> None:
    scheduler = replica(entry(id="a"), entry(id="b"), entry(id="c", queue="broken"))
    await scheduler.run_once()
    stranger = Task("other", {}, TaskOptions(task_id=f"b:{int(START.timestamp()) + 10}"))
    await scheduler._client.enqueue(stranger)
    raw.set("asynq:{broken}:pending", "no list")
    clock.advance(10)
    with structlog.testing.capture_logs() as lines:
        await scheduler.run_once()

    assert fired(store, "a") == [10]
    assert sorted(line["schedule"] for line in lines if line["log_level"] == "error") == ["b", "c"]
    clock.advance(10)
    await scheduler.run_once()
    assert fired(store, "b") == [10, 20]


async def test_an_entry_that_cannot_be_read_is_logged_once(replica: Callable[..., Scheduler], raw: redis.Redis) -> None:
    raw.hset("taskflow:schedules", "broken", "{")
    scheduler = replica()
    with structlog.testing.capture_logs() as lines:
        await scheduler.run_once()
        await scheduler.run_once()

    assert [line["schedules"] for line in lines] == [("broken",)]


async def test_what_nobody_knows_any_more_is_forgotten_after_30_days(
    replica: Callable[..., Scheduler], clock: MovableClock, raw: redis.Redis
) -> None:
    old = replica(entry(id="old"))
    await old.run_once()
    await old.store.pause("old")
    await old.fire_now("old")
    other = replica(entry(id="new"))
    clock.advance(29 * 24 * 3600)
    await other.run_once()
    assert "old" in (await other.store.snapshot()).fired
    clock.advance(2 * 24 * 3600)
    await other.run_once()

    snapshot = await other.store.snapshot()
    assert set(snapshot.fired) == {"new"}
    assert not snapshot.paused
    assert not raw.exists("asynq:scheduler_history:old")
    assert set(raw.hkeys("taskflow:schedules:code")) == {b"new"}


# -- running ----------------------------------------------------------------------------------------------------------


async def test_a_change_is_picked_up_at_once(
    redis_url: str, client: Client, store: Store, wait_until: WaitUntil
) -> None:
    """Not at the next beat, up to 10 s later."""
    schedules = ScheduleStore(client.broker)
    async with running(Scheduler(redis_url)) as scheduler:
        await schedules.put(entry("@every 1s"))
        await wait_until(lambda: store.list("pending"), 4)
        await schedules.pause("tick")
        await wait_until(lambda: scheduler._states["tick"].paused, 2)
        await schedules.delete("tick")
        await wait_until(lambda: not scheduler._states, 2)


async def test_it_closes_a_broker_of_its_own_and_leaves_a_shared_one_open(
    redis_url: str, broker: Broker, raw: redis.Redis, wait_until: WaitUntil
) -> None:
    def connections() -> int:
        clients: Any = raw.client_list()
        return len([client for client in clients if client["name"].startswith("taskflow")])

    before = connections()
    async with running(Scheduler(redis_url)):
        assert connections() > before
    await wait_until(lambda: connections() == before)
    async with running(Scheduler(broker)):
        pass
    assert await broker.execute(("PING",)) == [b"PONG"]


async def test_an_outage_is_waited_out_and_what_fell_due_is_made_up_for(
    proxy: Proxy, store: Store, wait_until: WaitUntil
) -> None:
    async with running(Scheduler(proxy.url, [entry("@every 1s", missed="all")])):
        await wait_until(lambda: store.list("pending"), 5)
        proxy.cut()
        cut_at = len(store.list("pending"))
        await asyncio.sleep(2.5)
        assert len(store.list("pending")) == cut_at
        proxy.pass_on()
        await wait_until(lambda: len(store.list("pending")) >= cut_at + 4, 10)

    seconds = [int(task_id.rpartition(":")[2]) for task_id in reversed(store.list("pending"))]
    assert seconds == [*range(seconds[0], seconds[0] + len(seconds))]


async def test_a_server_that_throws_keys_away_is_refused() -> None:
    with EmbeddedServer() as server, redis.Redis.from_url(server.url) as admin:
        admin.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(UnsupportedServer, match="noeviction"):
            await Scheduler(server.url).run()
        async with running(Scheduler(server.url, allow_eviction=True)):
            pass


async def test_an_app_fires_what_its_code_and_settings_say(redis_url: str, store: Store, wait_until: WaitUntil) -> None:
    settings = Settings(
        schedules={
            "from-settings": ScheduleSettings(spec="@every 1s", type="b", payload={"n": 1}),
            "both": ScheduleSettings(spec="@daily", type="c", queue="low"),
        }
    )
    app = TaskFlow(redis_url, settings=settings)

    @app.schedule("@every 1s", id="from-code")
    @app.task("a")
    async def a() -> None:
        pass

    app.schedules.add(Task("c"), "@hourly", id="both")

    async with running(app.scheduler()) as scheduler:
        await wait_until(lambda: len(fired(store, "from-code")) and len(fired(store, "from-settings")), 5)
        states = {state.entry.id: state.entry for state in await scheduler.states()}
    assert (states["both"].spec, states["both"].queue, states["both"].max_retries) == ("@daily", "low", 3)
    assert json.loads(states["from-settings"].payload) == {"n": 1}
    await app.close()


def test_decorators_say_what_is_wrong_and_read_no_settings() -> None:
    app = TaskFlow()

    @app.task("with-arguments")
    async def with_arguments(n: int) -> None:
        pass

    @app.task("without")
    async def without() -> None:
        pass

    with pytest.raises(TypeError):
        app.schedule("@hourly")(with_arguments)
    with pytest.raises(InvalidOption, match="minute"):
        app.schedule("61 * * * *")(without)
    app.schedule("@hourly")(without)
    with pytest.raises(ConfigError, match="two schedules are called 'without'"):
        app.schedule("@daily")(without)
    assert "settings" not in app.__dict__
    assert [made.spec for made in app.schedules.entries.values()] == ["@hourly"]


def test_settings_lend_their_defaults() -> None:
    settings = Settings(schedules={"a": ScheduleSettings(spec="@daily", type="t")})

    (made,) = effective_entries({}, settings)

    assert (made.queue, made.max_retries, made.retention) == ("default", 3, timedelta(hours=1))
    assert made.timeout == timedelta(minutes=30)
