"""Inspector: run, archive, edit, in each state a task can be in; many tasks by their ids."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from support.clock import MovableClock
from support.store import Store
from support.tasks import ENDED, LOCK, STATES, WAITING, bring, enqueue, placement, take, taken
from taskflow import Broker, Inspector, TaskFlowError, TaskNotFound, TaskState
from taskflow.broker.delivery import Archive, Complete, Done, Retry, Settled
from taskflow.broker.steering import CANCELLED
from taskflow.errors import (
    InvalidOption,
    InvalidQueue,
    MessageInvalid,
    TaskActive,
    TaskFinished,
    TaskNotScheduled,
    TaskPending,
)
from taskflow.wire.message import TaskMessage

pytestmark = pytest.mark.usefixtures("invariants_hold")

RUNNABLE = ("scheduled", "retry", "aggregating", *ENDED)
ARCHIVABLE = (*WAITING, "completed")
REFUSALS: dict[str, type[TaskFlowError]] = {"pending": TaskPending, "active": TaskActive, "archived": TaskFinished}


# -- run --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", RUNNABLE)
async def test_a_task_is_run_from_each_state(
    broker: Broker, inspector: Inspector, store: Store, clock: MovableClock, state: str
) -> None:
    await bring(broker, clock, state, "first")
    await bring(broker, clock, state, "second", lock="")
    await enqueue(broker, placement("waits"))
    message = store.message("first")

    assert await inspector.run("first") == state
    assert await inspector.run("second", "default") == state

    assert store.list("pending") == ["second", "first", "waits"]  # the right end runs next
    assert store.state("first") == "pending"
    assert store.message("first") == message
    assert store.due() == {}
    assert [delivery.id for delivery in await take(broker)] == ["waits", "first", "second"]


@pytest.mark.parametrize("state", ["pending", "active"])
async def test_what_runs_or_will_run_at_once_is_not_run(
    broker: Broker, inspector: Inspector, store: Store, clock: MovableClock, state: str
) -> None:
    await bring(broker, clock, state)
    before = store.snapshot()

    with pytest.raises(REFUSALS[state]) as found:
        await inspector.run("a")

    assert found.value.details == {"task_id": "a", "queue": "default"}
    assert store.snapshot() == before


@pytest.mark.parametrize("call", ["run", "archive", "delete", "cancel"])
async def test_what_is_not_there_is_not_found(broker: Broker, inspector: Inspector, call: str) -> None:
    steer: Callable[..., Awaitable[TaskState]] = getattr(inspector, call)

    with pytest.raises(TaskNotFound):
        await steer("a")
    with pytest.raises(TaskNotFound):
        await steer("a", "default")
    with pytest.raises(InvalidQueue):
        await steer("a", "no{queue")


async def test_a_cancelled_task_really_runs_again(broker: Broker, inspector: Inspector, store: Store) -> None:
    await enqueue(broker, placement("a", lock=LOCK))
    await inspector.cancel("a")

    await inspector.run("a")

    assert not (await inspector.task("a")).cancelled
    (delivery,) = await take(broker)
    assert not delivery.cancelled
    assert await broker.cancelled([delivery]) == [False]
    assert await broker.settle([(delivery, Done())]) == [Settled.SETTLED]
    assert store.hash("a") == {}


async def test_a_task_cancelled_while_it_ran_really_runs_again(
    broker: Broker, inspector: Inspector, clock: MovableClock
) -> None:
    (delivery,) = await taken(broker, placement("a"))
    await inspector.cancel("a")
    await broker.settle([(delivery, Archive(CANCELLED, cancelled=True))])

    await inspector.run("a")

    (again,) = await take(broker)
    assert not again.cancelled
    assert await broker.settle([(again, Retry(clock.now() + 5, "no"))]) == [Settled.SETTLED]


async def test_a_task_run_again_forgets_dead_workers_and_its_old_result(
    broker: Broker, inspector: Inspector, store: Store
) -> None:
    (delivery,) = await taken(broker, placement("a", retention=600))
    store.client.hset(store.key("t:a"), "deaths", 2)
    await broker.settle([(delivery, Complete(b"1"))])

    await inspector.run("a")

    assert set(store.hash("a")) == {"msg", "state", "pending_since"}


async def test_the_last_member_that_is_run_takes_its_groups_name_along(
    broker: Broker, inspector: Inspector, store: Store
) -> None:
    await enqueue(broker, placement("a", group="g"), placement("b", group="g"))

    await inspector.run("a")
    assert store.client.smembers(store.key("groups")) == {b"g"}

    await inspector.run("b")
    assert store.client.smembers(store.key("groups")) == set()


# -- archive ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ARCHIVABLE)
async def test_a_task_is_archived_from_each_state(
    broker: Broker, inspector: Inspector, store: Store, clock: MovableClock, state: str
) -> None:
    await bring(broker, clock, state)
    message = store.message("a")
    clock.advance(5)
    with store.client.pubsub() as channel:
        channel.subscribe("taskflow:ended:a")
        channel.get_message(timeout=1)

        assert await inspector.archive("a") == state

        heard = channel.get_message(timeout=1)
    assert heard is not None
    assert heard["data"] == b"archived"
    assert store.state("a") == "archived"
    assert store.message("a") == message
    assert store.scores("archived") == pytest.approx({"a": clock.now()}, abs=2)
    assert store.client.exists(LOCK) == 0
    assert not (await inspector.task("a")).cancelled


@pytest.mark.parametrize("state", ["active", "archived"])
async def test_what_runs_or_is_archived_is_not_archived(
    broker: Broker, inspector: Inspector, store: Store, clock: MovableClock, state: str
) -> None:
    await bring(broker, clock, state)
    before = store.snapshot()

    with pytest.raises(REFUSALS[state]):
        await inspector.archive("a")

    assert store.snapshot() == before


async def test_a_cancellation_that_a_go_worker_ignored_is_not_forgotten_by_the_archive(
    broker: Broker, inspector: Inspector, store: Store, clock: MovableClock
) -> None:
    """Its worker put the task in retry all the same; the mark is still there."""
    await bring(broker, clock, "retry")
    store.client.hset(store.key("t:a"), "stop", 17)

    await inspector.archive("a")

    assert (await inspector.task("a")).cancelled
    assert "stop" not in store.hash("a")


# -- edit -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["scheduled", "retry"])
async def test_a_payload_is_changed_and_nothing_else(
    broker: Broker, inspector: Inspector, store: Store, clock: MovableClock, state: str
) -> None:
    await bring(broker, clock, state)
    before, scores, due = store.message("a"), store.scores(state), store.due()

    info = await inspector.edit("a", payload={"to": "ada"})

    assert (info.state, info.payload) == (state, b'{"to":"ada"}')
    after = store.message("a")
    assert after.payload == b'{"to":"ada"}'
    after.payload = before.payload
    assert after == before
    assert (store.scores(state), store.due()) == (scores, due)
    assert store.client.get(LOCK) == b"a"


async def test_fields_that_only_a_newer_peer_knows_survive_an_edit(
    broker: Broker, inspector: Inspector, store: Store, clock: MovableClock
) -> None:
    await bring(broker, clock, "scheduled")
    unknown = b"\xa2\x06\x03new"  # field 100, text
    store.client.hset(store.key("t:a"), "msg", store.hash("a")["msg"] + unknown)

    await inspector.edit("a", payload=b"raw")

    assert unknown in store.hash("a")["msg"]
    assert store.message("a").payload == b"raw"


@pytest.mark.parametrize("state", ["scheduled", "retry"])
@pytest.mark.parametrize(("seconds", "exact"), [(120.25, True), (3600.0, False), (0.5, True), (-60.0, False)])
async def test_a_due_time_is_changed(
    broker: Broker, inspector: Inspector, store: Store, clock: MovableClock, state: str, seconds: float, exact: bool
) -> None:
    await bring(broker, clock, state)
    due = int(clock.now()) + seconds

    info = await inspector.edit("a", "default", process_at=datetime.fromtimestamp(due, UTC))

    assert info.next_process_at == datetime.fromtimestamp(due, UTC)
    assert store.scores(state) == {"a": -(-due // 1)}
    assert store.due() == ({"a": due} if exact else {})
    clock.advance(seconds + 1)
    await broker.forward(["default"])
    assert store.state("a") == "pending"


async def test_a_nearer_due_time_is_told(
    broker: Broker, inspector: Inspector, store: Store, clock: MovableClock
) -> None:
    await bring(broker, clock, "scheduled")
    await enqueue(broker, placement("b", due=clock.now() + 30))
    with store.client.pubsub() as channel:
        channel.subscribe("taskflow:due")
        channel.get_message(timeout=1)

        await inspector.edit("a", process_at=datetime.fromtimestamp(clock.now() + 45, UTC))
        assert channel.get_message(timeout=0.05) is None
        await inspector.edit("a", process_at=datetime.fromtimestamp(clock.now() + 15, UTC))

        heard = channel.get_message(timeout=1)
    assert heard is not None
    assert heard["data"] == b"default"


async def test_the_end_of_a_lock_moves_with_a_task_that_is_put_off(
    broker: Broker, inspector: Inspector, store: Store, clock: MovableClock
) -> None:
    await bring(broker, clock, "scheduled")
    due = (await inspector.task("a")).next_process_at
    assert due is not None

    await inspector.edit("a", process_at=due + timedelta(seconds=500))
    assert store.client.ttl(LOCK) == pytest.approx(560, abs=2)

    await inspector.edit("a", process_at=due)
    assert store.client.ttl(LOCK) == pytest.approx(560, abs=2)


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ("pending", TaskNotScheduled),
        ("aggregating", TaskNotScheduled),
        ("active", TaskActive),
        ("completed", TaskFinished),
        ("archived", TaskFinished),
    ],
)
async def test_what_does_not_wait_for_its_time_is_not_edited(
    broker: Broker,
    inspector: Inspector,
    store: Store,
    clock: MovableClock,
    state: str,
    error: type[TaskFlowError],
) -> None:
    await bring(broker, clock, state)
    before = store.snapshot()

    with pytest.raises(error):
        await inspector.edit("a", payload=1, process_at=datetime.now(UTC))

    assert store.snapshot() == before


async def test_an_edit_that_cannot_be(broker: Broker, inspector: Inspector, store: Store, clock: MovableClock) -> None:
    with pytest.raises(TaskNotFound):
        await inspector.edit("a", "default", payload=1)
    await bring(broker, clock, "scheduled")
    with pytest.raises(InvalidOption):
        await inspector.edit("a")
    with pytest.raises(InvalidOption):
        await inspector.edit("a", process_at=datetime(2030, 1, 1))  # noqa: DTZ001 - that is what is wrong with it
    store.client.hset(store.key("t:a"), "msg", b"\xff\xff")
    with pytest.raises(MessageInvalid):
        await inspector.edit("a", payload=1)

    await inspector.edit("a", process_at=datetime.fromtimestamp(clock.now() + 5, UTC))

    assert store.hash("a")["msg"] == b"\xff\xff"


async def test_an_edit_does_not_undo_what_happened_meanwhile(
    broker: Broker, inspector: Inspector, store: Store, clock: MovableClock
) -> None:
    """Between reading and writing the task ran and failed: its new history must not be lost."""
    await bring(broker, clock, "scheduled")
    attempt = broker.attempt

    async def read_then_run(*commands: tuple[Any, ...]) -> list[Any]:
        replies = await attempt(*commands)
        if commands[0][0] == "HGET" and store.message("a").retried == 0:
            await inspector.run("a")
            (delivery,) = await take(broker)
            await broker.settle([(delivery, Retry(clock.now() + 5, "first"))])
        return replies

    broker.attempt = read_then_run  # type: ignore[method-assign]

    await inspector.edit("a", payload="new")

    message = store.message("a")
    assert (message.retried, message.error_msg, message.payload) == (1, "first", b'"new"')


# -- many -------------------------------------------------------------------------------------------------------------


def outcome_of(call: str, state: str) -> object:
    """What a call answers for a task in a state: the state, or the class of the error."""
    refused: dict[str, dict[str, type[TaskFlowError]]] = {
        "run": {"pending": TaskPending, "active": TaskActive},
        "archive": {"archived": TaskFinished, "active": TaskActive},
        "delete": {"active": TaskActive},
        "cancel": {"completed": TaskFinished, "archived": TaskFinished},
    }
    return refused[call].get(state, TaskState(state))


@pytest.mark.parametrize("call", ["run", "archive", "delete", "cancel"])
async def test_many_are_steered_in_one_round_trip_each_with_its_answer(
    broker: Broker, inspector: Inspector, store: Store, clock: MovableClock, call: str
) -> None:
    for state in reversed(STATES):  # pending last: those before it are taken off the queue
        await bring(broker, clock, state, state, lock=f"asynq:{{default}}:unique:{state}:1")
    store.client.set(store.key("t:kind"), "another kind")
    await broker.open()

    answers = await getattr(inspector, f"{call}_many")([*STATES, "nowhere", "kind"], "default")

    seen = [answer if isinstance(answer, TaskState) else type(answer) for answer in answers]
    assert seen == [*(outcome_of(call, state) for state in STATES), TaskNotFound, TaskNotFound]
    after = {"run": "pending", "archive": "archived", "delete": None, "cancel": "archived"}[call]
    for state in STATES:
        moved = outcome_of(call, state) == state and not (call == "cancel" and state == "active")
        assert store.state(state) == (after if moved else state)
    store.client.delete(store.key("t:kind"))


async def test_the_same_id_twice_is_steered_once(broker: Broker, inspector: Inspector, store: Store) -> None:
    await enqueue(broker, placement("a", group="g"))

    first, second = await inspector.run_many(["a", "a"], "default")

    assert first is TaskState.AGGREGATING
    assert isinstance(second, TaskPending)
    assert store.list("pending") == ["a"]


@pytest.mark.parametrize("count", [1, 4, 5, 700])
async def test_pending_tasks_are_taken_from_wherever_they_stand(
    broker: Broker, inspector: Inspector, store: Store, count: int
) -> None:
    """Few are searched one by one, many in one walk through the list."""
    names = [f"{i}" for i in range(3000)]
    await enqueue(broker, *(placement(name) for name in names))
    chosen = names[:: len(names) // count][:count]

    answers = await inspector.delete_many(chosen, "default")

    assert answers == [TaskState.PENDING] * count
    left = set(names) - set(chosen)
    assert store.list("pending") == [name for name in reversed(names) if name in left]


async def test_a_task_in_a_state_that_there_is_not_is_left_alone(
    broker: Broker, inspector: Inspector, store: Store
) -> None:
    await enqueue(broker, placement("a"))
    store.client.hset(store.key("t:a"), "state", "lease")

    for call in (inspector.run_many, inspector.archive_many, inspector.delete_many, inspector.cancel_many):
        (answer,) = await call(["a"], "default")
        assert isinstance(answer, TaskNotFound)

    assert store.list("pending") == ["a"]
    store.client.hset(store.key("t:a"), "state", "pending")


async def test_a_key_of_another_kind_stops_a_batch_before_anything_is_written(
    broker: Broker, inspector: Inspector, store: Store, raw: redis.Redis
) -> None:
    await enqueue(broker, placement("a"), placement("b", due=4e9))
    raw.set(store.key("archived"), "another kind")
    before = store.snapshot()

    for call in (inspector.run_many, inspector.archive_many, inspector.delete_many, inspector.cancel_many):
        with pytest.raises(TaskFlowError):
            await call(["a", "b"], "default")

    assert store.snapshot() == before
    raw.delete(store.key("archived"))


async def test_a_message_from_go_is_steered_like_ours(broker: Broker, inspector: Inspector, store: Store) -> None:
    """Asynq writes no group into the hash of a scheduled task, and no pending_since when it runs one."""
    message = TaskMessage(type="t", id="g", queue="default", group_key="g", retry=25)
    store.client.sadd("asynq:queues", "default")
    store.client.hset(store.key("t:g"), mapping={"msg": message.SerializeToString(), "state": "scheduled"})
    store.client.zadd(store.key("scheduled"), {"g": 4e9})

    assert await inspector.run("g") is TaskState.SCHEDULED

    assert [delivery.id for delivery in await take(broker)] == ["g"]
