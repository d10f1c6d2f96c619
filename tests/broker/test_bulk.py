"""Inspector: all tasks of a state, in bounded chunks, whatever else happens in the queue meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from support.clock import MovableClock
from support.store import Store
from support.tasks import STATES, bring, enqueue, placement, take
from taskflow import Broker, Inspector, TaskState
from taskflow.broker.delivery import Archive, Complete, Outcome, Retry
from taskflow.broker.scripts import Call
from taskflow.errors import InvalidOption, InvalidQueue, InvalidTaskState, QueueNotFound

pytestmark = pytest.mark.usefixtures("invariants_hold")

BULK = 20_000
STEERABLE = {
    "run": ("scheduled", "retry", "aggregating", "completed", "archived"),
    "archive": ("pending", "scheduled", "retry", "aggregating", "completed"),
    "delete": ("pending", "scheduled", "retry", "aggregating", "completed", "archived"),
    "cancel": ("pending", "scheduled", "retry", "aggregating", "active"),
}
CASES = [(call, state) for call, states in STEERABLE.items() for state in states]
AFTER = {"run": "pending", "archive": "archived", "delete": None, "cancel": "archived"}
OUTCOMES: dict[str, Outcome] = {"retry": Retry(4e9, "no"), "completed": Complete(b"1"), "archived": Archive("no")}


async def fill(broker: Broker, state: str, names: Iterable[str]) -> list[str]:
    """Bring many tasks into a state; nothing may be pending before."""
    due = 4e9 if state == "scheduled" else None
    group = "g" if state == "aggregating" else ""
    tasks = [placement(name, due=due, group=group, retention=600) for name in names]
    await enqueue(broker, *tasks)
    if state == "active" or state in OUTCOMES:
        deliveries = [one for _ in range(0, len(tasks), 500) for one in await take(broker, 500)]
        if state in OUTCOMES:
            await broker.settle([(delivery, OUTCOMES[state]) for delivery in deliveries])
    return [task.id for task in tasks]


@pytest.mark.parametrize(("call", "state"), CASES)
async def test_all_of_a_state_are_steered_and_no_others(
    broker: Broker, inspector: Inspector, store: Store, clock: MovableClock, call: str, state: str
) -> None:
    names: list[str] = []
    for other in reversed(STATES):  # pending last: what stands there would be taken with the others
        if other == state:
            names = await fill(broker, state, (f"{i}" for i in range(1203)))
        elif other != "aggregating":
            await bring(broker, clock, other, other, lock="")
    others = [other for other in STATES if other not in {state, "aggregating"}]
    told: list[tuple[int, int]] = []

    count = await getattr(inspector, f"{call}_all")(
        "default", TaskState(state), progress=lambda done, total: told.append((done, total))
    )

    assert count == len(names) == 1203
    assert told == [(500, 1203), (1000, 1203), (1203, 1203)]
    assert {store.state(name) for name in names} == {state if state == "active" else AFTER[call]}
    assert all("stop" in store.hash(name) for name in names if state == "active")
    assert [store.state(other) for other in others] == others


@pytest.mark.parametrize(
    ("call", "state"),
    [("run", "pending"), ("run", "active"), ("archive", "archived"), ("delete", "active"), ("cancel", "completed")],
)
async def test_what_cannot_be_in_a_state_is_refused(
    broker: Broker, inspector: Inspector, clock: MovableClock, call: str, state: str
) -> None:
    await bring(broker, clock, state)

    with pytest.raises(InvalidTaskState, match=state):
        await getattr(inspector, f"{call}_all")("default", TaskState(state))


async def test_orders_that_make_no_sense_are_refused(broker: Broker, inspector: Inspector) -> None:
    await enqueue(broker, placement("a"))

    with pytest.raises(QueueNotFound):
        await inspector.delete_all("nowhere", TaskState.PENDING)
    with pytest.raises(InvalidQueue):
        await inspector.delete_all("no{queue", TaskState.PENDING)
    with pytest.raises(InvalidOption, match="group"):
        await inspector.delete_all("default", TaskState.PENDING, group="g")
    assert await inspector.delete_all("default", TaskState.ARCHIVED) == 0
    assert await inspector.delete_all("default", TaskState.AGGREGATING, group="nowhere") == 0


async def test_one_group_or_all_groups(broker: Broker, inspector: Inspector, store: Store) -> None:
    await enqueue(broker, *(placement(f"{group}{i}", group=group) for group in "xyz" for i in range(3)))

    assert await inspector.run_all("default", TaskState.AGGREGATING, group="y") == 3
    assert store.client.smembers(store.key("groups")) == {b"x", b"z"}
    assert await inspector.archive_all("default", TaskState.AGGREGATING) == 6

    assert store.client.smembers(store.key("groups")) == set()
    assert sorted(store.list("pending")) == ["y0", "y1", "y2"]


async def test_members_that_are_being_aggregated_are_left_alone(
    broker: Broker, inspector: Inspector, store: Store, clock: MovableClock
) -> None:
    await enqueue(broker, placement("a", group="g"), placement("b", group="h"))
    closed = store.key("g:g:set-1")
    store.client.rename(store.key("g:g"), closed)
    store.client.srem(store.key("groups"), "g")
    store.client.zadd(store.key("aggregation_sets"), {closed: clock.now() + 120})

    assert await inspector.delete_all("default", TaskState.AGGREGATING) == 1

    assert store.client.zrange(closed, 0, -1) == [b"a"]


async def test_new_tasks_do_not_keep_it_going(broker: Broker, inspector: Inspector, store: Store) -> None:
    await fill(broker, "scheduled", (f"{i}" for i in range(1000)))
    run = broker.run
    added = 0

    async def run_and_schedule_more(calls: Sequence[Call]) -> list[Any]:
        nonlocal added
        if calls[0].script.name == "delete":
            added += 500
            await broker.enqueue([placement(f"new{added + i}", due=3.9e9) for i in range(500)])
        return await run(calls)

    broker.run = run_and_schedule_more  # type: ignore[method-assign]

    assert await inspector.delete_all("default", TaskState.SCHEDULED) == 1000

    assert added == 1000
    assert len(store.scores("scheduled")) == 1000


async def test_ids_without_a_task_leave_the_list_with_the_others(
    broker: Broker, inspector: Inspector, store: Store
) -> None:
    await enqueue(broker, placement("a"), placement("b", due=4e9))
    store.client.rpush(store.key("pending"), "ghost")
    store.client.zadd(store.key("scheduled"), {"ghost": 3.9e9})

    assert await inspector.delete_all("default", TaskState.PENDING) == 1
    assert await inspector.delete_all("default", TaskState.SCHEDULED) == 1

    assert store.list("pending") == []
    assert store.scores("scheduled") == {}


async def test_ids_that_are_elsewhere_by_their_state_do_not_stop_the_others(
    broker: Broker, inspector: Inspector, store: Store
) -> None:
    await enqueue(broker, placement("a"), placement("b", due=4e9))
    store.client.zadd(store.key("scheduled"), {"a": 1, "nobody": 2})

    assert await inspector.run_all("default", TaskState.SCHEDULED) == 1

    assert sorted(store.list("pending")) == ["a", "b"]
    store.client.delete(store.key("scheduled"))


async def test_a_group_under_a_key_of_another_kind_does_not_stop_the_others(
    broker: Broker, inspector: Inspector, store: Store
) -> None:
    await enqueue(broker, placement("a", group="g"))
    store.client.sadd(store.key("groups"), "broken")
    store.client.set(store.key("g:broken"), "another kind")

    assert await inspector.delete_all("default", TaskState.AGGREGATING) == 1

    store.client.delete(store.key("g:broken"))
    store.client.srem(store.key("groups"), "broken")


@pytest.mark.parametrize("call", ["run", "archive", "cancel", "delete"])
async def test_twenty_thousand_tasks_do_not_hold_up_the_server(
    broker: Broker, inspector: Inspector, store: Store, call: str
) -> None:
    """No script handles more than 500, and whoever asks meanwhile is answered between two of them."""
    state = "scheduled" if call == "run" else "pending"
    await fill(broker, state, (f"{i}" for i in range(BULK)))
    run, largest = broker.run, 0

    async def run_and_count(calls: Sequence[Call]) -> list[Any]:
        nonlocal largest
        largest = max(largest, *(len(one.args) for one in calls))
        return await run(calls)

    broker.run = run_and_count  # type: ignore[method-assign]
    work = asyncio.create_task(getattr(inspector, f"{call}_all")("default", TaskState(state)))
    asked = 0
    while not work.done():
        store.client.ping()
        asked += 1
        await asyncio.sleep(0)

    assert await work == BULK
    assert largest <= 510
    assert asked > BULK / 500
