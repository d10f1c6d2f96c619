"""POST /tasks and /tasks/batch: what is created, and with which defaults."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest

from taskflow import Client, Inspector, TaskState

HELLO = {"message": "hello"}


async def test_a_task_is_created_and_named_by_the_location(
    http: httpx.AsyncClient, publish: Any, client: Client
) -> None:
    await publish()

    answer = await http.post("/api/v1/tasks", json={"type": "demo", "payload": HELLO})

    assert answer.status_code == 201
    body = answer.json()
    assert body == {"task_id": body["task_id"], "queue": "default", "status": "pending"}
    assert answer.headers["location"] == f"/api/v1/tasks/{body['task_id']}"
    info = await Inspector(client.broker).task(body["task_id"])
    assert (info.type, info.payload, info.state) == ("demo", b'{"message":"hello"}', TaskState.PENDING)


async def test_what_is_left_out_comes_from_the_settings(http: httpx.AsyncClient, publish: Any, client: Client) -> None:
    await publish()

    created = (await http.post("/api/v1/tasks", json={"type": "demo", "payload": HELLO})).json()

    info = await Inspector(client.broker).task(created["task_id"])
    assert (info.max_retries, info.retention, info.timeout) == (3, timedelta(hours=1), timedelta(minutes=30))


async def test_the_types_own_defaults_come_before_the_settings(
    http: httpx.AsyncClient, publish: Any, client: Client
) -> None:
    await publish(queue="high", max_retries=7, timeout_seconds=12.0)

    created = (await http.post("/api/v1/tasks", json={"type": "demo", "payload": HELLO})).json()

    assert created["queue"] == "high"
    info = await Inspector(client.broker).task(created["task_id"])
    assert (info.max_retries, info.timeout) == (7, timedelta(seconds=12))


async def test_every_field_reaches_the_task(http: httpx.AsyncClient, publish: Any, client: Client) -> None:
    await publish(max_retries=7, timeout_seconds=12.0)
    deadline = datetime(2040, 1, 2, 3, 4, 5, tzinfo=UTC)

    answer = await http.post(
        "/api/v1/tasks",
        json={
            "type": "demo",
            "payload": HELLO,
            "queue": "low",
            "max_retries": 0,
            "timeout": "1m30s",
            "deadline": "2040-01-02T03:04:05Z",
            "process_at": "2039-01-02T03:04:05+01:00",
            "unique": "1h",
            "metadata": {"trace": "abc"},
            "task_id": "mine",
            "retention": "2h",
        },
    )

    assert answer.json() == {"task_id": "mine", "queue": "low", "status": "scheduled"}
    info = await Inspector(client.broker).task("mine", "low")
    assert info.max_retries == 0
    assert info.timeout == timedelta(seconds=90)
    assert info.deadline == deadline
    assert info.next_process_at == datetime(2039, 1, 2, 2, 4, 5, tzinfo=UTC)
    assert info.retention == timedelta(hours=2)
    assert info.headers == {"trace": "abc"}


async def test_process_in_and_group(http: httpx.AsyncClient, publish: Any) -> None:
    await publish()

    later = await http.post("/api/v1/tasks", json={"type": "demo", "payload": HELLO, "process_in": "1h"})
    grouped = await http.post("/api/v1/tasks", json={"type": "demo", "payload": HELLO, "group": "mails"})

    assert (later.json()["status"], grouped.json()["status"]) == ("scheduled", "aggregating")


async def test_a_deadline_alone_sets_no_timeout(http: httpx.AsyncClient, publish: Any, client: Client) -> None:
    await publish()

    answer = await http.post(
        "/api/v1/tasks", json={"type": "demo", "payload": HELLO, "deadline": "2040-01-02T03:04:05Z", "task_id": "1"}
    )

    assert answer.status_code == 201
    assert (await Inspector(client.broker).task("1")).timeout is None


@pytest.mark.parametrize(
    "payload", [b"null", b"0", b'"text"', b"[1,2]", b"1e30", b"123456789012345678901234567890", b'{"\xc3\xa4":1.0}']
)
async def test_any_json_travels_as_it_was_written(http_with: Any, client: Client, payload: bytes) -> None:
    async with http_with(api__allow_types="go:*") as http:
        body = b'{"type": "go:any", "task_id": "1", "payload":  ' + payload + b" }"
        answer = await http.post("/api/v1/tasks", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 201, answer.text
    assert (await Inspector(client.broker).task("1")).payload == payload


async def test_space_between_tokens_makes_no_other_payload(http: httpx.AsyncClient, publish: Any) -> None:
    """The unique lock compares bytes, and Python writes none."""
    await publish()
    head = {"Content-Type": "application/json"}

    first = await http.post("/api/v1/tasks", json={"type": "demo", "payload": HELLO, "unique": "1h"})
    second = await http.post(
        "/api/v1/tasks", content=b'{"type":"demo","payload":{ "message" : "hello" },"unique":"1h"}', headers=head
    )

    assert second.status_code == 409
    assert second.json()["details"]["holder"] == first.json()["task_id"]


async def test_a_type_published_a_moment_ago_is_found(http: httpx.AsyncClient, publish: Any) -> None:
    await publish("first")
    assert (await http.post("/api/v1/tasks", json={"type": "first", "payload": HELLO})).status_code == 201

    await publish("second")

    assert (await http.post("/api/v1/tasks", json={"type": "second", "payload": HELLO})).status_code == 201


async def test_the_catalog_is_not_read_for_each_task(http: httpx.AsyncClient, publish: Any, client: Client) -> None:
    await publish()
    await client.broker.execute(("CONFIG", "RESETSTAT"))

    for _ in range(30):
        assert (await http.post("/api/v1/tasks", json={"type": "demo", "payload": HELLO})).status_code == 201

    (stats,) = await client.broker.execute(("INFO", "commandstats"))
    calls = re.search(rb"cmdstat_hgetall:calls=(\d+)", stats)
    assert calls is not None
    assert int(calls[1]) <= 3


async def test_a_prefix_serves_the_types_that_begin_so(http: httpx.AsyncClient, publish: Any) -> None:
    await publish("image:", prefix=True)

    answer = await http.post("/api/v1/tasks", json={"type": "image:resize", "payload": HELLO})

    assert answer.status_code == 201


async def test_a_schema_that_points_elsewhere_is_not_fetched_and_lets_payloads_through(
    http: httpx.AsyncClient, client: Client
) -> None:
    entry = {"type": "odd", "schema": {"$ref": "http://127.0.0.1:1/schema.json"}}
    await client.broker.execute(("HSET", "taskflow:types", "odd", msgspec.json.encode(entry)))

    answer = await http.post("/api/v1/tasks", json={"type": "odd", "payload": {"a": 1}})

    assert answer.status_code == 201


async def test_each_task_of_a_batch_has_its_own_result(http: httpx.AsyncClient, publish: Any, client: Client) -> None:
    await publish()
    good = {"type": "demo", "payload": HELLO}
    tasks = [
        good | {"task_id": "1"},
        good | {"timeout": "soon"},
        {"type": "dmo", "payload": HELLO},
        good | {"payload": {"message": 1}},
        good | {"task_id": "1"},
        good | {"queue": "low"},
        7,
    ]

    answer = await http.post("/api/v1/tasks/batch", json={"tasks": tasks})

    assert answer.status_code == 200
    body = answer.json()
    assert (body["created"], body["failed"]) == (2, 5)
    assert body["results"][0] == {"task_id": "1", "queue": "default", "status": "pending"}
    codes = [result.get("code") for result in body["results"]]
    assert codes == [
        None,
        "INVALID_TIMEOUT",
        "INVALID_TASK_TYPE",
        "INVALID_PAYLOAD",
        "TASK_ALREADY_EXISTS",
        None,
        "INVALID_REQUEST",
    ]
    assert body["results"][5]["queue"] == "low"
    assert [info.pending for info in await Inspector(client.broker).queue_infos(["default", "low"])] == [1, 1]


async def test_a_large_batch_keeps_its_order(http: httpx.AsyncClient, publish: Any, client: Client) -> None:
    await publish()
    tasks = [{"type": "demo", "payload": HELLO, "task_id": f"{number:04}"} for number in range(2500)]

    body = (await http.post("/api/v1/tasks/batch", json={"tasks": tasks})).json()

    assert (body["created"], body["failed"]) == (2500, 0)
    assert [result["task_id"] for result in body["results"]] == [task["task_id"] for task in tasks]
    first = await Inspector(client.broker).tasks("default", TaskState.PENDING, size=3)
    assert [info.id for info in first] == ["0000", "0001", "0002"]


async def test_an_empty_batch_is_no_error(http: httpx.AsyncClient) -> None:
    answer = await http.post("/api/v1/tasks/batch", json={"tasks": []})

    assert answer.json() == {"created": 0, "failed": 0, "results": []}


async def test_what_is_empty_counts_as_not_said(http: httpx.AsyncClient, publish: Any) -> None:
    await publish()
    body = {"type": "demo", "payload": {"message": "hi"}}
    empty = {"queue": "", "timeout": "", "process_at": "", "unique": "", "metadata": None}

    first = await http.post("/api/v1/tasks", json=body | empty)
    second = await http.post("/api/v1/tasks", json=body | {"timeout": "0s", "unique": "0s"})
    plain = await http.post("/api/v1/tasks", json=body)
    tasks = [
        (await http.get(answer.headers["location"], params={"queue": ""})).json() for answer in (first, second, plain)
    ]
    listed = await http.get("/api/v1/tasks", params={"queue": "", "status": "", "size": 0})
    stats = await http.get("/api/v1/queues/stats", params={"queue": ""})

    assert [(task["queue"], task["timeout"], task["state"]) for task in tasks] == [("default", "30m", "pending")] * 3
    assert (listed.status_code, listed.json()) == (200, [])
    assert [queue["queue"] for queue in stats.json()] == ["default"]
