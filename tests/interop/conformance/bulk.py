"""Act on many tasks: all of a state or of a group; those of other states stay."""

from __future__ import annotations

from interop.features import case
from interop.sides import refusal
from interop.stage import Stage, said

AREA = "Act on many tasks"
HOUR = 3600
IDS = ("a", "b", "c")


async def with_others(at: Stage, state: str) -> str:
    """Bring three tasks into a state, and one into another; return that state."""
    other = "scheduled" if state == "pending" else "pending"
    await at.made(state, *IDS)
    await at.made(other, "other")
    return other


def run_all(state: str) -> None:
    @case(AREA, f"run all that are {said(state)}")
    async def run_them(at: Stage) -> None:
        await with_others(at, state)
        assert await at.actor.run_all(state, group="g" if state == "aggregating" else "") == len(IDS)
        numbers = await at.agree()
        assert (numbers["pending"], numbers["size"], numbers["groups"]) == (4, 4, 0)
        runner = await at.works(at.maker)
        for task_id in IDS:
            await runner.started(task_id)


def archive_all(state: str) -> None:
    @case(AREA, f"archive all that are {said(state)}")
    async def archive_them(at: Stage) -> None:
        other = await with_others(at, state)
        assert await at.actor.archive_all(state, group="g" if state == "aggregating" else "") == len(IDS)
        numbers = await at.agree()
        assert (numbers["archived"], numbers[other], numbers["size"], numbers["groups"]) == (3, 1, 4, 0)


def delete_all(state: str) -> None:
    @case(AREA, f"delete all that are {said(state)}")
    async def delete_them(at: Stage) -> None:
        other = await with_others(at, state)
        assert await at.actor.delete_all(state, group="g" if state == "aggregating" else "") == len(IDS)
        numbers = await at.agree()
        assert (numbers[other], numbers["size"], numbers["groups"]) == (1, 1, 0)
        for task_id in IDS:
            await at.gone(task_id)


for _state in ("scheduled", "retry", "archived", "aggregating"):
    run_all(_state)
for _state in ("pending", "scheduled", "retry", "aggregating"):
    archive_all(_state)
for _state in ("pending", "scheduled", "retry", "archived", "completed", "aggregating"):
    delete_all(_state)


@case(AREA, "all of one group: the others stay")
async def one_group(at: Stage) -> None:
    await at.made("aggregating", "a", "b", group="one")
    await at.made("aggregating", "c", group="two")
    assert await at.actor.archive_all("aggregating", group="one") == 2
    assert await at.actor.run_all("aggregating", group="missing") == 0
    numbers = await at.agree()
    assert (numbers["archived"], numbers["aggregating"], numbers["groups"]) == (2, 1, 1)


@case(AREA, "a state without tasks: none")
async def none(at: Stage) -> None:
    await at.made("pending")
    assert await at.actor.run_all("scheduled") == 0
    assert await at.actor.archive_all("retry") == 0
    assert await at.actor.delete_all("completed") == 0
    assert (await at.agree())["size"] == 1


@case(AREA, "a queue that is not there")
async def no_queue(at: Stage) -> None:
    for act in (at.actor.run_all, at.actor.archive_all, at.actor.delete_all):
        assert await refusal(act("scheduled")) == "queue not found"


@case(
    AREA,
    "the unique locks of all that are deleted",
    note="asynq keeps those of pending and grouped tasks until their time is over; TaskFlow frees all that the tasks know of",
)
async def locks_of_the_deleted(at: Stage) -> None:
    await at.made("scheduled", unique=HOUR)
    await at.actor.delete_all("scheduled")
    await at.no_locks()
    await at.made("pending", unique=HOUR)
    await at.actor.delete_all("pending")
    if at.actor.name == "go":
        assert await refusal(at.maker.enqueue("anything", b"x", unique=HOUR)) == "duplicate"
    else:
        await at.no_locks()
