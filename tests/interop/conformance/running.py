"""Run: what becomes of a task that one side enqueued and the other side's worker runs, for each way it can end."""

from __future__ import annotations

import time

from interop.features import case
from interop.go_peer import base64_text
from interop.sides import refusal
from interop.stage import FOREVER, Stage
from support.waiting import wait_until

AREA = "Run"
HOUR = 3600


async def ended(at: Stage, *, processed: int, failed: int) -> None:
    """Wait until so many attempts have been counted; both count the same, and agree on all that is left."""

    async def counted() -> bool:
        return bool((await at.actor.queue_info())["processed"] >= processed)

    await wait_until(counted)
    numbers = await at.agree()
    assert (numbers["processed"], numbers["failed"]) == (processed, failed)
    assert (numbers["processed_total"], numbers["failed_total"]) == (processed, failed)
    assert numbers["active"] == 0


@case(AREA, "success without retention: the task is gone")
async def done(at: Stage) -> None:
    await at.maker.enqueue("echo", b"x", task_id="a")
    await at.works(at.actor)
    await at.gone()
    await ended(at, processed=1, failed=0)


@case(AREA, "success with retention: completed, with its result")
async def completed(at: Stage) -> None:
    await at.maker.enqueue("echo", b"\x00\xff", task_id="a", retention=HOUR)
    before = int(time.time())
    await at.works(at.actor)
    task = await at.reach("completed")
    assert (task["result"], task["retried"], task["last_err"]) == (base64_text(b"\x00\xff"), 0, "")
    assert before <= task["completed_at"] <= time.time()
    await ended(at, processed=1, failed=0)


@case(AREA, "success without a result")
async def completed_without_result(at: Stage) -> None:
    await at.maker.enqueue("anything", b"x", task_id="a", retention=HOUR)
    await at.works(at.actor)
    assert (await at.reach("completed"))["result"] == ""


@case(AREA, "failure: tried again later, and counted")
async def retried(at: Stage) -> None:
    await at.maker.enqueue("fail", "no such address: ⚠".encode(), task_id="a", max_retry=3)
    before = int(time.time())
    await at.works(at.actor, retry_delay=HOUR)
    task = await at.reach("retry")
    assert (task["retried"], task["last_err"]) == (1, "no such address: ⚠")
    assert before <= task["last_failed_at"] <= time.time()
    assert before + HOUR <= task["next_process_at"] <= time.time() + HOUR + 1
    await ended(at, processed=1, failed=1)


@case(AREA, "an exception or panic is a failure")
async def panic(at: Stage) -> None:
    await at.maker.enqueue("panic", b"out of range", task_id="a")
    await at.works(at.actor)
    task = await at.reach("retry")
    assert task["retried"] == 1
    assert "out of range" in task["last_err"]
    await ended(at, processed=1, failed=1)


@case(AREA, "an error that is no failure: tried again, nothing counted")
async def excused(at: Stage) -> None:
    await at.maker.enqueue("excuse", b"busy, come back", task_id="a", max_retry=1)
    runner = await at.works(at.actor)
    for attempt in (1, 2):
        assert (await runner.started("a", count=attempt))["retried"] == 0
        task = await at.reach("retry")
        assert task["retried"] == 0
        assert "busy, come back" in task["last_err"]
        if attempt == 1:
            at.make_due("retry", "a")
    await ended(at, processed=0, failed=0)


@case(AREA, "no retries left: archived")
async def exhausted(at: Stage) -> None:
    await at.maker.enqueue("fail", b"still not", task_id="a", max_retry=2)
    runner = await at.works(at.actor, retry_delay=0)
    task = await at.reach("archived")
    assert [start["retried"] for start in runner.starts] == [0, 1, 2]
    assert (task["retried"], task["last_err"]) == (2, "still not")
    await ended(at, processed=3, failed=3)


@case(AREA, "SkipRetry: archived at once", note="asynq adds its own words to the error's text")
async def skipped(at: Stage) -> None:
    await at.maker.enqueue("skip", b"bad address", task_id="a", max_retry=5)
    await at.works(at.actor)
    task = await at.reach("archived")
    own_words = ": skip retry for the task" if at.actor.name == "go" else ""
    assert (task["retried"], task["last_err"]) == (0, "bad address" + own_words)
    await ended(at, processed=1, failed=1)


@case(AREA, "RevokeTask: gone, even with retention; counted as a success")
async def revoked(at: Stage) -> None:
    await at.maker.enqueue("revoke", b"no longer wanted", task_id="a", retention=HOUR)
    await at.works(at.actor)
    await at.gone()
    await ended(at, processed=1, failed=0)


@case(AREA, "timeout: a failed attempt")
async def timed_out(at: Stage) -> None:
    await at.maker.enqueue("sleep", FOREVER, task_id="a", timeout=1)
    await at.works(at.actor)
    assert (await at.reach("retry"))["retried"] == 1
    await ended(at, processed=1, failed=1)


@case(AREA, "deadline: a failed attempt, and again one without running it")
async def past_its_deadline(at: Stage) -> None:
    await at.maker.enqueue("sleep", FOREVER, task_id="a", deadline=int(time.time()) + 1, max_retry=1)
    await at.works(at.actor, retry_delay=0)
    assert (await at.reach("archived"))["retried"] == 1
    await ended(at, processed=2, failed=2)


@case(AREA, "a scheduled task is run when it falls due")
async def falls_due(at: Stage) -> None:
    await at.maker.enqueue("echo", b"x", task_id="a", process_in=1.2, retention=HOUR)
    due = at.store.scores("scheduled")["a"]
    runner = await at.works(at.actor)
    await runner.started("a")
    assert time.time() >= due - 1
    await at.reach("completed")


@case(
    AREA,
    "a scheduled task of a group joins it when it falls due",
    note="asynq's own scheduled tasks forget their group and run alone; and where asynq makes a task due, it does not name the group: "
    "nobody sees or aggregates it until another task joins",
)
async def joins_its_group(at: Stage) -> None:
    await at.maker.enqueue("anything", b"x", task_id="a", group="g", process_in=HOUR)
    at.make_due("scheduled", "a")
    runner = await at.works(at.actor)
    if at.maker.name == "go":
        await runner.started("a")
        return
    assert (await at.reach("aggregating"))["group"] == "g"
    assert at.store.scores("g:g").keys() == {"a"}
    await at.agree()
    assert await at.maker.groups() == ([] if at.actor.name == "go" else [{"group": "g", "size": 1}])
    await at.maker.enqueue("anything", b"y", task_id="b", group="g")
    assert await at.maker.groups() == [{"group": "g", "size": 2}]


@case(AREA, "a failed task succeeds on the other side: the count of retries goes on")
async def handed_over(at: Stage) -> None:
    await at.maker.enqueue("fail", b"not here", task_id="a", retention=HOUR)
    first = await at.works(at.maker, retry_delay=1)  # without a delay all retries could be used up before it stops
    await first.started("a", count=2)
    await first.stop()
    so_far = (await at.task())["retried"]
    assert so_far >= 1
    second = await at.works(at.actor, retry_delay=HOUR)
    assert (await second.started("a"))["retried"] == so_far
    assert (await at.reach("retry"))["retried"] == so_far + 1


@case(AREA, "first in, first out")
async def in_order(at: Stage) -> None:
    for number in range(5):
        await at.maker.enqueue("anything", task_id=f"{number}")
    runner = await at.works(at.actor, concurrency=1)
    await runner.started("4")
    assert [start["id"] for start in runner.starts] == ["0", "1", "2", "3", "4"]


@case(
    AREA,
    "at shutdown what runs goes back to the front, uncounted",
    note="asynq does not note since when such a task is pending, so the queue's latency shows as 0",
)
async def given_back(at: Stage) -> None:
    await at.maker.enqueue("sleep", FOREVER, task_id="a")
    runner = await at.works(at.actor, concurrency=1)
    await runner.started("a")
    await at.maker.enqueue("anything", task_id="b")
    await runner.stop()
    task = await at.reach("pending")
    assert (task["retried"], task["last_err"]) == (0, "")
    assert at.store.list("pending") == ["b", "a"]
    await ended(at, processed=0, failed=0)


@case(AREA, "the unique lock is free when the task has succeeded")
async def lock_freed(at: Stage) -> None:
    await at.maker.enqueue("once", b"x", task_id="a", unique=HOUR, retention=HOUR)
    await at.works(at.actor)
    await at.reach("completed")
    await at.no_locks()


@case(AREA, "the unique lock stays while the task waits for its next attempt")
async def lock_kept(at: Stage) -> None:
    await at.maker.enqueue("fail", b"x", task_id="a", unique=HOUR)
    await at.works(at.actor)
    await at.reach("retry")
    for side in (at.maker, at.actor):
        assert await refusal(side.enqueue("fail", b"x", unique=HOUR)) == "duplicate"


@case(
    AREA,
    "the unique lock of a task that is given up",
    note="asynq keeps the lock until its time is over; TaskFlow frees it",
)
async def lock_of_the_archived(at: Stage) -> None:
    await at.maker.enqueue("skip", b"x", task_id="a", unique=HOUR)
    await at.works(at.actor)
    await at.reach("archived")
    if at.actor.name == "go":
        assert await refusal(at.maker.enqueue("skip", b"x", unique=HOUR)) == "duplicate"
    else:
        await at.no_locks()


@case(AREA, "asynq's cancellation of a running task is a failed attempt")
async def cancelled(at: Stage) -> None:
    await at.maker.enqueue("sleep", FOREVER, task_id="a", max_retry=1)
    await at.maker.enqueue("sleep", FOREVER, task_id="b")
    runner = await at.works(at.actor)
    await runner.started("a")
    await runner.started("b")
    await at.go_cancels("a")
    assert (await at.reach("retry"))["retried"] == 1
    assert (await at.task("b"))["state"] == "active", "its neighbour goes on"


@case(AREA, "a running task: leased, listed with its server")
async def running(at: Stage) -> None:
    await at.maker.enqueue("sleep", FOREVER, task_id="a")
    runner = await at.works(at.actor)
    await runner.started("a")
    task = await at.reach("active")
    assert not task["is_orphaned"]
    assert time.time() + 25 < at.store.scores("lease")["a"] < time.time() + 31
    assert (await at.agree())["active"] == 1
