"""Options say how a task is carried out: when, in which queue, how often it may be tried, and for how long it is kept."""

from __future__ import annotations

from datetime import timedelta

import pytest

from conftest import StartWorker
from taskflow import Client, DuplicateTask, Inspector, InvalidOption, Task, TaskContext, TaskFlow, TaskOptions, Unique

KEPT = timedelta(minutes=5)


async def test_options_and_schedules(
    app: TaskFlow, client: Client, inspector: Inspector, start_worker: StartWorker
) -> None:
    # The defaults of a task stand at its handler; a `TaskContext` tells the handler what its task was given.
    @app.task("report:build", queue="reports", max_retries=2, timeout=timedelta(minutes=1))
    async def build(context: TaskContext, month: int) -> list[object]:
        return [context.queue, context.max_retries, month]

    # Other options can be set for one call. This one falls due in half a second.
    later = await build.with_options(process_in=timedelta(seconds=0.5), retention=KEPT).enqueue(month=3)
    assert later.state == "scheduled"

    # A client enqueues by type and payload alone: the handler may live in another program, or in another language.
    now = await client.enqueue("report:build", {"month": 4}, queue="reports", max_retries=7, retention=KEPT)

    # Many tasks go out in one round trip.
    tasks = [Task("report:build", {"month": n}, TaskOptions(queue="reports", task_id=f"month-{n}")) for n in (5, 6)]
    assert [info.task_id if isinstance(info, Exception) else info.id for info in await client.enqueue_many(tasks)] == [
        "month-5",
        "month-6",
    ]

    # A worker is told which queues to serve, and how much of its time each gets.
    await start_worker(app, queues={"reports": 3, "default": 1})
    assert await client.result(now, timeout=10) == ["reports", 7, 4]
    assert await client.result(later, timeout=10) == ["reports", 2, 3]


async def test_a_unique_task(client: Client) -> None:
    # While a unique task waits or runs, no other of the same type and payload is taken.
    first = await client.enqueue("mail:send", {"to": "a@example.org"}, unique=timedelta(hours=1))
    with pytest.raises(DuplicateTask) as refused:
        await client.enqueue("mail:send", {"to": "a@example.org"}, unique=timedelta(hours=1))
    assert refused.value.holder == first.id


async def test_one_task_for_many_calls(client: Client) -> None:
    # A key, or fields of the payload, say what is the same; the caller gets the task that is there.
    once = Unique(timedelta(hours=1), fields=("shop",), on_conflict="return")
    first = await client.enqueue("reindex", {"shop": 7, "because": "a new article"}, unique=once)
    again = await client.enqueue("reindex", {"shop": 7, "because": "another one"}, unique=once)
    assert (again.id, again.existing) == (first.id, True)

    # Debounce: each call takes the place of the one before, and the last runs when none has come for a while.
    newest = Unique(timedelta(hours=1), key="ada", on_conflict="replace")
    later = timedelta(seconds=30)
    draft = await client.enqueue("mail:send", {"text": "1 message"}, unique=newest, process_in=later)
    final = await client.enqueue("mail:send", {"text": "2 messages"}, unique=newest, process_in=later)
    assert final.replaced == draft.id


async def test_a_mistake_is_named_before_anything_is_sent(client: Client) -> None:
    with pytest.raises(InvalidOption, match="timeout: must be a timedelta from 0:00:00"):
        await client.enqueue("mail:send", timeout=timedelta(seconds=-1))
