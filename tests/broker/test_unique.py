"""Unique locks: what makes a task the same, when its lock ends, and what becomes of the next one; script by script."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from conftest import WaitUntil
from support.clock import MovableClock
from support.store import Store
from support.tasks import LOCK, enqueue, placement, take, taken
from taskflow import Broker, Inspector, Unique
from taskflow.broker.delivery import Archive, Complete, Delivery, Done, Requeue, Retry
from taskflow.broker.groups import Aggregation, GroupPolicy, Groups
from taskflow.broker.placement import ID_TAKEN, REPEAT, STORED, Placed, Placement
from taskflow.broker.reading import task_info
from taskflow.errors import InvalidUnique
from taskflow.unique import OnConflict
from taskflow.wire.keys import queue_keys
from taskflow.wire.message import TaskMessage
from taskflow.wire.unique import chosen, lock_key

pytestmark = pytest.mark.usefixtures("invariants_hold")

HOUR = timedelta(hours=1)


# -- what makes a task the same ---------------------------------------------------------------------------------------


def key_of(unique: Unique, payload: bytes | None = b"{}", *, queue: str = "q", task_type: str = "t") -> str:
    return lock_key(queue_keys(queue), task_type, payload, unique)


def test_by_default_the_payload_makes_a_task_the_same_as_in_asynq() -> None:
    assert key_of(Unique(HOUR), b"{}") == "asynq:{q}:unique:t:99914b932bd37a50b983c5e7c90ae93b"
    assert key_of(Unique(HOUR), None) == "asynq:{q}:unique:t:"


def test_a_key_makes_a_task_the_same_within_its_queue_and_type() -> None:
    unique = Unique(HOUR, key="user 42")

    assert key_of(unique) == key_of(unique, b"another payload") == "asynq:{q}:unique:t:key=user 42"
    assert key_of(unique) != key_of(unique, task_type="other")
    assert key_of(unique) != key_of(unique, queue="other")


def test_locks_of_different_types_and_kinds_never_meet() -> None:
    """What follows the last colon tells the kind; a key's own colons are written otherwise."""
    digest = key_of(Unique(HOUR), b"{}").rpartition(":")[2]

    assert key_of(Unique(HOUR, key=digest)) != key_of(Unique(HOUR), b"{}")
    assert key_of(Unique(HOUR, key="a:key=b")) != key_of(Unique(HOUR, key="b"), task_type="t:key=a")
    assert key_of(Unique(HOUR, key="a:b")) != key_of(Unique(HOUR, key="a%3Ab"))


def test_chosen_fields_make_a_task_the_same_however_the_payload_is_written() -> None:
    unique = Unique(HOUR, fields=("user", "kind"))
    same = [b'{"kind":"a","user":{"x":1,"y":[2]}}', b'{ "user": {"y": [2], "x": 1}, "n": 7, "kind": "a" }']

    assert {key_of(unique, payload) for payload in same} == {key_of(Unique(HOUR, fields=("kind", "user")), same[0])}
    assert key_of(unique, b'{"kind":"b","user":{"x":1,"y":[2]}}') != key_of(unique, same[0])
    assert chosen(same[1], ("user", "kind")) == b'{"kind":"a","user":{"x":1,"y":[2]}}'


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'{"user": {"id": 7, "name": "x"}}', b'{"user.id":7}'),
        (b'{"user": {"id": null}}', b'{"user.id":null}'),
        (b'{"user": {}}', b"{}"),
        (b'{"user": 7}', b"{}"),
        (b"{}", b"{}"),
    ],
)
def test_a_dot_looks_into_an_object_and_a_missing_field_is_one_more_value(payload: bytes, expected: bytes) -> None:
    assert chosen(payload, ("user.id",)) == expected


@pytest.mark.parametrize("payload", [None, b"", b"[1]", b"7", b"null", b"\xff", b"{", b"[" * 5000])
def test_fields_need_a_json_object(payload: bytes | None) -> None:
    with pytest.raises(InvalidUnique, match="JSON object"):
        key_of(Unique(HOUR, fields=("a",)), payload)


@pytest.mark.parametrize(
    ("choices", "word"),
    [
        ({"ttl": timedelta(milliseconds=999)}, "at least 1 second"),
        ({"ttl": 60}, "at least 1 second"),
        ({"ttl": timedelta(days=40_000)}, "at least 1 second"),
        ({"key": ""}, "key must be"),
        ({"key": "é" * 129}, "1 to 256 bytes"),
        ({"key": "\ud800"}, "UTF-8"),
        ({"key": 7}, "key must be"),
        ({"fields": ()}, "one or more names"),
        ({"fields": "user"}, "tuple of one or more names"),
        ({"fields": ["user"]}, "tuple of one or more names"),
        ({"fields": ("user", "")}, "tuple of one or more names"),
        ({"fields": ("user", 7)}, "tuple of one or more names"),
        ({"fields": ("\ud800",)}, "tuple of one or more names"),
        ({"key": "a", "fields": ("a",)}, "not both"),
        ({"until": "ended"}, "done, started, expired"),
        ({"on_conflict": "ignore"}, "refuse, return, replace"),
    ],
)
def test_choices_that_cannot_be_used_are_refused_with_their_name(choices: dict[str, Any], word: str) -> None:
    with pytest.raises(InvalidUnique, match=word):
        Unique(**({"ttl": HOUR} | choices))


# -- until when -------------------------------------------------------------------------------------------------------


async def test_a_lock_until_the_start_is_freed_when_a_worker_takes_the_task(broker: Broker, store: Store) -> None:
    await enqueue(broker, placement("a", lock=LOCK, until="started"))
    assert store.client.get(LOCK) == b"a"
    assert store.hash("a")["unique_key"] == LOCK.encode()
    assert store.hash("a")["lock_until"] == b"started"

    await take(broker)

    assert store.client.get(LOCK) is None
    assert {"unique_key", "lock_until"}.isdisjoint(store.hash("a"))
    assert store.message("a").unique_key == LOCK, "a Go worker frees it by this when the task is done"
    assert await broker.enqueue([placement("b", lock=LOCK)]) == [STORED]


async def test_a_lock_until_the_start_is_freed_when_a_task_is_taken_at_its_push(broker: Broker, store: Store) -> None:
    assert await take(broker) == []  # so that the server knows the script: a push is not waited for twice
    await enqueue(broker, placement("a", lock=LOCK, until="started"))

    pushed = await broker.take_at_push("default", seconds=1, owner="s:1")

    assert [delivery.id for delivery in pushed.deliveries] == ["a"]
    assert store.client.get(LOCK) is None


@pytest.mark.parametrize("way", ["retried", "requeued", "reclaimed", "done", "deleted"])
async def test_a_task_that_was_started_leaves_the_next_ones_lock_alone(
    broker: Broker, store: Store, inspector: Inspector, clock: MovableClock, way: str
) -> None:
    (delivery,) = await taken(broker, placement("a", lock=LOCK, until="started"), owner="s:1")
    await enqueue(broker, placement("b", lock=LOCK, until="started", due=clock.now() + 1000))

    match way:
        case "retried":
            await broker.settle([(delivery, Retry(clock.now(), "no"))])
            await broker.forward(["default"])
            await take(broker, 1)
        case "requeued":
            await broker.settle([(delivery, Requeue())])
            await take(broker, 1)
        case "reclaimed":
            assert await broker.reclaim(["default"], owner="s:1") == (1, [])
            await take(broker, 1)
        case "done":
            await broker.settle([(delivery, Done())])
        case _:
            await broker.settle([(delivery, Retry(clock.now() + 9, "no"))])
            await inspector.delete("a", "default")

    assert store.client.get(LOCK) == b"b"


async def test_a_waiting_task_that_is_deleted_frees_its_lock_until_the_start(
    broker: Broker, store: Store, inspector: Inspector
) -> None:
    await enqueue(broker, placement("a", lock=LOCK, until="started"), placement("b", lock=f"{LOCK}b", until="started"))

    await inspector.delete("a", "default")
    await inspector.cancel("b", "default")

    assert store.client.exists(LOCK, f"{LOCK}b") == 0


async def done(broker: Broker, inspector: Inspector, delivery: Delivery) -> None:
    await broker.settle([(delivery, Done())])


async def completed(broker: Broker, inspector: Inspector, delivery: Delivery) -> None:
    await broker.settle([(delivery, Complete())])


async def archived(broker: Broker, inspector: Inspector, delivery: Delivery) -> None:
    await broker.settle([(delivery, Archive("no"))])


async def deleted(broker: Broker, inspector: Inspector, delivery: Delivery) -> None:
    await archived(broker, inspector, delivery)
    await inspector.delete(delivery.id, delivery.queue)


async def cancelled(broker: Broker, inspector: Inspector, delivery: Delivery) -> None:
    await broker.settle([(delivery, Requeue())])
    await inspector.cancel(delivery.id, delivery.queue)


ENDS = [done, completed, archived, deleted, cancelled]
End = Callable[[Broker, Inspector, Delivery], Awaitable[None]]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("choice", ["refuse", "return", "replace"])
async def test_a_lock_until_its_time_is_over_stays_whatever_becomes_of_the_task(
    broker: Broker, store: Store, inspector: Inspector, fixed_locks: set[str], end: End, choice: OnConflict
) -> None:
    fixed_locks.add(LOCK)
    (delivery,) = await taken(broker, placement("a", lock=LOCK, until="expired", lock_seconds=60, retention=60))
    assert "unique_key" not in store.hash("a")
    assert store.message("a").unique_key == ""

    await end(broker, inspector, delivery)

    assert store.client.get(LOCK) == b"a"
    assert 58 <= store.client.ttl(LOCK) <= 60
    (placed,) = await broker.enqueue([placement("b", lock=LOCK, until="expired", on_conflict=choice)])
    assert (placed.stored, placed.holder) == (False, "a")
    assert store.state("b") is None


@pytest.mark.parametrize("choice", ["refuse", "return", "replace"])
async def test_a_lock_until_its_time_is_over_keeps_out_its_own_id_too(
    broker: Broker, store: Store, fixed_locks: set[str], choice: OnConflict
) -> None:
    fixed_locks.add(LOCK)
    again = placement("a", lock=LOCK, until="expired", on_conflict=choice)
    (delivery,) = await taken(broker, again)
    await broker.settle([(delivery, Done())])

    (placed,) = await broker.enqueue([again])

    assert (placed.stored, placed.holder) == (False, "a")
    assert store.state("a") is None


async def test_a_lock_until_its_time_is_over_ends_then(broker: Broker, store: Store, wait_until: WaitUntil) -> None:
    await enqueue(broker, placement("a", lock=LOCK, until="expired", lock_seconds=1))

    await wait_until(lambda: not store.client.exists(LOCK), 3)

    assert await broker.enqueue([placement("b", lock=LOCK)]) == [STORED]


# -- asynq's tasks in groups, whose locks their messages name, not their hashes ---------------------------------------


async def in_group_as_asynq_writes_it(broker: Broker, store: Store, message: TaskMessage) -> None:
    await enqueue(broker, placement("a", group="g", lock=LOCK))
    store.client.hdel(store.key("t:a"), "unique_key")
    store.client.hset(store.key("t:a"), "msg", message.SerializeToString())


STEERS = ["cancel", "archive", "delete"]


@pytest.mark.parametrize("steer", STEERS)
async def test_the_lock_of_asynqs_task_in_a_group_is_freed_with_the_task(
    broker: Broker, store: Store, inspector: Inspector, steer: str
) -> None:
    message = TaskMessage(
        type="t", payload=b"x" * 300, id="a", queue="default", retry=2**31 - 1, timeout=-1, deadline=2**62
    )
    message.unique_key = LOCK
    message.headers["a"] = "b"
    await in_group_as_asynq_writes_it(broker, store, message)

    await getattr(inspector, steer)("a", "default")

    assert not store.client.exists(LOCK)


@pytest.mark.parametrize("steer", STEERS)
@pytest.mark.parametrize("other", ["another task's lock", "another key", "no lock", "no message"])
async def test_what_a_message_says_frees_no_key_but_the_tasks_own_lock(
    broker: Broker, store: Store, inspector: Inspector, fixed_locks: set[str], steer: str, other: str
) -> None:
    fixed_locks.add(LOCK)
    key = {"another task's lock": LOCK, "another key": "asynq:{other}:unique:t:1"}.get(other, "")
    await in_group_as_asynq_writes_it(broker, store, TaskMessage(type="t", id="a", queue="default", unique_key=key))
    store.client.set(key or LOCK, "a" if other == "another key" else "b", ex=60)
    if other == "no message":
        store.client.hset(store.key("t:a"), "msg", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")

    await getattr(inspector, steer)("a", "default")

    assert store.client.exists(key or LOCK)
    assert store.scores("g:g") == {}


# -- a clash with a task in each state --------------------------------------------------------------------------------


async def pending(broker: Broker, groups: Groups, one: Callable[..., Placement]) -> None:
    await enqueue(broker, placement("before"), one(), placement("behind"))


async def scheduled(broker: Broker, groups: Groups, one: Callable[..., Placement]) -> None:
    await enqueue(broker, one(due=broker.clock.now() + 100.5))


async def in_retry(broker: Broker, groups: Groups, one: Callable[..., Placement]) -> None:
    (delivery,) = await taken(broker, one())
    await broker.settle([(delivery, Retry(broker.clock.now() + 100.5, "no"))])


async def aggregating(broker: Broker, groups: Groups, one: Callable[..., Placement]) -> None:
    await enqueue(broker, one(group="g"))


async def in_a_closed_set(broker: Broker, groups: Groups, one: Callable[..., Placement]) -> None:
    await enqueue(broker, one(group="g"), placement("other", group="g"))
    assert len(await groups.close("default", GroupPolicy(max_size=2))) == 1


async def active(broker: Broker, groups: Groups, one: Callable[..., Placement]) -> None:
    await taken(broker, one())


WAITING = [pending, scheduled, in_retry, aggregating, in_a_closed_set]
Clash = Callable[[Broker, Groups, Callable[..., Placement]], Awaitable[None]]


@pytest.fixture
def groups(broker: Broker) -> Groups:
    return Groups(broker)


def holder(**more: Any) -> Placement:
    return placement("a", lock=LOCK, payload=b"old", **more)


@pytest.mark.parametrize("state", [*WAITING, active])
async def test_refuse_names_the_holder_and_writes_nothing(
    broker: Broker, groups: Groups, store: Store, state: Clash
) -> None:
    await state(broker, groups, holder)
    before = store.snapshot()

    assert await broker.enqueue([placement("b", lock=LOCK)]) == [Placed(stored=False, holder="a")]

    assert store.snapshot() == before


@pytest.mark.parametrize("state", [*WAITING, active])
async def test_return_tells_all_that_is_known_of_the_holder_and_writes_nothing(
    broker: Broker, groups: Groups, store: Store, inspector: Inspector, state: Clash
) -> None:
    await state(broker, groups, holder)
    before = store.snapshot()

    (placed,) = await broker.enqueue([placement("b", lock=LOCK, on_conflict="return")])

    assert (placed.stored, placed.holder) == (False, "a")
    assert placed.found is not None
    info = task_info("default", "a", placed.found, now=broker.clock.now())
    assert info == await inspector.task("a", "default")
    assert store.snapshot() == before


@pytest.mark.parametrize("place", [{}, {"due": 50.25}, {"group": "g"}, {"group": "h"}])
@pytest.mark.parametrize("state", WAITING)
async def test_replace_takes_the_place_of_a_task_that_waits(
    broker: Broker, groups: Groups, store: Store, state: Clash, place: dict[str, Any]
) -> None:
    await state(broker, groups, holder)
    if "due" in place:
        place = {"due": round(broker.clock.now() + place["due"], 6)}
    others = [task_id for task_id in ("before", "behind", "other") if store.state(task_id)]
    new = placement("b", lock=LOCK, on_conflict="replace", payload=b"new", **place)

    assert await broker.enqueue([new]) == [Placed(stored=True, holder="a")]

    assert store.hash("a") == {}
    assert store.state("b") == new.state
    assert store.message("b").payload == b"new"
    assert store.client.get(LOCK) == b"b"
    assert store.hash("b")["unique_key"] == LOCK.encode()
    assert all(store.state(task_id) for task_id in others)


@pytest.mark.parametrize("ending", ["done", "expired"])
async def test_replace_does_not_touch_a_task_that_runs(
    broker: Broker, groups: Groups, store: Store, fixed_locks: set[str], ending: Any
) -> None:
    fixed_locks.add(LOCK)
    await active(broker, groups, lambda **more: holder(until=ending, **more))
    before = store.snapshot()

    answer = await broker.enqueue([placement("b", lock=LOCK, on_conflict="replace")])

    assert answer == [Placed(stored=False, holder="a", state="active")]
    assert store.snapshot() == before


async def test_replace_takes_over_a_fixed_lock_of_a_task_that_waits(broker: Broker, store: Store) -> None:
    await enqueue(broker, holder(until="expired", due=broker.clock.now() + 100))

    assert await broker.enqueue([placement("b", lock=LOCK, on_conflict="replace")]) == [Placed(stored=True, holder="a")]

    assert store.client.get(LOCK) == b"b"


async def test_the_next_attempts_of_a_replaced_task_go_with_it(broker: Broker, groups: Groups, store: Store) -> None:
    """A debounce with an id of its own: the new call stands in for the old one, even if they are alike to the byte."""
    again = placement("a", lock=LOCK, on_conflict="replace", due=broker.clock.now() + 5)
    await enqueue(broker, again)
    later = placement("a", lock=LOCK, on_conflict="replace", due=broker.clock.now() + 60)

    assert await broker.enqueue([later]) == [Placed(stored=True, holder="a")]

    assert store.scores("scheduled")["a"] == pytest.approx(broker.clock.now() + 60, abs=2)
    assert again.message == later.message


@pytest.mark.parametrize("choice", ["refuse", "return", "replace"])
async def test_an_id_that_another_lock_holds_is_taken(broker: Broker, store: Store, choice: OnConflict) -> None:
    await enqueue(broker, placement("a", lock=f"{LOCK}other"), placement("holder", lock=LOCK))
    before = store.snapshot()

    answer = await broker.enqueue([placement("a", lock=LOCK, payload=b"another", on_conflict=choice)])

    assert answer == [ID_TAKEN]
    assert store.snapshot() == before


@pytest.mark.parametrize("choice", ["return", "replace"])
async def test_a_repeat_is_known_while_the_task_runs(broker: Broker, store: Store, choice: OnConflict) -> None:
    again = placement("a", lock=LOCK, on_conflict=choice)
    await taken(broker, again)
    before = store.snapshot()

    (placed,) = await broker.enqueue([again])

    assert placed == REPEAT if choice == "replace" else placed.holder == "a"
    assert store.snapshot() == before


async def test_a_lock_that_an_older_task_of_the_same_id_has_left_replaces_nothing(
    broker: Broker, store: Store, fixed_locks: set[str]
) -> None:
    """The lock `LOCK` is that of a task which is gone; the task that has its id now holds another lock."""
    fixed_locks.add(LOCK)
    (delivery,) = await taken(broker, placement("a", lock=LOCK, until="expired"))
    await broker.settle([(delivery, Done())])
    await enqueue(broker, placement("a", lock=f"{LOCK}other"))
    before = store.snapshot()

    answer = await broker.enqueue([placement("b", lock=LOCK, on_conflict="replace")])

    assert answer == [Placed(stored=False, holder="a", state="")]
    assert store.snapshot() == before


# -- within one batch -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [{}, {"due": 50.25}, {"group": "g"}])
async def test_one_batch_may_replace_its_own_tasks(broker: Broker, store: Store, place: dict[str, Any]) -> None:
    if "due" in place:
        place = {"due": round(broker.clock.now() + place["due"], 6)}
    one = {"lock": LOCK, "on_conflict": "replace", **place}
    batch = [placement("x"), placement("a", **one), placement("y"), placement("b", **one), placement("c", **one)]

    placed = await broker.enqueue([*batch, placement("z")])

    assert placed == [
        STORED,
        STORED,
        STORED,
        Placed(stored=True, holder="a"),
        Placed(stored=True, holder="b"),
        STORED,
    ]
    waiting = [task_id for task_id in store.list("pending") if task_id != "c"]
    assert waiting == ["z", "y", "x"]
    assert store.hash("a") == store.hash("b") == {}
    assert store.state("c") == batch[-1].state
    assert store.client.get(LOCK) == b"c"


async def test_one_batch_may_mix_the_choices(broker: Broker, store: Store) -> None:
    batch = [
        placement("a", lock=LOCK),
        placement("b", lock=LOCK, on_conflict="return"),
        placement("c", lock=LOCK, on_conflict="replace"),
        placement("d", lock=LOCK),
    ]

    placed = await broker.enqueue(batch)

    assert [one.stored for one in placed] == [True, False, True, False]
    assert [one.holder for one in placed] == [None, "a", "a", "c"]
    assert store.list("pending") == ["c"]


async def test_a_lock_is_replaced_many_times_over_several_calls_of_the_script(broker: Broker, store: Store) -> None:
    batch = [placement(f"{i}", lock=LOCK, on_conflict="replace") for i in range(1201)]

    placed = await broker.enqueue(batch)

    assert [one.holder for one in placed] == [None, *(f"{i}" for i in range(1200))]
    assert store.list("pending") == ["1200"]


@pytest.mark.parametrize("spoilt", ["retry", "aggregation_sets", "t:a"])
async def test_a_key_of_another_kind_keeps_the_holder_and_the_rest_of_the_batch_is_stored(
    broker: Broker, groups: Groups, store: Store, spoilt: str
) -> None:
    await (in_retry if spoilt == "retry" else in_a_closed_set)(broker, groups, holder)
    store.client.delete(store.key(spoilt))
    store.client.set(store.key(spoilt), "another kind")

    placed = await broker.enqueue([placement("x"), placement("b", lock=LOCK, on_conflict="replace"), placement("y")])

    assert [one.stored for one in placed] == [True, False, True]
    assert store.list("pending") == ["y", "x"]
    assert store.client.get(LOCK) == b"a"
    store.client.flushall()


# -- aggregate tasks --------------------------------------------------------------------------------------------------


async def test_an_aggregate_task_may_replace_the_holder_of_its_lock(
    broker: Broker, groups: Groups, store: Store
) -> None:
    await enqueue(broker, holder(due=broker.clock.now() + 9), placement("m", group="g"), placement("n", group="g"))
    (closed,) = await groups.close("default", GroupPolicy(max_size=2))
    one = placement("sum", lock=LOCK, until="started", on_conflict="replace")

    assert await groups.settle(closed, one) is Aggregation.STORED

    assert store.list("pending") == ["sum"]
    assert store.hash("a") == {}
    assert store.client.get(LOCK) == b"sum"
    assert store.hash("sum")["lock_until"] == b"started"


async def test_an_aggregate_task_does_not_replace_a_task_that_runs(
    broker: Broker, groups: Groups, store: Store
) -> None:
    await taken(broker, holder())
    await enqueue(broker, placement("m", group="g"), placement("n", group="g"))
    (closed,) = await groups.close("default", GroupPolicy(max_size=2))
    before = store.snapshot()

    assert await groups.settle(closed, placement("sum", lock=LOCK, on_conflict="replace")) is Aggregation.LOCKED

    assert store.snapshot() == before
    assert await groups.reopen(closed) == 2


async def test_an_aggregate_tasks_lock_may_last_for_its_time(
    broker: Broker, groups: Groups, store: Store, fixed_locks: set[str]
) -> None:
    fixed_locks.add(LOCK)
    await enqueue(broker, placement("m", group="g"), placement("n", group="g"))
    (closed,) = await groups.close("default", GroupPolicy(max_size=2))

    assert await groups.settle(closed, placement("sum", lock=LOCK, until="expired")) is Aggregation.STORED

    (delivery,) = await take(broker)
    await broker.settle([(delivery, Done())])
    assert store.client.get(LOCK) == b"sum"
