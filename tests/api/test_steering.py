"""Tasks over HTTP: run, give up, change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from taskflow import Client, TaskFlow

TASKS = "/api/v1/tasks"
HOUR = timedelta(hours=1)


async def test_a_scheduled_task_is_run_now(http: httpx.AsyncClient, client: Client) -> None:
    await client.enqueue("demo", task_id="1", queue="low", process_in=HOUR)

    answer = await http.post(f"{TASKS}/1/run")
    again = await http.post(f"{TASKS}/1/run")

    assert (answer.status_code, answer.json()["state"], answer.json()["queue"]) == (200, "pending", "low")
    assert (again.status_code, again.json()["code"]) == (409, "TASK_PENDING")


async def test_a_running_task_is_neither_run_nor_archived(http: httpx.AsyncClient, client: Client) -> None:
    await client.enqueue("demo", task_id="1")
    await client.broker.dequeue({"default": 1}, owner="w:1")

    for verb in ("run", "archive"):
        answer = await http.post(f"{TASKS}/1/{verb}")
        assert (answer.status_code, answer.json()["code"]) == (409, "TASK_ACTIVE")


async def test_a_task_is_run_and_answered_for_though_a_worker_is_faster(
    http: httpx.AsyncClient, app: TaskFlow, start_worker: Any, wait_until: Any
) -> None:
    """Without retention a task is gone once it is done; the answer says then what it was brought into."""

    @app.task("quick")
    async def quick() -> None:
        pass

    await start_worker(app)
    answers = []
    for number in range(20):
        await app.client.enqueue("quick", task_id=str(number), process_in=HOUR)
        answers.append(await http.post(f"{TASKS}/{number}/run"))

    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["state"] for answer in answers} <= {"pending", "active"}


async def test_a_task_is_archived(http: httpx.AsyncClient, client: Client) -> None:
    await client.enqueue("demo", task_id="1")

    with capture_logs() as logs:
        answer = await http.post(f"{TASKS}/1/archive", headers={"X-Request-ID": "mine"})
    again = await http.post(f"{TASKS}/1/archive")

    assert (answer.status_code, answer.json()["state"]) == (200, "archived")
    assert (again.status_code, again.json()["code"]) == (409, "TASK_FINISHED")
    (line,) = [line for line in logs if line["event"] == "task archived"]
    assert (line["task_id"], line["state"], line["request_id"]) == ("1", "pending", "mine")


@pytest.mark.parametrize("path", ["run", "archive"])
async def test_a_task_that_is_not_there(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.post(f"{TASKS}/nobody/{path}")

    assert (answer.status_code, answer.json()["code"]) == (404, "TASK_NOT_FOUND")


async def test_payload_and_due_time_of_a_waiting_task_are_changed(http: httpx.AsyncClient, client: Client) -> None:
    await client.enqueue("demo", {"a": 1}, task_id="1", process_in=HOUR)
    due = datetime(2030, 1, 31, 12, tzinfo=UTC)

    first = await http.patch(f"{TASKS}/1", json={"payload": {"a": 2}})
    second = await http.patch(f"{TASKS}/1", json={"process_at": due.isoformat()})

    assert (first.status_code, first.json()["payload"]) == (200, {"a": 2})
    assert second.json()["payload"] == {"a": 2}
    assert second.json()["next_process_at"] == "2030-01-31T12:00:00Z"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "INVALID_REQUEST"),
        ({"queue": "low"}, "INVALID_REQUEST"),
        ({"process_at": "tomorrow"}, "INVALID_PROCESS_AT"),
        ({"payload": {"message": 3}}, "INVALID_PAYLOAD"),
    ],
)
async def test_a_change_that_cannot_be_made(
    http: httpx.AsyncClient, client: Client, publish: Any, body: Any, code: str
) -> None:
    await publish()
    await client.enqueue("demo", {"message": "x"}, task_id="1", process_in=HOUR)

    answer = await http.patch(f"{TASKS}/1", json=body)

    assert (answer.status_code, answer.json()["code"]) == (400, code)


async def test_a_task_that_is_about_to_run_is_not_changed(http: httpx.AsyncClient, client: Client) -> None:
    await client.enqueue("demo", task_id="1")

    answer = await http.patch(f"{TASKS}/1", json={"payload": 1})

    assert (answer.status_code, answer.json()["code"]) == (409, "TASK_NOT_SCHEDULED")


async def test_a_change_is_made_only_to_what_the_client_has_seen(http: httpx.AsyncClient, client: Client) -> None:
    await client.enqueue("demo", {"a": 1}, task_id="1", process_in=HOUR)
    seen = (await http.get(f"{TASKS}/1")).headers["etag"]

    first = await http.patch(f"{TASKS}/1", json={"payload": {"a": 2}}, headers={"If-Match": seen})
    second = await http.patch(f"{TASKS}/1", json={"payload": {"a": 3}}, headers={"If-Match": seen})

    assert first.status_code == 200
    assert (second.status_code, second.json()["code"]) == (412, "PRECONDITION_FAILED")
    assert second.json()["details"] == {"etag": first.headers["etag"]}
    assert (await http.get(f"{TASKS}/1")).json()["payload"] == {"a": 2}


async def test_a_client_that_has_a_task_is_told_when_it_has_changed(http: httpx.AsyncClient, client: Client) -> None:
    await client.enqueue("demo", task_id="1", process_in=HOUR)
    tag = (await http.get(f"{TASKS}/1")).headers["etag"]

    same = await http.get(f"{TASKS}/1", headers={"If-None-Match": f'"other", W/{tag}'})
    await http.post(f"{TASKS}/1/run")
    other = await http.get(f"{TASKS}/1", headers={"If-None-Match": tag})

    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    assert (other.status_code, other.json()["state"]) == (200, "pending")
    assert other.headers["etag"] != tag
