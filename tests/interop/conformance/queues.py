"""Queues: pause and resume one, remove one."""

from __future__ import annotations

from typing import Any

from interop.features import case
from interop.sides import refusal
from interop.stage import Stage, said

AREA = "Queues"


@case(AREA, "a paused queue is left alone, and goes on when it is resumed")
async def pause(at: Stage) -> None:
    await at.maker.enqueue("anything", task_id="a", queue="paused")
    await at.actor.pause("paused")
    assert [(await side.queue_info("paused"))["paused"] for side in at.both] == [True, True]
    runner = await at.works(at.maker, queues={"paused": 5, "open": 1}, concurrency=1)
    for number in range(10):
        await at.maker.enqueue("anything", task_id=f"{number}", queue="open")
    await runner.started("9")
    assert [start["id"] for start in runner.starts] == [f"{number}" for number in range(10)]
    await at.actor.unpause("paused")
    assert [(await side.queue_info("paused"))["paused"] for side in at.both] == [False, False]
    await runner.started("a")


@case(AREA, "pausing lets what runs go on")
async def pause_while_running(at: Stage) -> None:
    await at.maker.enqueue("sleep", b"300", task_id="a", retention=3600)
    runner = await at.works(at.maker)
    await runner.started("a")
    await at.actor.pause()
    assert (await at.agree())["active"] == 1
    await at.reach("completed")


@case(AREA, "a queue that is paused already, or not paused", note="asynq refuses; for TaskFlow it is done")
async def pause_twice(at: Stage) -> None:
    await at.made("pending")
    await at.maker.pause()
    if at.actor.name == "go":
        assert await refusal(at.actor.pause()) == "paused already"
    else:
        await at.actor.pause()
    assert (await at.agree())["paused"] is True
    await at.maker.unpause()
    if at.actor.name == "go":
        assert await refusal(at.actor.unpause()) == "not paused"
    else:
        await at.actor.unpause()
    assert (await at.agree())["paused"] is False


@case(AREA, "remove an empty queue")
async def remove(at: Stage) -> None:
    await at.made("pending")
    await at.actor.delete("a")
    await at.made("pending", queue="other")
    await at.actor.delete_queue()
    assert [await side.queues() for side in at.both] == [["other"], ["other"]]
    for side in at.both:
        assert await refusal(side.queue_info()) == "queue not found"


def not_removed(state: str, note: str = "") -> None:
    @case(AREA, f"a queue with a task that is {said(state)} is not removed", note=note)
    async def kept(at: Stage) -> None:
        await at.made(state)
        if at.actor.name == "go" and state in UNSEEN:
            await at.actor.delete_queue()
            assert at.store.state("a") == state, "the task is left where it is, in a queue that is not listed"
        else:
            assert await refusal(at.actor.delete_queue()) == "queue not empty"
            assert (await at.agree())["size"] == 1


UNSEEN = ("completed", "aggregating")
for _state in ("pending", "scheduled", "retry", "archived"):
    not_removed(_state)
for _state in UNSEEN:
    not_removed(_state, note="asynq does not look at such tasks: it removes the queue's name and leaves them behind")


@case(
    AREA,
    "a queue is removed with its tasks by force",
    note="asynq leaves completed and grouped tasks, all unique locks and the counters behind; TaskFlow nothing",
)
async def remove_by_force(at: Stage) -> None:
    for state in ("pending", "scheduled", "retry", "archived", *UNSEEN):
        options: dict[str, Any] = {"unique": 3600} if state in {"pending", "retry"} else {}
        await at.made(state, state, **options)
    await at.actor.delete_queue(force=True)
    assert [await side.queues() for side in at.both] == [[], []]
    left = at.store.client.keys(at.store.key("*"))
    if at.actor.name == "go":
        assert {state for state in UNSEEN if at.store.state(state)} == set(UNSEEN)
        assert not [key for key in left if key.endswith((b"t:pending", b"t:scheduled", b"t:retry", b"t:archived"))]
    else:
        assert left == []


@case(AREA, "a queue whose tasks run is not removed, not by force either")
async def remove_while_running(at: Stage) -> None:
    await at.made("active")
    assert await refusal(at.actor.delete_queue(force=True)) == "task active"
    assert await refusal(at.actor.delete_queue()) in {"task active", "queue not empty"}
    assert (await at.agree())["active"] == 1


@case(AREA, "a queue that is not there")
async def no_queue(at: Stage) -> None:
    for force in (False, True):
        assert await refusal(at.actor.delete_queue("missing", force=force)) == "queue not found"


@case(AREA, "pausing a queue that is not there", note="asynq pauses it nevertheless; TaskFlow says that there is none")
async def pause_no_queue(at: Stage) -> None:
    if at.actor.name == "go":
        await at.actor.pause("missing")
        await at.actor.unpause("missing")
    else:
        for act in (at.actor.pause, at.actor.unpause):
            assert await refusal(act("missing")) == "queue not found"
    assert [await side.queues() for side in at.both] == [[], []]
