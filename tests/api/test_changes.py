"""The queues and their tasks, followed live."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
import redis

from support.viewing import Event, Viewer, viewing
from taskflow import Client, Inspector, TaskFlow
from taskflow.application import changes
from taskflow.broker.figures import Figures

EVENTS = "/api/v1/events"
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "SAMPLE_SECONDS", 0.05)


async def until(viewer: Viewer, name: str, **wanted: Any) -> Event:
    """The next event of a name whose data has these values."""
    while True:
        event = await viewer.next()
        assert event is not None
        if event.name == name and wanted.items() <= event.data.items():
            return event


async def counts(viewer: Viewer, queue: str, **wanted: int) -> None:
    """Read until a queue is told of with these counts."""
    while True:
        event = await until(viewer, "queues")
        if any(found["queue"] == queue and wanted.items() <= found.items() for found in event.data["queues"]):
            return


async def test_all_queues_are_told_first_and_then_those_that_change(live: httpx.AsyncClient, client: Client) -> None:
    later = timedelta(hours=1)
    await client.enqueue("demo", process_in=later)
    await client.enqueue("demo", queue="other", process_in=later)

    async with viewing(live, EVENTS) as viewer:
        first = await viewer.next()
        await client.enqueue("demo", queue="other", process_in=later)
        second = await viewer.next()
        await client.enqueue("demo", queue="new", process_in=later)
        third = await viewer.next()
        await Inspector(client.broker).remove_queue("new", force=True)
        removed = await viewer.next()

    assert first is not None
    assert (first.name, first.id, first.data["removed"]) == ("queues", "", [])
    assert {queue["queue"]: queue["scheduled"] for queue in first.data["queues"]} == {"default": 1, "other": 1}
    told = [
        event and [(found["queue"], found["scheduled"]) for found in event.data["queues"]] for event in (second, third)
    ]
    assert told == [[("other", 2)], [("new", 1)]]
    assert removed is not None
    assert removed.data == {"queues": [], "removed": ["new"]}


async def test_the_tasks_of_a_queue_are_followed_through_their_states(
    live: httpx.AsyncClient, app: TaskFlow, start_worker: Any
) -> None:
    running, going_on = asyncio.Event(), asyncio.Event()

    @app.task("work")
    async def work() -> None:
        running.set()
        await going_on.wait()

    kept = await app.client.enqueue("work", process_in=HOUR, retention=HOUR)
    inspector = Inspector(app.client.broker)

    async with viewing(live, f"{EVENTS}?queue=default&tasks=true") as viewer:
        await counts(viewer, "default", scheduled=1)
        await inspector.run(kept.id)
        pending = await until(viewer, "task", task_id=kept.id)
        await start_worker(app)
        active = await until(viewer, "task", task_id=kept.id)
        going_on.set()
        completed = await until(viewer, "task", task_id=kept.id)
        new = await app.client.enqueue("work", process_in=HOUR)
        scheduled = await until(viewer, "task", task_id=new.id)
        await inspector.delete(new.id, "default")
        gone = await until(viewer, "task", task_id=new.id)

    moves = [(event.data["previous"], event.data["state"]) for event in (pending, active, completed, scheduled, gone)]
    assert moves == [
        ("scheduled", "pending"),
        ("pending", "active"),
        ("active", "completed"),
        (None, "scheduled"),
        ("scheduled", "gone"),
    ]


async def test_a_task_that_only_comes_out_of_sight_has_not_moved(
    live: httpx.AsyncClient, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "WINDOW", 2)
    for number in range(2):
        await client.enqueue("demo", task_id=f"old-{number}")

    async with viewing(live, f"{EVENTS}?queue=default&tasks=true") as viewer:
        await counts(viewer, "default", pending=2)
        for number in range(2):
            await client.enqueue("demo", task_id=f"new-{number}")
        news = [(await until(viewer, "task")).data["task_id"] for _ in range(2)]
        await client.enqueue("demo", task_id="last")
        last = await until(viewer, "task")

    assert sorted(news) == ["new-0", "new-1"]
    assert last.data == {"queue": "default", "task_id": "last", "state": "pending", "previous": None}


async def test_one_sampler_serves_all_viewers_and_ends_with_the_last(
    live: httpx.AsyncClient, client: Client, wait_until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    infos = Figures.infos

    async def counted(self: Figures, queues: Any) -> Any:
        looks.append(1)
        return await infos(self, queues)

    monkeypatch.setattr(changes, "SAMPLE_SECONDS", 30)
    monkeypatch.setattr(Figures, "infos", counted)
    await client.enqueue("demo")
    before = asyncio.all_tasks()

    async with viewing(live, EVENTS) as first, viewing(live, EVENTS) as second, viewing(live, EVENTS) as third:
        told = [await viewer.next() for viewer in (first, second, third)]

    assert [event and event.name for event in told] == ["queues"] * 3
    assert len(looks) == 1
    await wait_until(lambda: not [task for task in asyncio.all_tasks() - before if "sampler" in task.get_name()])


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("queue=nowhere", 404, "QUEUE_NOT_FOUND"),
        ("queue=a%20b", 400, "INVALID_QUEUE"),
        ("tasks=true", 400, "INVALID_REQUEST"),
    ],
)
async def test_what_cannot_be_followed_is_refused(live: httpx.AsyncClient, query: str, status: int, code: str) -> None:
    answer = await live.get(f"{EVENTS}?{query}")

    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_store_without_an_answer_ends_the_stream(
    live: httpx.AsyncClient, client: Client, raw: redis.Redis
) -> None:
    await client.enqueue("demo")

    async with viewing(live, EVENTS) as viewer:
        await until(viewer, "queues")
        raw.delete("asynq:queues")
        raw.set("asynq:queues", "no set")
        error = await until(viewer, "error")
        rest = await viewer.rest()

    assert error.data["code"] in {"REDIS_UNAVAILABLE", "INTERNAL_ERROR"}
    assert rest == []
