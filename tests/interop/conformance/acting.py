"""Act on a task: run it now, give it up, delete it, change its payload, in every state it can be in, and where there is none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from interop.features import case
from interop.go_peer import base64_text
from interop.sides import Side, refusal
from interop.stage import Stage, said

AREA = "Act on a task"
HOUR = 3600
WAITING = ("pending", "scheduled", "retry", "aggregating")
ENDED = ("archived", "completed")
Act = Callable[[Side, str], Awaitable[None]]

ACTS: dict[str, Act] = {
    "run": lambda side, task_id: side.run(task_id),
    "archive": lambda side, task_id: side.archive(task_id),
    "delete": lambda side, task_id: side.delete(task_id),
    "update_payload": lambda side, task_id: side.update_payload(task_id, b"new"),
}


def run(state: str) -> None:
    @case(AREA, f"run a task that is {said(state)}")
    async def run_now(at: Stage) -> None:
        before = await at.made(state)
        await at.actor.run("a")
        task = await at.task()
        assert task["state"] == "pending"
        for name in ("payload", "headers", "retried", "max_retry", "last_err", "retention"):
            assert task[name] == before[name]
        assert (await at.agree())["pending"] == 1
        runner = await at.works(at.actor)
        assert (await runner.started("a"))["retried"] == before["retried"]


def archive(state: str) -> None:
    @case(AREA, f"archive a task that is {said(state)}")
    async def give_up(at: Stage) -> None:
        before = await at.made(state)
        await at.actor.archive("a")
        assert await at.task() == {**before, "state": "archived", "next_process_at": 0}
        numbers = await at.agree()
        assert (numbers["archived"], numbers["size"]) == (1, 1)


def delete(state: str) -> None:
    @case(AREA, f"delete a task that is {said(state)}")
    async def remove(at: Stage) -> None:
        await at.made(state)
        await at.actor.delete("a")
        await at.gone()
        numbers = await at.agree()
        assert (numbers["size"], numbers["groups"]) == (0, 0)


for _state in ("scheduled", "retry", "aggregating", *ENDED):
    run(_state)
for _state in (*WAITING, "completed"):
    archive(_state)
for _state in (*WAITING, *ENDED):
    delete(_state)


@case(AREA, "change the payload of a task that is scheduled; it keeps its lock and its time")
async def edit(at: Stage) -> None:
    before = await at.made("scheduled", unique=HOUR, headers={"trace": "1"}, max_retry=7)
    await at.actor.update_payload("a", b"new \x00")
    assert await at.task() == {**before, "payload": base64_text(b"new \x00")}
    await at.agree()
    assert await refusal(at.actor.enqueue("anything", b"x", unique=HOUR)) == "duplicate"
    await at.actor.run("a")
    runner = await at.works(at.maker)
    assert (await runner.started("a"))["payload"] == base64_text(b"new \x00")
    await at.no_locks()


@case(AREA, "change the payload of a task that is in retry", note="asynq refuses; TaskFlow changes it")
async def edit_in_retry(at: Stage) -> None:
    before = await at.made("retry")
    if at.actor.name == "go":
        assert await refusal(at.actor.update_payload("a", b"new")) == "wrong state"
        assert await at.task() == before
    else:
        await at.actor.update_payload("a", b"new")
        assert await at.task() == {**before, "payload": base64_text(b"new")}


async def refused(at: Stage, act: str, state: str, *words: str) -> None:
    """The act is refused for a task in a state, with one of some words, and changes nothing."""
    before = await at.made(state)
    snapshot = at.store.hash("a")
    assert await refusal(ACTS[act](at.actor, "a")) in words
    assert await at.task() == before
    assert at.store.hash("a") == snapshot


def refuse(act: str, state: str, *words: str, note: str = "") -> None:
    @case(AREA, f"{act} is refused for a task that is {said(state)}", note=note)
    async def refused_for(at: Stage) -> None:
        await refused(at, act, state, *words)


refuse("run", "pending", "wrong state")
refuse("archive", "archived", "wrong state")
for _act in ("run", "archive", "delete"):
    refuse(_act, "active", "task active")
for _state in ("pending", "aggregating", *ENDED):
    refuse("update_payload", _state, "wrong state")
refuse(
    "update_payload",
    "active",
    "wrong state",
    "task active",
    note="asynq says that it is not scheduled, TaskFlow that it runs",
)


@case(AREA, "a task that is not there")
async def no_task(at: Stage) -> None:
    await at.made("pending")
    for act in ACTS.values():
        assert await refusal(act(at.actor, "b")) == "task not found"
    assert (await at.agree())["size"] == 1


@case(
    AREA,
    "a task of a queue that is not there",
    note="asynq says that there is no such queue, TaskFlow that there is no such task",
)
async def no_queue(at: Stage) -> None:
    word = "queue not found" if at.actor.name == "go" else "task not found"
    for act in ACTS.values():
        assert await refusal(act(at.actor, "a")) == word
    assert await at.actor.queues() == []


@case(AREA, "a deleted task frees its unique lock")
async def delete_frees_lock(at: Stage) -> None:
    for state in ("pending", "scheduled"):
        await at.made(state, unique=HOUR)
        await at.actor.delete("a")
        await at.no_locks()


@case(
    AREA,
    "the unique lock of a task that is archived by hand",
    note="asynq keeps the lock until its time is over; TaskFlow frees it",
)
async def lock_of_the_archived(at: Stage) -> None:
    await at.made("pending", unique=HOUR)
    await at.actor.archive("a")
    if at.actor.name == "go":
        assert await refusal(at.maker.enqueue("anything", b"x", unique=HOUR)) == "duplicate"
    else:
        await at.no_locks()


@case(AREA, "a task with a due time that is run by hand runs once")
async def due_time_of_one_that_ran(at: Stage) -> None:
    await at.maker.enqueue("anything", task_id="a", process_in=1.3, retention=HOUR)
    await at.actor.run("a")
    runner = await at.works(at.maker)
    await at.reach("completed")
    await at.maker.enqueue("anything", task_id="b", process_in=1.3)
    await runner.started("b")
    assert [start["id"] for start in runner.starts] == ["a", "b"]
