"""Queues: pause and resume one, remove one."""

from __future__ import annotations

from interop.features import case
from interop.sides import refusal
from interop.stage import Stage

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
