"""Tasks over HTTP: read, list, await, cancel, delete; a real worker runs them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest

from taskflow import Client, Inspector, SkipRetry, TaskContext, TaskFlow, TaskInfo

TASKS = "/api/v1/tasks"
HOUR = timedelta(hours=1)


async def test_all_that_is_known_of_a_waiting_task(http: httpx.AsyncClient, client: Client) -> None:
    await client.enqueue(
        "demo", {"a": 1}, task_id="1", queue="low", process_in=HOUR, headers={"trace": "x"}, max_retries=2
    )

    body = (await http.get(f"{TASKS}/1")).json()

    due = body.pop("next_process_at")
    assert due.endswith("Z")
    assert body == {
        "id": "1",
        "queue": "low",
        "type": "demo",
        "state": "scheduled",
        "max_retry": 2,
        "retried": 0,
        "metadata": {"trace": "x"},
        "timeout": "30m",
        "deadline": None,
        "retention": "0s",
        "group": None,
        "callback_url": None,
        "pending_since": None,
        "started_at": None,
        "completed_at": None,
        "archived_at": None,
        "last_failed_at": None,
        "cancelled": False,
        "worker": None,
        "orphaned": False,
        "payload": {"a": 1},
        "payload_encoding": "json",
        "result": None,
        "result_encoding": "json",
        "attempts": [],
        "progress": None,
    }


async def test_bytes_that_are_no_json_come_as_base64(http: httpx.AsyncClient, client: Client) -> None:
    await client.enqueue("go:resize", b"\x00\xff", task_id="1")

    body = (await http.get(f"{TASKS}/1")).json()

    assert (body["payload"], body["payload_encoding"]) == ("AP8=", "base64")


async def test_numbers_of_a_payload_are_not_rounded(http: httpx.AsyncClient, client: Client) -> None:
    await client.enqueue("demo", b'{"id":12345678901234567890123,"x":1.10}', task_id="1")

    assert b'"payload":{"id":12345678901234567890123,"x":1.10}' in (await http.get(f"{TASKS}/1")).content


async def test_a_task_is_looked_for_in_the_named_queue_only(http: httpx.AsyncClient, client: Client) -> None:
    await client.enqueue("demo", task_id="1", queue="low")

    assert (await http.get(f"{TASKS}/1?queue=low")).status_code == 200
    assert (await http.get(f"{TASKS}/1?queue=default")).status_code == 404


async def test_a_list_has_pages_and_says_how_many_there_are(http: httpx.AsyncClient, client: Client) -> None:
    for number in range(5):
        await client.enqueue("demo", task_id=str(number))

    answer = await http.get(TASKS, params={"status": "pending", "page": 1, "size": 2})

    assert [task["id"] for task in answer.json()] == ["2", "3"]
    assert answer.headers["x-total-count"] == "5"
    assert {"id", "queue", "type", "state", "max_retry", "retried"} <= set(answer.json()[0])


async def test_a_list_shows_running_tasks_of_the_default_queue_unless_told_otherwise(
    http: httpx.AsyncClient, client: Client
) -> None:
    assert ((await http.get(TASKS)).json(), (await http.get(TASKS)).headers["x-total-count"]) == ([], "0")
    await client.enqueue("demo", task_id="waiting")
    await client.enqueue("demo", task_id="running")
    await client.broker.dequeue({"default": 1}, owner="w:1")

    answer = await http.get(TASKS)

    assert [(task["id"], task["state"]) for task in answer.json()] == [("waiting", "active")]


async def test_a_list_can_be_searched(http: httpx.AsyncClient, client: Client) -> None:
    await client.enqueue("mail", {"to": "ada"}, task_id="1")
    await client.enqueue("mail", {"to": "bob"}, task_id="2")
    await client.enqueue("other", {"to": "ada"}, task_id="3")

    async def found(**query: str) -> tuple[list[str], str]:
        answer = await http.get(TASKS, params={"status": "pending", **query})
        return [task["id"] for task in answer.json()], answer.headers["x-total-count"]

    assert await found(type="mail") == (["1", "2"], "2")
    assert await found(q="ada") == (["1", "3"], "2")
    assert await found(q="ada", type="mail") == (["1"], "1")
    assert await found(q="nobody") == ([], "0")


async def test_tasks_of_a_group_are_listed(http: httpx.AsyncClient, client: Client) -> None:
    await client.enqueue("mail", task_id="1", group="daily")

    answer = await http.get(TASKS, params={"status": "aggregating", "group": "daily"})

    assert [(task["id"], task["group"]) for task in answer.json()] == [("1", "daily")]


async def test_a_waiting_task_is_deleted_a_running_one_is_not(http: httpx.AsyncClient, client: Client) -> None:
    await client.enqueue("demo", task_id="running")
    await client.broker.dequeue({"default": 1}, owner="w:1")
    await client.enqueue("demo", task_id="waiting")

    deleted = await http.delete(f"{TASKS}/waiting")
    refused = await http.delete(f"{TASKS}/running")

    assert (deleted.status_code, deleted.json()) == (200, {"message": "task deleted"})
    assert (await http.get(f"{TASKS}/waiting")).status_code == 404
    assert (refused.status_code, refused.json()["code"]) == (409, "TASK_ACTIVE")
    assert "cancel it first" in refused.json()["error"]


async def test_a_waiting_task_is_cancelled(http: httpx.AsyncClient, client: Client) -> None:
    await client.enqueue("demo", task_id="1", process_in=HOUR)

    answer = await http.post(f"{TASKS}/1/cancel")

    assert (answer.status_code, answer.json()) == (200, {"message": "task cancelled"})
    body = (await http.get(f"{TASKS}/1")).json()
    assert (body["state"], body["cancelled"], body["last_err"]) == ("archived", True, "task cancelled")


async def test_a_running_task_is_cancelled(http: httpx.AsyncClient, app: TaskFlow, start_worker: Any) -> None:
    started = asyncio.Event()

    @app.task("endless")
    async def endless() -> None:
        started.set()
        await asyncio.sleep(60)

    await start_worker(app)
    info = await app.client.enqueue("endless")
    await started.wait()

    assert (await http.post(f"{TASKS}/{info.id}/cancel")).status_code == 200

    result = await http.get(f"{TASKS}/{info.id}/result?wait=10s")
    assert (result.status_code, result.json()["state"], result.json()["error"]) == (200, "archived", "task cancelled")


async def test_a_result_is_awaited(http: httpx.AsyncClient, app: TaskFlow, start_worker: Any) -> None:
    go_on = asyncio.Event()

    @app.task("sum")
    async def total(numbers: list[int]) -> dict[str, int]:
        await go_on.wait()
        return {"sum": sum(numbers)}

    await start_worker(app)
    created = await http.post(TASKS, json={"type": "sum", "payload": {"numbers": [1, 2]}})
    path = f"{created.headers['location']}/result"

    early = await http.get(path)
    waiting = asyncio.create_task(http.get(f"{path}?wait=20s"))
    go_on.set()
    answer = await waiting

    assert (early.status_code, early.json()["result"]) == (202, None)
    assert answer.status_code == 200
    assert answer.json() == {
        "task_id": created.json()["task_id"],
        "state": "completed",
        "result": {"sum": 3},
        "result_encoding": "json",
    }


async def test_a_wait_that_is_over_is_a_202(http: httpx.AsyncClient, client: Client) -> None:
    await client.enqueue("demo", task_id="1")

    answer = await http.get(f"{TASKS}/1/result?wait=10ms")

    assert (answer.status_code, answer.json()["state"]) == (202, "pending")


async def test_attempts_and_errors_of_a_task_that_was_given_up(
    http: httpx.AsyncClient, app: TaskFlow, start_worker: Any
) -> None:
    @app.task("broken")
    async def broken() -> None:
        raise SkipRetry("no such address")

    await start_worker(app)
    info = await app.client.enqueue("broken")
    result = await http.get(f"{TASKS}/{info.id}/result?wait=10s")
    body = (await http.get(f"{TASKS}/{info.id}")).json()

    assert result.json()["state"] == "archived"
    assert "no such address" in result.json()["error"]
    assert (body["state"], body["cancelled"]) == ("archived", False)
    assert "no such address" in body["last_err"]
    assert "no such address" in body["attempts"][0]["error"]


async def test_a_task_shows_its_progress(http: httpx.AsyncClient, app: TaskFlow, start_worker: Any) -> None:
    @app.task("steps")
    async def steps(ctx: TaskContext) -> None:
        await ctx.progress(50, "half", "way", metadata={"step": 1})

    await start_worker(app)
    info: TaskInfo = await app.client.enqueue("steps", retention=HOUR)
    await http.get(f"{TASKS}/{info.id}/result?wait=10s")

    body = (await http.get(f"{TASKS}/{info.id}")).json()

    assert body["progress"]["task_id"] == info.id
    assert body["progress"]["metadata"] == {"step": "1"}
    assert type(body["progress"]["percentage"]) is int


@pytest.mark.parametrize("task_id", ["ä/ö?#", "a b", "100%"])
async def test_the_location_of_an_odd_id(http: httpx.AsyncClient, client: Client, publish: Any, task_id: str) -> None:
    await publish()

    answer = await http.post(TASKS, json={"type": "demo", "payload": {"message": ""}, "task_id": task_id})

    assert answer.headers["location"].isascii()
    assert (await Inspector(client.broker).task(task_id)).id == task_id
