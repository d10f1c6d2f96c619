"""Scan: a walk through the tasks of a state, in steps, while the queue moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from support.tasks import enqueue, placement, take
from taskflow import Broker, Inspector, TaskState
from taskflow.broker.delivery import Archive
from taskflow.broker.scan import BEGINNING, Place, Scan

pytestmark = pytest.mark.usefixtures("invariants_hold")

NAMES = [f"t{number:03}" for number in range(100)]


@pytest.fixture
def scan(broker: Broker) -> Scan:
    return Scan(broker)


async def walk(
    scan: Scan,
    state: TaskState,
    between: Callable[[list[str]], Any] | None = None,
    *,
    step: int = 7,
    group: str | None = None,
) -> list[str]:
    """Go through all tasks of a state; between two steps, do something with those that the step has shown."""
    seen: list[str] = []
    place = BEGINNING
    while places := await scan.places("default", state, group=group, after=place, count=step):
        names = [place.id.decode() for place in places]
        seen += names
        place = places[-1]
        if between is not None:
            await between(names)
    return seen


async def fill(broker: Broker, state: TaskState) -> list[str]:
    """Bring tasks into a state; return their names in the order in which a list shows them."""
    if state is TaskState.SCHEDULED:  # ten fall due in each second, and the second says nothing of the name
        await enqueue(broker, *(placement(name, due=4e9 + int(name[2])) for name in NAMES))
        return sorted(NAMES, key=lambda name: (name[2], name))
    await enqueue(broker, *(placement(name, group="g" if state is TaskState.AGGREGATING else "") for name in NAMES))
    if state is TaskState.ARCHIVED:
        await broker.settle([(delivery, Archive("no")) for delivery in await take(broker, 100)])
        return sorted(NAMES, reverse=True)  # all ended in one second
    if state is TaskState.ACTIVE:
        await take(broker, 100)
    return NAMES


STATES = [TaskState.PENDING, TaskState.ACTIVE, TaskState.SCHEDULED, TaskState.ARCHIVED, TaskState.AGGREGATING]


@pytest.mark.parametrize("state", STATES)
async def test_a_quiet_queue_is_gone_through_once(broker: Broker, scan: Scan, state: TaskState) -> None:
    names = await fill(broker, state)

    seen = await walk(scan, state, group="g")

    assert sorted(seen) == NAMES
    if state is not TaskState.ACTIVE:
        assert seen == names


@pytest.mark.parametrize("state", [TaskState.SCHEDULED, TaskState.ARCHIVED])
async def test_in_a_set_the_place_stays_though_its_task_is_gone(broker: Broker, scan: Scan, state: TaskState) -> None:
    """The task last seen is deleted, and others in front of it and behind: each that stays is seen once."""
    names = await fill(broker, state)
    inspector = Inspector(broker)
    doomed = set(names[::3])

    async def delete_seen_and_one_ahead(shown: list[str]) -> None:
        ahead = [name for name in names if name in doomed and names.index(name) > names.index(shown[-1])][:1]
        await inspector.delete_many([shown[-1], shown[0], *ahead], "default")

    seen = await walk(scan, state, delete_seen_and_one_ahead)

    assert len(seen) == len(set(seen))
    assert {name for name in names if name not in doomed} <= set(seen)


async def test_in_a_list_workers_may_take_tasks_meanwhile(broker: Broker, scan: Scan) -> None:
    """The place moves towards the tail with its task; when that is taken, the walk begins again, and misses nothing."""
    await fill(broker, TaskState.PENDING)
    taken: list[str] = []

    async def take_some(_shown: list[str]) -> None:
        taken.extend(delivery.id for delivery in await take(broker, 3))

    seen = await walk(scan, TaskState.PENDING, take_some)

    assert len(seen) == len(set(seen))  # it is faster than the workers
    assert set(NAMES) == set(seen)
    assert taken


async def test_in_a_list_a_walk_that_is_overtaken_begins_again(broker: Broker, scan: Scan) -> None:
    await fill(broker, TaskState.PENDING)
    places = await scan.places("default", TaskState.PENDING, count=10)
    await take(broker, 20)

    behind = await scan.places("default", TaskState.PENDING, after=places[-1], count=10)

    assert [place.id.decode() for place in behind] == NAMES[20:30]


@pytest.mark.parametrize("state", [TaskState.PENDING, TaskState.SCHEDULED])
async def test_a_task_that_has_left_the_state_is_not_shown(broker: Broker, scan: Scan, state: TaskState) -> None:
    await fill(broker, state)
    places = await scan.places("default", state, count=3)
    await Inspector(broker).archive(places[1].id.decode(), "default")

    found = await scan.tasks("default", state, [*places, Place(b"nobody", b"1")])

    assert [task is not None for task in found] == [True, False, True, False]
    assert found[0] is not None
    assert found[0].type == "t"
