"""Inspector: read, stats, pause, delete and cancel, in each state a task can be in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from msgspec import structs

from support.clock import MovableClock
from support.store import Store
from support.tasks import ENDED, LOCK, WAITING, bring, enqueue, placement, take, taken
from taskflow import Broker, Inspector, TaskNotFound, TaskState
from taskflow.broker.delivery import Complete, Done, Retry, Settled
from taskflow.broker.servers import ServerRecords
from taskflow.broker.steering import CANCELLED
from taskflow.errors import QueueNotFound, TaskActive, TaskFinished
from taskflow.task import Attempt, RunningTask, ServerInfo
from taskflow.wire.keys import server_key, workers_key
from taskflow.wire.message import TaskMessage

pytestmark = pytest.mark.usefixtures("invariants_hold")

# -- read -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [*WAITING, *ENDED, "active"])
async def test_a_task_is_found_in_each_state(
    broker: Broker, inspector: Inspector, clock: MovableClock, state: str
) -> None:
    await bring(broker, clock, state)

    info = await inspector.task("a")

    assert (info.id, info.queue, info.type, info.payload) == ("a", "default", "t", b"{}")
    assert info.state == state
    assert (info.next_process_at is not None) == (state in {"scheduled", "retry"})
    assert (info.pending_since is not None) == (state == "pending")
    assert (info.started_at is not None) == (state in {"active", *ENDED})
    assert info.result == (b"1" if state == "completed" else None)
    assert info.worker == ("server" if state in {"active", *ENDED} else None)
    assert [one.id for one in await inspector.tasks("default", TaskState(state), group="g")] == ["a"]


async def test_due_times_are_read_exactly(broker: Broker, inspector: Inspector, clock: MovableClock) -> None:
    due = int(clock.now()) + 60.123456
    await enqueue(broker, placement("a", due=due), placement("b", due=float(int(due))))

    assert (await inspector.task("a")).next_process_at == datetime.fromtimestamp(due, UTC)
    assert (await inspector.task("b")).next_process_at == datetime.fromtimestamp(int(due), UTC)


async def test_an_exact_due_time_that_asynq_has_left_behind_counts_for_nothing(
    broker: Broker, inspector: Inspector, clock: MovableClock, store: Store
) -> None:
    """Asynq knows its own set alone. The exact time goes when it comes."""
    second = int(clock.now())
    await enqueue(broker, placement("a", due=second + 60.25))
    store.client.zadd(store.key("scheduled"), {"a": second + 120})

    assert (await inspector.task("a")).next_process_at == datetime.fromtimestamp(second + 120, UTC)

    clock.advance(61)
    await broker.forward(["default"])
    assert store.due() == {}
    assert (await inspector.task("a")).state is TaskState.SCHEDULED


async def test_failed_attempts_are_told(broker: Broker, inspector: Inspector, clock: MovableClock) -> None:
    (delivery,) = await taken(broker, placement("a"))
    attempt = Attempt(at=datetime.now(UTC), worker="host:1", error="no", traceback="line")
    await broker.settle([(delivery, Retry(clock.now() + 1, "no", attempt=attempt))])

    info = await inspector.task("a")

    assert info.attempts == (attempt,)
    assert (info.retried, info.last_error) == (1, "no")
    assert info.last_failed_at is not None


async def test_an_active_task_whose_lease_is_over_is_an_orphan(
    broker: Broker, inspector: Inspector, clock: MovableClock
) -> None:
    await taken(broker, placement("a"))

    assert not (await inspector.task("a")).orphaned
    clock.advance(31)
    assert (await inspector.task("a")).orphaned


async def test_a_task_that_is_not_there_is_not_found(broker: Broker, inspector: Inspector) -> None:
    with pytest.raises(TaskNotFound) as found:
        await inspector.task("a", "default")
    assert (found.value.task_id, found.value.queue) == ("a", "default")
    with pytest.raises(TaskNotFound):
        await inspector.task("a")
    with pytest.raises(QueueNotFound):
        await inspector.tasks("nowhere", TaskState.PENDING)


async def test_pages_go_from_the_next_to_the_last(broker: Broker, inspector: Inspector, clock: MovableClock) -> None:
    await enqueue(broker, *(placement(f"{i}") for i in range(5)))
    second = int(clock.now())
    await enqueue(broker, *(placement(f"s{i}", due=float(second + 10 + i)) for i in (2, 0, 1)))

    async def page(state: TaskState, number: int) -> list[str]:
        return [one.id for one in await inspector.tasks("default", state, page=number, size=2)]

    assert [await page(TaskState.PENDING, number) for number in range(4)] == [["0", "1"], ["2", "3"], ["4"], []]
    assert [await page(TaskState.SCHEDULED, number) for number in range(2)] == [["s0", "s1"], ["s2"]]


async def test_ended_tasks_show_the_newest_first(broker: Broker, inspector: Inspector, clock: MovableClock) -> None:
    for name in ("old", "new"):
        await bring(broker, clock, "archived", name, lock="")
        clock.advance(2)

    assert [one.id for one in await inspector.tasks("default", TaskState.ARCHIVED)] == ["new", "old"]


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 127, 128, 129, 16_383, 16_384, 100_000])
async def test_of_long_payloads_and_results_the_beginning_is_read(
    broker: Broker, inspector: Inspector, size: int
) -> None:
    payload = bytes(number % 251 for number in range(size))
    (delivery,) = await taken(broker, placement("a", payload=payload, task_type="t" * 200, retry=7, retention=60))
    await broker.settle([(delivery, Complete(payload))])
    (whole,) = await inspector.tasks("default", TaskState.COMPLETED)

    for most in (0, 10, 128, 20_000):
        (cut,) = await inspector.tasks("default", TaskState.COMPLETED, most_bytes=most)
        assert cut == structs.replace(whole, payload=payload[:most], result=payload[:most])
    assert (whole.payload, whole.result, whole.max_retries) == (payload, payload, 7)


@pytest.mark.parametrize("data", [b"\x0a", b"\x0a\xff\xff", b"\x0a\x01t\x12", b"\x0a\x01t\x12\xff\x01ab", b"\xff" * 30])
async def test_what_is_no_message_is_read_in_brief_too(
    broker: Broker, inspector: Inspector, store: Store, data: bytes
) -> None:
    await enqueue(broker, placement("a"))
    store.client.hset(store.key("t:a"), "msg", data)

    (info,) = await inspector.tasks("default", TaskState.PENDING, most_bytes=1)

    assert info.id == "a"


@pytest.mark.parametrize(
    "numbers",
    [
        {"deadline": 2**62, "timeout": 2**62, "retention": 2**62},
        {"deadline": -(2**62), "timeout": -(2**62), "retention": -(2**62)},
        {"last_failed_at": 2**63 - 1, "completed_at": -(2**63)},
    ],
)
async def test_numbers_that_no_calendar_holds_break_no_listing(
    broker: Broker, inspector: Inspector, store: Store, numbers: dict[str, Any]
) -> None:
    await enqueue(broker, placement("a"), placement("b"))
    message = TaskMessage(type="t", id="a", queue="default", **numbers)
    store.client.hset(store.key("t:a"), "msg", message.SerializeToString())

    assert [one.id for one in await inspector.tasks("default", TaskState.PENDING)] == ["a", "b"]


async def test_what_cannot_be_decoded_is_shown_with_its_bytes(
    broker: Broker, inspector: Inspector, store: Store
) -> None:
    await enqueue(broker, placement("a"))
    store.client.hset(store.key("t:a"), "msg", b"\xff\xff")

    info = await inspector.task("a")

    assert info.payload == b"\xff\xff"
    assert "not a task message" in (info.last_error or "")


async def test_strangers_in_the_hashes_break_no_listing(broker: Broker, inspector: Inspector, store: Store) -> None:
    await enqueue(broker, placement("a"), placement("b"), placement("c"))
    store.client.hset(store.key("t:a"), mapping={"attempts": b"{no json\n\xff", "pending_since": "soon"})
    store.client.hset(store.key("t:b"), mapping={"state": "nonsense"})
    store.client.rpush(store.key("pending"), "kind")
    store.client.set(store.key("t:kind"), "another kind")

    found = await inspector.tasks("default", TaskState.PENDING)
    await inspector.queue_infos()

    assert [one.id for one in found] == ["a", "c"]
    assert found[0].attempts == ()
    store.client.delete(store.key("t:kind"))
    store.client.lrem(store.key("pending"), 0, "kind")
    store.client.hset(store.key("t:b"), "state", "pending")


# -- stats ------------------------------------------------------------------------------------------------------------


async def test_stats_count_every_state(broker: Broker, inspector: Inspector, clock: MovableClock) -> None:
    for state in ("active", *ENDED, "retry", "scheduled", "aggregating", "pending"):
        await bring(broker, clock, state, state, lock="")
    clock.advance(7)

    (info,) = await inspector.queue_infos()

    counts = {state: getattr(info, state) for state in (*WAITING, *ENDED, "active")}
    assert counts == dict.fromkeys(counts, 1)
    assert (info.size, info.groups, info.paused) == (7, 1, False)
    assert (info.processed, info.failed, info.processed_total, info.failed_total) == (3, 2, 3, 2)
    assert info.latency == pytest.approx(timedelta(seconds=7), abs=timedelta(seconds=1))


async def test_stats_of_strange_queues(broker: Broker, inspector: Inspector, store: Store) -> None:
    await enqueue(broker, placement("a", queue="é:x*"))
    store.client.rpush(store.key("pending"), "kind")
    store.client.set(store.key("t:kind"), "another kind")
    store.client.sadd("asynq:queues", "default")

    infos = {info.queue: info for info in await inspector.queue_infos()}

    assert infos["é:x*"].pending == 1
    assert infos["default"].latency == timedelta(0)
    with pytest.raises(QueueNotFound):
        await inspector.queue_infos(["nowhere"])
    store.client.delete(store.key("t:kind"), store.key("pending"))


async def test_a_queue_with_keys_of_another_kind_does_not_hide_the_others(
    broker: Broker, inspector: Inspector, store: Store
) -> None:
    await enqueue(broker, placement("a", queue="sound"), placement("a"))
    for name in ("scheduled", "groups", "processed", "g:g"):
        store.client.set(store.key(name), "another kind")
    store.client.delete(store.key("groups"), store.key("pending"), store.key("t:a"))
    store.client.sadd(store.key("groups"), "g")
    store.client.set(store.key("pending"), "another kind")

    infos = {info.queue: info for info in await inspector.queue_infos()}

    assert (infos["sound"].pending, infos["default"].pending, infos["default"].aggregating) == (1, 0, 0)
    store.client.delete(*(store.key(name) for name in ("scheduled", "groups", "processed", "g:g", "pending")))


async def test_pause_and_resume(broker: Broker, inspector: Inspector, store: Store, clock: MovableClock) -> None:
    await enqueue(broker, placement("a"))

    await inspector.pause("default")
    since = store.text("paused")
    clock.advance(50)
    await inspector.pause("default")

    assert store.text("paused") == since
    assert (await inspector.queue_infos())[0].paused
    assert await take(broker) == []
    await inspector.resume("default")
    await inspector.resume("default")
    assert len(await take(broker)) == 1
    for call in (inspector.pause, inspector.resume):
        with pytest.raises(QueueNotFound):
            await call("nowhere")


# -- delete -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [*WAITING, *ENDED])
async def test_a_task_is_deleted_with_all_its_traces(
    broker: Broker, inspector: Inspector, store: Store, clock: MovableClock, state: str
) -> None:
    await bring(broker, clock, state)

    await inspector.delete("a", "default")

    left = {key for key in store.snapshot() if "processed" not in key and "failed" not in key}
    assert left == {"asynq:queues"}
    with pytest.raises(TaskNotFound):
        await inspector.delete("a", "default")


async def test_a_running_task_is_not_deleted(broker: Broker, inspector: Inspector, store: Store) -> None:
    await taken(broker, placement("a", lock=LOCK))
    before = store.snapshot()

    with pytest.raises(TaskActive):
        await inspector.delete("a", "default")

    assert store.snapshot() == before


async def test_a_group_keeps_its_name_while_it_has_members(broker: Broker, inspector: Inspector, store: Store) -> None:
    await enqueue(broker, placement("a", group="g"), placement("b", group="g"))

    await inspector.delete("a", "default")
    assert store.client.smembers(store.key("groups")) == {b"g"}

    await inspector.delete("b", "default")
    assert store.client.smembers(store.key("groups")) == set()


async def test_a_member_of_a_closed_set_is_deleted_from_it(
    broker: Broker, inspector: Inspector, store: Store, clock: MovableClock
) -> None:
    await enqueue(broker, placement("a", group="g"), placement("b", group="g"))
    closed = store.key("g:g:set-1")
    store.client.rename(store.key("g:g"), closed)
    store.client.srem(store.key("groups"), "g")
    store.client.zadd(store.key("aggregation_sets"), {closed: clock.now() + 120})

    await inspector.delete("a", "default")

    assert store.client.zrange(closed, 0, -1) == [b"b"]
    assert store.hash("a") == {}


async def test_a_lock_that_is_anothers_outlives_the_delete(broker: Broker, inspector: Inspector, store: Store) -> None:
    await enqueue(broker, placement("a", lock=LOCK))
    store.client.delete(LOCK)
    await enqueue(broker, placement("b", lock=LOCK))

    await inspector.delete("a", "default")

    assert store.client.get(LOCK) == b"b"


# -- cancel -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", WAITING)
async def test_a_waiting_task_is_archived_as_cancelled(
    broker: Broker, inspector: Inspector, store: Store, clock: MovableClock, state: str
) -> None:
    await bring(broker, clock, state)
    with store.client.pubsub() as channel:
        channel.subscribe("taskflow:ended:a")
        channel.get_message(timeout=1)

        assert await inspector.cancel("a") == state

        heard = channel.get_message(timeout=1)
    assert heard is not None
    assert heard["data"] == b"archived"
    assert store.state("a") == "archived"
    assert store.message("a").error_msg == CANCELLED
    assert store.scores("archived") == pytest.approx({"a": clock.now()}, abs=2)
    assert store.client.exists(LOCK) == 0
    assert store.list("pending") == []
    info = await inspector.task("a")
    assert info.cancelled
    assert info.last_error == CANCELLED


async def test_a_running_task_is_marked_and_its_worker_told(
    broker: Broker, inspector: Inspector, store: Store, clock: MovableClock
) -> None:
    (delivery,) = await taken(broker, placement("a", lock=LOCK))
    with store.client.pubsub() as channel:
        channel.subscribe("asynq:cancel")
        channel.get_message(timeout=1)

        assert await inspector.cancel("a", "default") is TaskState.ACTIVE

        heard = channel.get_message(timeout=1)
    assert heard is not None
    assert heard["data"] == b"a"
    assert int(store.hash("a")["stop"]) == pytest.approx(clock.now(), abs=2)
    assert store.state("a") == "active"
    assert store.client.get(LOCK) == b"a"
    assert await broker.cancelled([delivery]) == [True]
    assert await broker.settle([(delivery, Retry(clock.now() + 1, "no"))]) == [Settled.CANCELLED_MEANWHILE]


@pytest.mark.parametrize("state", ENDED)
async def test_what_has_ended_is_not_cancelled(
    broker: Broker, inspector: Inspector, store: Store, clock: MovableClock, state: str
) -> None:
    await bring(broker, clock, state)
    before = store.snapshot()

    with pytest.raises(TaskFinished) as found:
        await inspector.cancel("a")

    assert found.value.state == state
    assert store.snapshot() == before


async def test_cancelling_what_is_not_there(broker: Broker, inspector: Inspector) -> None:
    with pytest.raises(TaskNotFound):
        await inspector.cancel("a")
    with pytest.raises(TaskNotFound):
        await inspector.cancel("a", "default")


async def test_a_message_that_changed_is_read_again(
    broker: Broker, inspector: Inspector, store: Store, clock: MovableClock
) -> None:
    """Between reading and cancelling the task ran and failed: its new history must not be lost."""
    await enqueue(broker, placement("a"))
    attempt = broker.attempt

    async def read_then_run(*commands: tuple[Any, ...]) -> list[Any]:
        replies = await attempt(*commands)
        if commands[0][0] == "HGET" and store.message("a").retried == 0:
            (delivery,) = await take(broker)
            await broker.settle([(delivery, Retry(clock.now() + 5, "first"))])
        return replies

    broker.attempt = read_then_run  # type: ignore[method-assign]

    assert await inspector.cancel("a") is TaskState.RETRY

    assert store.message("a").retried == 1
    assert store.state("a") == "archived"


async def test_a_task_that_cannot_be_decoded_is_cancelled_all_the_same(
    broker: Broker, inspector: Inspector, store: Store
) -> None:
    await enqueue(broker, placement("a"))
    store.client.hset(store.key("t:a"), "msg", b"\xff\xff")

    assert await inspector.cancel("a") is TaskState.PENDING

    assert store.message("a").payload == b"\xff\xff"
    assert store.state("a") == "archived"


async def test_of_two_tasks_with_one_id_the_queue_chooses(
    broker: Broker, inspector: Inspector, raw: redis.Redis
) -> None:
    await enqueue(broker, placement("a", queue="x"), placement("a", queue="y"))

    await inspector.cancel("a", "y")

    assert Store(raw, "x").state("a") == "pending"
    assert Store(raw, "y").state("a") == "archived"


async def test_marks_are_read_beside_strangers(broker: Broker, inspector: Inspector, store: Store) -> None:
    deliveries = await taken(broker, placement("a"), placement("b"), placement("c"))
    await inspector.cancel("a")
    store.client.delete(store.key("t:b"))
    store.client.set(store.key("t:b"), "another kind")

    assert await broker.cancelled(deliveries) == [True, False, False]

    store.client.delete(store.key("t:b"))
    store.client.lrem(store.key("active"), 0, "b")
    store.client.zrem(store.key("lease"), "b")
    assert await broker.settle([(deliveries[2], Done())]) == [Settled.SETTLED]


# -- servers ----------------------------------------------------------------------------------------------------------


async def test_a_broken_record_does_not_hide_the_other_servers(
    broker: Broker, inspector: Inspector, store: Store, clock: MovableClock
) -> None:
    now = datetime.fromtimestamp(int(clock.now()), UTC)
    info = ServerInfo(
        id="s",
        host="h",
        pid=1,
        concurrency=10,
        queues={"default": 1},
        strict_priority=False,
        status="active",
        started_at=now,
        active_count=1,
    )
    task = RunningTask(id="a", type="t", queue="default", payload=b"{}", started_at=now, deadline=None)
    await ServerRecords(broker).publish(info, [task], ttl_seconds=60)
    store.client.hset(workers_key("h", 1, "s"), "broken", b"\xff\xff")
    for number, value in enumerate((b"\xff\xff", None, b"")):
        store.client.zadd("asynq:servers", {server_key("h", number, "x"): clock.now() + 60})
        if value is not None:
            store.client.set(server_key("h", number, "x"), value)
    store.client.rpush(server_key("h", 1, "x"), "another kind")
    store.client.set(workers_key("h", 2, "x"), "another kind")

    found = {server.id: server for server in await inspector.servers()}

    assert found["s"].running == (task,)
    assert set(found) == {"s", ""}  # an empty record is one with nothing in it
