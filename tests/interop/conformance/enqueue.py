"""Enqueue: every option, as both inspectors show it and as the other side's handler sees it."""

from __future__ import annotations

import time
from typing import Any

from interop.features import case
from interop.go_peer import Reply, base64_text
from interop.sides import refusal
from interop.stage import Stage

AREA = "Enqueue"
IN_2100 = 4102444800


async def enqueued(at: Stage, task_type: str = "anything", payload: bytes | None = b"x", **options: Any) -> Reply:
    """Let the maker enqueue task `a`; return what both say of it."""
    await at.maker.enqueue(task_type, payload, task_id="a", **options)
    await at.agree(options.get("queue", "default"))
    return await at.task("a", options.get("queue", "default"))


async def seen(at: Stage, queue: str = "default") -> Reply:
    """Let the actor's worker run task `a`; return what its handler saw."""
    runner = await at.works(at.actor, queues={queue: 1})
    return await runner.started("a")


async def payload_arrives(at: Stage, payload: bytes | None) -> None:
    text = base64_text(payload or b"")
    assert (await enqueued(at, payload=payload))["payload"] == text
    assert (await seen(at))["payload"] == text


@case(AREA, "no payload (nil)")
async def no_payload(at: Stage) -> None:
    await payload_arrives(at, None)


@case(AREA, "an empty payload")
async def empty_payload(at: Stage) -> None:
    await payload_arrives(at, b"")


@case(AREA, "a binary payload: every byte")
async def binary_payload(at: Stage) -> None:
    await payload_arrives(at, bytes(range(256)))


@case(AREA, "a payload of 1 MiB")
async def large_payload(at: Stage) -> None:
    await payload_arrives(at, bytes(range(256)) * 4096)


@case(AREA, "type and queue in any alphabet")
async def unicode_names(at: Stage) -> None:
    task = await enqueued(at, "größe:測試", queue="очередь")
    assert (task["type"], task["queue"]) == ("größe:測試", "очередь")
    run = await seen(at, "очередь")
    assert (run["type"], run["queue"]) == ("größe:測試", "очередь")


@case(AREA, "the defaults: queue, 25 retries, 30 minutes")
async def defaults(at: Stage) -> None:
    await at.maker.enqueue("anything", task_id="a")
    task = await at.task()
    assert (task["queue"], task["max_retry"], task["timeout"], task["deadline"]) == ("default", 25, 1800, 0)
    assert (task["state"], task["retention"], task["group"], task["headers"]) == ("pending", 0, "", {})


@case(AREA, "max_retry")
async def max_retry(at: Stage) -> None:
    for number in (0, 7, 2**31 - 1):
        await at.maker.enqueue("anything", task_id=f"{number}", max_retry=number)
        assert (await at.task(f"{number}"))["max_retry"] == number
    runner = await at.works(at.actor)
    assert (await runner.started("7"))["max_retry"] == 7


@case(AREA, "timeout")
async def timeout(at: Stage) -> None:
    task = await enqueued(at, timeout=90)
    assert (task["timeout"], task["deadline"]) == (90, 0)
    before = time.time()
    assert before + 88 <= (await seen(at))["deadline"] <= time.time() + 91


@case(AREA, "deadline")
async def deadline(at: Stage) -> None:
    task = await enqueued(at, deadline=IN_2100)
    assert (task["timeout"], task["deadline"]) == (0, IN_2100)
    assert (await seen(at))["deadline"] == IN_2100


@case(AREA, "timeout and deadline: the nearer counts")
async def timeout_and_deadline(at: Stage) -> None:
    near = int(time.time()) + 60
    task = await enqueued(at, timeout=3600, deadline=near)
    assert (task["timeout"], task["deadline"]) == (3600, near)
    assert (await seen(at))["deadline"] == near


@case(AREA, "process_at: a whole second")
async def process_at(at: Stage) -> None:
    task = await enqueued(at, process_at=IN_2100)
    assert (task["state"], task["next_process_at"]) == ("scheduled", IN_2100)


@case(
    AREA,
    "process_at: a fraction of a second",
    note="asynq's due times are whole seconds: its client rounds down, TaskFlow's up",
)
async def process_at_fraction(at: Stage) -> None:
    task = await enqueued(at, process_at=IN_2100 + 0.25)
    assert task["state"] == "scheduled"
    assert task["next_process_at"] == (IN_2100 if at.maker.name == "go" else IN_2100 + 1)


@case(AREA, "process_in")
async def process_in(at: Stage) -> None:
    task = await enqueued(at, process_in=3600)
    assert task["state"] == "scheduled"
    assert 3598 <= task["next_process_at"] - time.time() <= 3601


@case(AREA, "process_at in the past: pending at once")
async def process_at_in_the_past(at: Stage) -> None:
    assert (await enqueued(at, process_at=int(time.time()) - 60))["state"] == "pending"


@case(AREA, "retention")
async def retention(at: Stage) -> None:
    assert (await enqueued(at, "echo", b"42", retention=7200))["retention"] == 7200
    before = int(time.time())
    await at.works(at.actor)
    task = await at.reach("completed")
    assert (task["result"], task["retention"]) == (base64_text(b"42"), 7200)
    assert before <= task["completed_at"] <= time.time()
    assert at.store.scores("completed")["a"] == task["completed_at"] + 7200


@case(AREA, "headers")
async def headers(at: Stage) -> None:
    pairs = {"trace-id": "4bf92f35", "schlüssel": "wért 値", "empty": ""}
    assert (await enqueued(at, headers=pairs))["headers"] == pairs
    assert (await seen(at))["headers"] == pairs


@case(AREA, "group")
async def group(at: Stage) -> None:
    task = await enqueued(at, group="user:42")
    assert (task["state"], task["group"]) == ("aggregating", "user:42")
    await at.actor.enqueue("anything", task_id="b", group="user:42")
    numbers = await at.agree()
    assert (numbers["aggregating"], numbers["groups"], numbers["size"]) == (2, 1, 2)


@case(AREA, "group with a due time: scheduled first")
async def group_with_due_time(at: Stage) -> None:
    task = await enqueued(at, group="user:42", process_at=IN_2100)
    assert (task["state"], task["group"], task["next_process_at"]) == ("scheduled", "user:42", IN_2100)


@case(AREA, "task_id: one that exists is refused")
async def task_id(at: Stage) -> None:
    before = await enqueued(at)
    assert await refusal(at.actor.enqueue("other", b"y", task_id="a")) == "id taken"
    assert await at.task() == before


@case(AREA, "unique: a second task of the same type and payload is refused")
async def unique(at: Stage) -> None:
    await enqueued(at, "once", b"x", unique=3600)
    assert await refusal(at.actor.enqueue("once", b"x", unique=60)) == "duplicate"
    for task_type, payload, queue in (("other", b"x", "default"), ("once", b"y", "default"), ("once", b"x", "low")):
        assert (await at.actor.enqueue(task_type, payload, queue=queue, unique=60))["state"] == "pending"
    assert (await at.actor.enqueue("once", b"x"))["state"] == "pending", "only those that ask for it are unique"


@case(AREA, "unique: no payload, an empty one and a binary one have locks of their own")
async def unique_by_payload(at: Stage) -> None:
    payloads = (None, b"", b"\x00\xff same")
    for payload in payloads:
        await at.maker.enqueue("once", payload, unique=3600)
    for payload in payloads:
        assert await refusal(at.actor.enqueue("once", payload, unique=60)) == "duplicate"


@case(AREA, "unique with a due time: the lock lasts until then and its own time longer")
async def unique_with_due_time(at: Stage) -> None:
    await enqueued(at, "once", b"x", unique=60, process_in=3600)
    (lock,) = at.store.client.keys(at.store.key("unique:*"))
    assert 3655 <= at.store.client.ttl(lock) <= 3660
    assert await refusal(at.actor.enqueue("once", b"x", unique=60)) == "duplicate"


@case(AREA, "unique in a group")
async def unique_in_a_group(at: Stage) -> None:
    await enqueued(at, "once", b"x", unique=3600, group="g")
    assert await refusal(at.actor.enqueue("once", b"x", unique=60, group="g")) == "duplicate"
    assert await refusal(at.actor.enqueue("once", b"x", unique=60)) == "duplicate"


@case(AREA, "unique: the lock is free when its time is over, though the task waits")
async def unique_runs_out(at: Stage) -> None:
    await enqueued(at, "once", b"x", unique=1)
    (lock,) = at.store.client.keys(at.store.key("unique:*"))
    assert 0 < at.store.client.pttl(lock) <= 1000
    at.store.client.pexpire(lock, 1)

    await at.no_locks()
    assert (await at.task())["state"] == "pending"
    assert (await at.actor.enqueue("once", b"x", unique=60))["state"] == "pending"


@case(AREA, "options that cannot be used are refused")
async def invalid_options(at: Stage) -> None:
    for side in (at.maker, at.actor):
        for options in ({"unique": 0.5}, {"task_id": " "}, {"group": ""}, {"queue": ""}):
            assert await refusal(side.enqueue("anything", **options)) == "invalid"
        assert await refusal(side.enqueue(" ")) == "invalid"
    assert await at.maker.queues() == []
