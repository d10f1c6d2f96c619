"""The use cases: a task is edited by the rules it was created by; many are selected, and something is done to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from support.store import Store
from support.tasks import enqueue, placement
from taskflow import Broker, Client, TaskState
from taskflow.application.commands import (
    Action,
    ArchiveTask,
    CreateTask,
    EditTask,
    RemoveQueue,
    RunTask,
    SteerSelection,
    SteerTasks,
)
from taskflow.application.queries import GetTask, SelectTasks
from taskflow.application.service import TaskService
from taskflow.broker.catalog import TaskCatalog, TaskType
from taskflow.config import load_settings
from taskflow.errors import (
    InvalidOption,
    InvalidPayload,
    InvalidTaskId,
    InvalidTaskState,
    PayloadTooLarge,
    QueueNotFound,
    TaskNotFound,
    TaskPending,
)

pytestmark = pytest.mark.usefixtures("invariants_hold")

SCHEMA = {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]}


@pytest.fixture
async def service(client: Client) -> AsyncIterator[TaskService]:
    settings = load_settings(environ={}, overrides={"tasks.payload_limit": 100, "api.allow_types": ["note"]})
    async with TaskService(client, settings=settings) as service:
        yield service


# -- one --------------------------------------------------------------------------------------------------------------


async def test_a_task_is_run_and_archived(service: TaskService, broker: Broker, store: Store) -> None:
    await enqueue(broker, placement("a", due=4e9))

    assert await service.run(RunTask("a")) is TaskState.SCHEDULED
    with pytest.raises(TaskPending):
        await service.run(RunTask("a", "default"))
    assert await service.archive(ArchiveTask("a")) is TaskState.PENDING

    assert store.state("a") == "archived"
    with pytest.raises(InvalidTaskId):
        await service.run(RunTask(""))


async def test_an_edited_payload_is_held_to_the_schema_and_the_limit(service: TaskService, client: Client) -> None:
    await TaskCatalog(client.broker).publish([TaskType(type="mail", schema=SCHEMA)])
    later = timedelta(hours=1)
    info = await service.create(CreateTask(type="mail", payload={"to": "ada"}, process_in=later))

    with pytest.raises(InvalidPayload, match="to"):
        await service.edit(EditTask(info.id, payload={"from": "ada"}))
    with pytest.raises(PayloadTooLarge):
        await service.edit(EditTask(info.id, payload={"to": "a" * 100}))
    changed = await service.edit(EditTask(info.id, payload=msgspec.Raw(b'{ "to": "bob" }')))

    assert changed.payload == b'{"to":"bob"}'
    assert changed.next_process_at == (await service.get(GetTask(info.id))).next_process_at


async def test_a_task_of_a_type_that_nobody_serves_can_be_edited(service: TaskService, broker: Broker) -> None:
    """It is there, whoever enqueued it."""
    await enqueue(broker, placement("a", due=4e9))
    due = datetime(2031, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)

    info = await service.edit(EditTask("a", payload=[1], process_at=due))

    assert (info.payload, info.next_process_at) == (b"[1]", due)
    with pytest.raises(InvalidOption):
        await service.edit(EditTask("a"))


# -- by ids -----------------------------------------------------------------------------------------------------------


async def test_ids_are_searched_in_all_queues_unless_one_is_named(
    service: TaskService, broker: Broker, store: Store
) -> None:
    await enqueue(broker, placement("a", due=4e9), placement("b", queue="low", due=4e9))

    first, missing, second = await service.steer(SteerTasks("run", ("a", "nobody", "b")))
    assert (first, second) == (TaskState.SCHEDULED, TaskState.SCHEDULED)
    assert isinstance(missing, TaskNotFound)

    here, elsewhere = await service.steer(SteerTasks("delete", ("a", "b"), "default"))
    assert here is TaskState.PENDING
    assert isinstance(elsewhere, TaskNotFound)
    assert store.hash("a") == {}


# -- selections -------------------------------------------------------------------------------------------------------


async def test_all_of_a_state_are_selected_without_looking_at_each(service: TaskService, broker: Broker) -> None:
    await enqueue(broker, *(placement(f"{i}", due=4e9 + i) for i in range(25)))

    chosen = await service.select(SelectTasks(state=TaskState.SCHEDULED))

    assert (chosen.queue, chosen.count, chosen.ids, chosen.complete) == ("default", 25, None, True)
    assert [task.id for task in chosen.sample] == [f"{i}" for i in range(10)]


async def test_what_fits_is_selected_over_all_pages(service: TaskService, broker: Broker) -> None:
    await enqueue(broker, *(placement(f"{i}", task_type="odd" if i % 2 else "even") for i in range(2500)))
    told: list[tuple[int, int]] = []

    chosen = await service.select(
        SelectTasks(state=TaskState.PENDING, type="odd"), lambda done, total: told.append((done, total))
    )

    assert (chosen.count, chosen.complete) == (1250, True)
    assert chosen.ids == tuple(f"{i}" for i in range(1, 2500, 2))
    assert told == [(1000, 2500), (2000, 2500), (2500, 2500)]
    text = await service.select(SelectTasks(state=TaskState.PENDING, text="249"))
    assert text.ids == tuple(f"{i}" for i in range(2500) if "249" in f"{i}")


async def test_a_limit_bounds_how_many_are_looked_at(service: TaskService, broker: Broker) -> None:
    await enqueue(broker, *(placement(f"{i}", task_type="t") for i in range(30)))

    chosen = await service.select(SelectTasks(state=TaskState.PENDING, type="t", limit=7))

    assert (chosen.count, chosen.complete) == (7, False)


async def test_members_of_one_group_or_of_all_are_selected(service: TaskService, broker: Broker) -> None:
    await enqueue(broker, *(placement(f"{group}{i}", group=group) for group in "xy" for i in range(3)))

    every = await service.select(SelectTasks(state=TaskState.AGGREGATING))
    one = await service.select(SelectTasks(state=TaskState.AGGREGATING, group="y"))
    none = await service.select(SelectTasks(state=TaskState.AGGREGATING, group="z"))
    fitting = await service.select(SelectTasks(state=TaskState.AGGREGATING, text="2"))

    assert (every.count, one.count, none.count) == (6, 3, 0)
    assert [task.id for task in one.sample] == ["y0", "y1", "y2"]
    assert fitting.ids == ("x2", "y2")


async def test_selections_that_cannot_be(service: TaskService, broker: Broker) -> None:
    with pytest.raises(QueueNotFound):
        await service.select(SelectTasks(state=TaskState.PENDING))
    await enqueue(broker, placement("a"))
    with pytest.raises(InvalidOption, match="group"):
        await service.select(SelectTasks(state=TaskState.PENDING, group="g"))
    chosen = await service.select(SelectTasks(state=TaskState.PENDING))
    with pytest.raises(InvalidTaskState, match="pending cannot be run"):
        await service.steer_selection(SteerSelection("run", chosen))
    fitting = await service.select(SelectTasks(state=TaskState.PENDING, type="t"))
    with pytest.raises(InvalidTaskState, match="pending cannot be run"):
        await service.steer_selection(SteerSelection("run", fitting))


@pytest.mark.parametrize("action", ["run", "archive", "delete", "cancel"])
@pytest.mark.parametrize("task_type", [None, "t"])
async def test_something_is_done_to_a_selection(
    service: TaskService, broker: Broker, store: Store, action: Action, task_type: str | None
) -> None:
    await enqueue(
        broker, *(placement(f"{i}", due=4e9) for i in range(1001)), placement("other", task_type="u", due=4e9)
    )
    chosen = await service.select(SelectTasks(state=TaskState.SCHEDULED, type=task_type))
    told: list[tuple[int, int]] = []

    count = await service.steer_selection(SteerSelection(action, chosen), lambda *numbers: told.append(numbers))

    assert count == (1002 if task_type is None else 1001)
    assert told[-1] == (count, count)
    assert len(told) == 3
    after = {"run": "pending", "archive": "archived", "delete": None, "cancel": "archived"}[action]
    assert {store.state(f"{i}") for i in range(1001)} == {after}
    assert store.state("other") == (after if task_type is None else "scheduled")


async def test_what_has_left_the_state_since_it_was_selected_is_left_alone(
    service: TaskService, broker: Broker, store: Store
) -> None:
    await enqueue(broker, placement("a", due=4e9), placement("b", due=4e9))
    chosen = await service.select(SelectTasks(state=TaskState.SCHEDULED, type="t"))
    await service.run(RunTask("a"))

    assert await service.steer_selection(SteerSelection("delete", chosen)) == 1

    assert store.state("a") == "pending"


# -- queues -----------------------------------------------------------------------------------------------------------


async def test_a_queue_is_looked_at_and_removed(service: TaskService, broker: Broker) -> None:
    await enqueue(broker, placement("a"))

    assert [one.processed for one in await service.history("default", 3)] == [0, 0, 0]
    assert await service.memory("default") > 0
    assert await service.remove_queue(RemoveQueue("default", force=True)) == 1
    with pytest.raises(QueueNotFound):
        await service.remove_queue(RemoveQueue("default"))
