"""Unique locks over HTTP: how they are asked for, and what is answered when the same task is there."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from taskflow import Client, TaskFlow, Unique
from taskflow.wire.keys import queue_keys

TASKS = "/api/v1/tasks"
KEY = queue_keys("default").unique_prefix + "demo:key=k"


def body(n: int = 0, **unique: Any) -> dict[str, Any]:
    return {"type": "demo", "payload": {"message": f"{n}"}, "unique": {"ttl": "1h", "key": "k"} | unique}


async def test_a_lock_with_all_choices(http: httpx.AsyncClient, publish: Any, raw: Any) -> None:
    await publish()

    created = await http.post(TASKS, json=body(until="started", on_conflict="replace"))

    task_id = created.json()["task_id"]
    assert raw.get(KEY).decode() == task_id
    assert 3590 < raw.ttl(KEY) <= 3600
    assert raw.hget(f"asynq:{{default}}:t:{task_id}", "lock_until") == b"started"


async def test_chosen_fields_of_the_payload(http: httpx.AsyncClient, publish: Any) -> None:
    await publish()
    one = {"type": "demo", "payload": {"message": "a", "count": 1}, "unique": {"ttl": "1h", "fields": ["message"]}}

    first = await http.post(TASKS, json=one)
    same = await http.post(TASKS, json=one | {"payload": {"count": 2, "message": "a"}})
    another = await http.post(TASKS, json=one | {"payload": {"message": "b", "count": 1}})

    assert (first.status_code, same.status_code, another.status_code) == (201, 409, 201)
    assert same.json()["details"]["holder"] == first.json()["task_id"]


async def test_return_answers_200_with_the_task_that_is_there(http: httpx.AsyncClient, publish: Any) -> None:
    await publish()
    first = await http.post(TASKS, json=body(1) | {"process_in": "1h"})

    second = await http.post(TASKS, json=body(2, on_conflict="return"))

    assert second.status_code == 200
    assert (
        second.json() == first.json() == {"task_id": first.json()["task_id"], "queue": "default", "status": "scheduled"}
    )
    assert second.headers["location"] == first.headers["location"]


async def test_replace_takes_the_place_of_one_that_waits_and_is_409_when_it_runs(
    http: httpx.AsyncClient, publish: Any, client: Client, raw: Any
) -> None:
    await publish()
    first = (await http.post(TASKS, json=body(1))).json()["task_id"]

    second = await http.post(TASKS, json=body(2, on_conflict="replace"))
    await client.broker.dequeue({"default": 1})
    third = await http.post(TASKS, json=body(3, on_conflict="replace"))

    assert (second.status_code, third.status_code) == (201, 409)
    assert raw.exists(f"asynq:{{default}}:t:{first}") == 0
    assert third.json()["code"] == "TASK_ALREADY_EXISTS"
    assert "it is running, so it cannot be replaced" in third.json()["error"]
    assert third.json()["details"]["holder"] == second.json()["task_id"]


async def test_a_batch_tells_which_tasks_were_there(http: httpx.AsyncClient, publish: Any) -> None:
    await publish()
    unusable = body() | {"payload": {"message": "a"}, "unique": {"ttl": "1h", "fields": []}}
    tasks = [body(1), body(2, on_conflict="return"), body(3), body(4, on_conflict="replace"), unusable]

    answer = (await http.post(f"{TASKS}/batch", json={"tasks": tasks})).json()

    assert (answer["created"], answer["failed"]) == (2, 2)
    results = answer["results"]
    assert results[1] == results[0] | {"existing": True}
    assert [result.get("code") for result in results] == [None, None, "TASK_ALREADY_EXISTS", None, "INVALID_UNIQUE"]


async def test_fields_of_a_payload_that_is_no_object_spoil_no_batch(http_with: Any) -> None:
    task = {"type": "go:any", "payload": [1], "unique": {"ttl": "1h", "fields": ["a"]}}
    async with http_with(api__allow_types="go:*") as http:
        answer = await http.post(f"{TASKS}/batch", json={"tasks": [task, task | {"payload": {"a": 1}}]})
        alone = await http.post(TASKS, json=task)

    assert [result.get("code") for result in answer.json()["results"]] == ["INVALID_UNIQUE", None]
    assert alone.status_code == 400
    assert "JSON object" in alone.json()["error"]


@pytest.mark.parametrize(
    ("unique", "reason"),
    [
        ({}, "unique: ttl: is missing"),
        ({"ttl": "often"}, "unique: 'often' is not a duration"),
        ({"ttl": 60}, "unique: ttl: must be str, not int"),
        ({"ttl": "10ms"}, 'unique: must be at least "1s"'),
        ({"ttl": "1h", "untl": "done"}, "unique: untl: is not a field of this request; did you mean 'until'?"),
        ({"ttl": "1h", "until": "ended"}, "unique: until must be one of done, started, expired, not 'ended'"),
        ({"ttl": "1h", "on_conflict": 1}, "unique: on_conflict: must be str, not int"),
        ({"ttl": "1h", "fields": "user"}, "unique: fields: must be array | null, not str"),
        ({"ttl": "1h", "fields": [1]}, "unique: fields: must be str, not int"),
        ({"ttl": "1h", "key": ""}, "unique: key must be UTF-8 text of 1 to 256 bytes"),
        ({"ttl": "1h", "key": "a", "fields": ["b"]}, "unique: give either key or fields, not both"),
    ],
)
async def test_what_cannot_be_used_is_named(http: httpx.AsyncClient, publish: Any, unique: Any, reason: str) -> None:
    await publish()

    answer = await http.post(TASKS, json=body() | {"unique": unique})

    assert answer.status_code == 400
    assert answer.json()["code"] == "INVALID_UNIQUE"
    assert answer.json()["error"].startswith(reason)


async def test_a_types_own_lock_holds_for_tasks_created_over_http(
    http: httpx.AsyncClient, app: TaskFlow, start_worker: Any, raw: Any
) -> None:
    """The worker publishes it with the type; what the request says comes before it."""

    @app.task("reindex", queue="slow", unique=Unique(timedelta(hours=1), fields=("shop",), on_conflict="return"))
    async def reindex(shop: int, version: int = 0) -> None:
        pass

    await start_worker(app, queues={"default": 1})

    first = await http.post(TASKS, json={"type": "reindex", "payload": {"shop": 7}})
    again = await http.post(TASKS, json={"type": "reindex", "payload": {"shop": 7, "version": 1}})
    mine = await http.post(TASKS, json={"type": "reindex", "payload": {"shop": 7, "version": 1}, "unique": "1h"})
    shown = (await http.get("/api/v1/task-types/reindex")).json()

    assert (first.status_code, again.status_code, mine.status_code) == (201, 200, 201)
    assert again.json()["task_id"] == first.json()["task_id"]
    assert shown["unique"] == {"ttl": "1h", "fields": ["shop"], "on_conflict": "return"}


async def test_the_document_describes_the_lock_and_the_answer_200(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()

    responses = document["paths"]["/api/v1/tasks"]["post"]["responses"]
    assert responses["200"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Created"}
    assert responses["201"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Created"}
    choices = document["components"]["schemas"]["UniqueBody"]["properties"]
    assert choices["until"]["enum"] == ["done", "started", "expired"]
    assert choices["on_conflict"]["enum"] == ["refuse", "return", "replace"]
