"""Requests that may be sent again: the header Idempotency-Key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from support.proxy import Proxy
from taskflow import Client, Inspector, TaskState
from taskflow.application.commands import CreateTask
from taskflow.application.idempotency import RequestKey
from taskflow.application.service import TaskService
from taskflow.config import load_settings

TASKS = "/api/v1/tasks"
BODY: dict[str, Any] = {"type": "demo", "payload": {"message": "hello"}}


@pytest.fixture(autouse=True)
async def _published(publish: Any) -> None:
    await publish()


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[Proxy]:
    """A proxy in front of the Redis server."""
    async with Proxy(redis_url) as proxy:
        yield proxy


async def send(
    http: httpx.AsyncClient, body: dict[str, Any] | None = None, *, key: str = "a", path: str = TASKS
) -> httpx.Response:
    return await http.post(path, json=body or BODY, headers={"Idempotency-Key": key})


async def pending(client: Client) -> int:
    return len(await Inspector(client.broker).tasks("default", TaskState.PENDING))


@pytest.mark.parametrize("more", [{}, {"task_id": "mine"}, {"unique": "1h"}, {"process_in": "1h"}])
async def test_the_same_request_again_answers_with_the_same_task(http: httpx.AsyncClient, more: dict[str, Any]) -> None:
    first = await send(http, {**BODY, **more})
    second = await send(http, {**BODY, **more})
    other = await send(http, {"type": "demo", "payload": {"message": "other"}}, key="b")

    assert (first.status_code, second.status_code, other.status_code) == (201, 200, 201)
    assert second.json() == first.json()
    assert second.headers["location"] == first.headers["location"]
    assert other.json()["task_id"] != first.json()["task_id"]


async def test_the_task_is_shown_as_it_is_now(http: httpx.AsyncClient, client: Client) -> None:
    first = await send(http)
    await http.post(f"{first.headers['location']}/cancel")

    assert (await send(http)).json()["status"] == "archived"

    await http.delete(first.headers["location"])

    assert ((await send(http)).status_code, (await send(http)).json()) == (200, first.json())
    assert await pending(client) == 0


@pytest.mark.parametrize(
    "change",
    [{"payload": {"message": "other"}}, {"queue": "low"}, {"task_id": "mine"}, {"max_retries": 1}],
)
async def test_another_body_is_refused(http: httpx.AsyncClient, client: Client, change: dict[str, Any]) -> None:
    await send(http)

    answer = await send(http, {**BODY, **change})

    assert (answer.status_code, answer.json()["code"]) == (409, "IDEMPOTENCY_CONFLICT")
    assert answer.json()["details"] == {"idempotency_key": "a"}
    assert await Inspector(client.broker).queues() == ["default"]
    assert await pending(client) == 1


async def test_of_many_at_once_one_creates_the_task(http: httpx.AsyncClient, client: Client) -> None:
    answers = await asyncio.gather(*(send(http) for _ in range(30)))

    assert sorted(answer.status_code for answer in answers) == [*[200] * 29, 201]
    assert len({answer.json()["task_id"] for answer in answers}) == 1
    assert await pending(client) == 1


async def test_of_many_bodies_at_once_one_wins(http: httpx.AsyncClient, client: Client) -> None:
    bodies = [{**BODY, "queue": f"q{number}"} for number in range(10)]

    answers = await asyncio.gather(*(send(http, body) for body in bodies))

    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 9]
    assert len(await Inspector(client.broker).queues()) == 1


async def test_a_request_whose_answer_was_lost_is_sent_again(http_with: Any, proxy: Proxy, client: Client) -> None:
    """Redis has stored the task, but the API did not hear of it, not even at its second try."""
    async with http_with(url=proxy.url) as http:
        await send(http, key="warm")
        proxy.drop_replies(lambda requests: b"EVALSHA" in requests)
        lost = await send(http)
        proxy.pass_on()
        again = await send(http)

    assert lost.status_code == 503
    assert (again.status_code, await pending(client)) == (200, 2)


async def test_who_is_told_apart_has_keys_of_its_own(client: Client) -> None:
    service = TaskService(client, settings=load_settings(environ={}))
    command = CreateTask(type="demo", payload={"message": "hello"})

    ada, bob, again = [
        await service.create(command, RequestKey(scope, "a", b"body")) for scope in ("ada", "bob", "ada")
    ]

    assert ada.id != bob.id
    assert (again.id, again.existing) == (ada.id, True)
    await service.close()


async def test_a_refused_body_does_not_use_up_the_key(http: httpx.AsyncClient) -> None:
    assert (await send(http, {"type": "demo", "payload": 5})).status_code == 400
    assert (await send(http)).status_code == 201


async def test_a_key_is_remembered_for_a_day(http: httpx.AsyncClient, client: Client) -> None:
    await send(http)

    (key,) = (await client.broker.execute(("KEYS", "taskflow:idempotency:*")))[0]
    (seconds,) = await client.broker.execute(("TTL", key))
    assert 86_000 < seconds <= 86_400


@pytest.mark.parametrize("key", ["", "x" * 256, "ä".encode(), "a\tb"])
async def test_a_key_that_cannot_be_used(http: httpx.AsyncClient, key: str | bytes) -> None:
    answer = await http.post(
        TASKS, json=BODY, headers={b"Idempotency-Key": key if isinstance(key, bytes) else key.encode()}
    )

    assert (answer.status_code, answer.json()["details"]) == (400, {"option": "Idempotency-Key"})


async def test_a_batch_takes_no_key(http: httpx.AsyncClient) -> None:
    answer = await send(http, {"tasks": [BODY]}, path=f"{TASKS}/batch")

    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST")
    assert "task_id" in answer.json()["error"]
