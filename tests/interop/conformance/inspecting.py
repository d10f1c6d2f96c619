"""Inspect: what one side's program has left in the store, as both inspectors show it."""

from __future__ import annotations

import socket
import time

from interop.agreement import NEWEST_FIRST
from interop.features import ACROSS, case
from interop.go_peer import TIMEOUT, Reply, base64_text
from interop.sides import refusal
from interop.stage import FOREVER, Stage, said
from support.waiting import wait_until
from taskflow.wire.keys import day_name

AREA = "Inspect"
IDS = ("a", "b", "c", "d", "e")
DAY = 86400
PAYLOAD = base64_text(FOREVER)


@case(AREA, "a queue with tasks in every state: its numbers and every task")
async def every_state(at: Stage) -> None:
    states = ("completed", "archived", "retry", "active", "scheduled", "aggregating", "pending")
    for state in states:
        await at.made(state, f"{state}-1", f"{state}-2")
    numbers = await at.agree()
    assert {state: numbers[state] for state in states} == dict.fromkeys(states, 2)
    assert (numbers["size"], numbers["groups"], numbers["paused"]) == (14, 1, False)
    for state in states:
        assert (await at.task(f"{state}-2"))["state"] == state


def paging(state: str) -> None:
    note = "asynq lists ended tasks oldest first, TaskFlow newest first" if state in NEWEST_FIRST else ""

    @case(AREA, f"pages of the tasks that are {said(state)}", note=note)
    async def pages(at: Stage) -> None:
        await at.made(state, *IDS)
        group = "g" if state == "aggregating" else ""
        whole = {side.name: await side.list(state, group=group) for side in at.both}
        for side in at.both:
            found: list[Reply] = []
            for page in (1, 2, 3, 4):
                part = await side.list(state, group=group, page=page, size=2)
                assert len(part) == (2, 2, 1, 0)[page - 1]
                found += part
            assert found == whole[side.name]
        order = whole["python"][::-1] if state in NEWEST_FIRST else whole["python"]
        assert order == whole["go"]
        assert sorted(task["id"] for task in order) == list(IDS)


for _state in ("pending", "active", "scheduled", "retry", "archived", "completed", "aggregating"):
    paging(_state)


@case(AREA, "the queues there are")
async def queues(at: Stage) -> None:
    assert [await side.queues() for side in at.both] == [[], []]
    for name in ("low", "высокая", "default"):
        await at.maker.enqueue("anything", queue=name)
    assert await at.maker.queues() == await at.actor.queues() == ["default", "low", "высокая"]


@case(AREA, "the history of a queue: processed and failed, day by day")
async def history(at: Stage) -> None:
    await at.made("retry")
    await at.made("completed", "b")
    for days_ago, processed in ((1, 70), (2, 1_000_000)):
        day = day_name(time.time() - days_ago * DAY)
        at.store.client.set(at.store.key(f"processed:{day}"), processed)
        at.store.client.set(at.store.key(f"failed:{day}"), days_ago)
    found = await at.actor.history(4)
    assert await at.maker.history(4) == found
    assert [(day["processed"], day["failed"]) for day in found] == [(2, 1), (70, 1), (1_000_000, 2), (0, 0)]
    assert [side.name for side in at.both if await side.history(1) != found[:1]] == []


@case(AREA, "groups with their sizes")
async def groups(at: Stage) -> None:
    for name, ids in (("größe:42", ("a", "b")), ("user:1", ("c",))):
        await at.made("aggregating", *ids, group=name)
    expected = [{"group": "größe:42", "size": 2}, {"group": "user:1", "size": 1}]
    assert await at.maker.groups() == await at.actor.groups() == expected


@case(AREA, "latency: the age of the oldest pending task")
async def latency(at: Stage) -> None:
    await at.made("pending", "old", "new")
    at.store.client.hset(at.store.key("t:old"), "pending_since", time.time_ns() - 600 * 10**9)
    for side in at.both:
        assert 600 <= (await side.queue_info())["latency"] < 605


@case(AREA, "the memory of a queue, estimated from samples", note="two estimates: they agree within a third")
async def memory(at: Stage) -> None:
    for number in range(200):
        await at.maker.enqueue("anything", bytes(1000), task_id=f"{number}", process_in=3600 if number % 2 else None)
    theirs, ours = await at.maker.memory(), await at.actor.memory()
    assert 200 * 1000 < ours < 200 * 2000
    assert abs(theirs - ours) < ours / 3


@case(AREA, "a task or queue that is not there")
async def missing(at: Stage) -> None:
    await at.made("pending")
    for side in at.both:
        assert await refusal(side.task("b")) == "task not found"
        assert await refusal(side.queue_info("missing")) == "queue not found"
        assert await refusal(side.list("pending", "missing")) == "queue not found"
        assert await refusal(side.history(1, "missing")) == "queue not found"


@case(
    AREA,
    "a task whose worker is gone: orphaned, in the list of those that run",
    note="asynq tells so in that list alone",
)
async def orphaned(at: Stage) -> None:
    await at.made("active")
    await at.agree()
    assert at.store.client.zadd(at.store.key("lease"), {"a": 1}, xx=True, ch=True) == 1
    for side in at.both:
        (task,) = await side.list("active")
        assert task["is_orphaned"]


@case(
    AREA,
    "a worker server: its queues, weights and concurrency, and what it runs",
    *ACROSS,
    note="asynq lists what it runs with its next heartbeat, up to 5 s later",
)
async def servers(at: Stage) -> None:
    """The maker's server, as the actor and the maker itself see it."""
    before = int(time.time())
    await at.actor.enqueue("sleep", FOREVER, task_id="a", queue="low", timeout=60)
    runner = await at.works(at.maker, queues={"default": 2, "low": 1}, concurrency=7, strict=True)
    await runner.started("a")

    async def listed() -> bool:
        found = await at.actor.servers()
        return bool(found and found[0]["active_workers"])

    await wait_until(listed, TIMEOUT)
    (server,) = await at.actor.servers()
    assert await at.maker.servers() == [server]
    (running,) = server["active_workers"]
    assert (server["pid"], server["host"], server["status"]) == (runner.pid, socket.gethostname(), "active")
    assert (server["queues"], server["concurrency"], server["strict_priority"]) == ({"default": 2, "low": 1}, 7, True)
    assert (running["task_id"], running["task_type"], running["queue"]) == ("a", "sleep", "low")
    assert (running["task_payload"], running["deadline"] - running["started"]) in ((PAYLOAD, 60), (PAYLOAD, 61))
    assert before <= server["started"] <= running["started"] <= time.time()
    await runner.stop()

    async def withdrawn() -> bool:
        return not await at.actor.servers()

    await wait_until(withdrawn)
