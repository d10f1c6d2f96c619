"""A bad request of each kind: its status, its code, and a message that says what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, NamedTuple

import httpx
import pytest

from taskflow import Client, Inspector

TASKS = "/api/v1/tasks"
GOOD = {"type": "demo", "payload": {"message": "hello"}}
JSON = {"Content-Type": "application/json"}
HOUR = timedelta(hours=1)


class Bad(NamedTuple):
    """A request, and the answer it deserves."""

    name: str
    method: str
    path: str
    body: Any
    status: int
    code: str
    says: str


def create(name: str, change: dict[str, Any], code: str, says: str) -> Bad:
    return Bad(name, "POST", TASKS, GOOD | change, 400, code, says)


BAD = [
    # the body
    Bad("no JSON", "POST", TASKS, b"{", 400, "INVALID_REQUEST", "must be a JSON object with the fields type, payload"),
    Bad("empty body", "POST", TASKS, b"", 400, "INVALID_REQUEST", "must be a JSON object"),
    Bad("an array", "POST", TASKS, b"[]", 400, "INVALID_REQUEST", "must be object, not array"),
    Bad(
        "no UTF-8",
        "POST",
        TASKS,
        b'{"type":"demo","payload":{"message":"\xff"}}',
        400,
        "INVALID_PAYLOAD",
        "must be JSON",
    ),
    Bad(
        "too deep",
        "POST",
        TASKS,
        b'{"type":"demo","payload":' + b"[" * 9000 + b"]" * 9000 + b"}",
        400,
        "INVALID_REQUEST",
        "must be a JSON object",
    ),
    Bad("no type", "POST", TASKS, {"payload": {}}, 400, "INVALID_REQUEST", "type: is missing"),
    Bad("no payload", "POST", TASKS, {"type": "demo"}, 400, "INVALID_REQUEST", "payload: is missing"),
    create(
        "unknown field",
        {"tiemout": "3s"},
        "INVALID_REQUEST",
        "tiemout: is not a field of this request; did you mean 'timeout'?",
    ),
    create("retries as text", {"max_retries": "3"}, "INVALID_REQUEST", "max_retries: must be int | null, not str"),
    create("negative retries", {"max_retries": -1}, "INVALID_REQUEST", "max_retries: must be a whole number from 0"),
    create("metadata no text", {"metadata": {"a": 1}}, "INVALID_REQUEST", "metadata: must be str, not int"),
    create("retention", {"retention": "long"}, "INVALID_REQUEST", 'write numbers with units, such as "30s"'),
    create("empty group", {"group": ""}, "INVALID_REQUEST", "group: must not be empty"),
    # the type
    create(
        "unknown type", {"type": "demoo"}, "INVALID_TASK_TYPE", "(did you mean 'demo'?); start a worker that serves it"
    ),
    create(
        "another type", {"type": "zzz"}, "INVALID_TASK_TYPE", "let the type through with the setting api.allow_types"
    ),
    create("empty type", {"type": " "}, "INVALID_TASK_TYPE", "must be text such as 'email:send'"),
    create("no type", {"type": ""}, "INVALID_REQUEST", "type: is missing"),
    create("type no text", {"type": 7}, "INVALID_REQUEST", "must be str, not int"),
    # the payload
    create("wrong field", {"payload": {"message": 7}}, "INVALID_PAYLOAD", "(at $.message)"),
    create("missing field", {"payload": {}}, "INVALID_PAYLOAD", '"message" is a required property'),
    create("other field", {"payload": {"message": "a", "cuont": 1}}, "INVALID_PAYLOAD", "'cuont' was unexpected"),
    create("no object", {"payload": None}, "INVALID_PAYLOAD", 'null is not of type "object"'),
    create("number too large", {"payload": {"message": "a", "count": 1.5}}, "INVALID_PAYLOAD", "(at $.count)"),
    # the options
    create("timeout", {"timeout": "30"}, "INVALID_TIMEOUT", "'30' is not a duration; write numbers with units"),
    create("negative timeout", {"timeout": "-3s"}, "INVALID_TIMEOUT", "write a duration of zero or more"),
    create("endless timeout", {"timeout": "2000000h"}, "INVALID_TIMEOUT", "must be at most"),
    create("timeout no text", {"timeout": 30}, "INVALID_REQUEST", "must be str | null, not int"),
    create("deadline", {"deadline": "tomorrow"}, "INVALID_TIMEOUT", 'such as "2030-01-31T12:00:00Z"'),
    create("process_at", {"process_at": "2030-01-31"}, "INVALID_PROCESS_AT", "must be a time with its zone"),
    create("no zone", {"process_at": "2030-01-31T12:00:00"}, "INVALID_PROCESS_AT", "must be a time with its zone"),
    create("process_in", {"process_in": "1 day"}, "INVALID_PROCESS_AT", "is not a duration"),
    create("both", {"process_in": "1s", "process_at": "2030-01-31T12:00:00Z"}, "INVALID_PROCESS_AT", "not both"),
    create("unique", {"unique": "often"}, "INVALID_UNIQUE", "is not a duration"),
    create("unique no text", {"unique": 60}, "INVALID_REQUEST", "unique: must be str | object | null, not int"),
    create("short unique", {"unique": "500ms"}, "INVALID_UNIQUE", 'must be at least "1s"'),
    create("queue", {"queue": "a b"}, "INVALID_QUEUE", "must hold no braces, spaces or control characters"),
    create("queue no text", {"queue": 1}, "INVALID_REQUEST", "must be str | null"),
    create("task_id", {"task_id": ""}, "INVALID_TASK_ID", "must be non-empty text"),
    create("long task_id", {"task_id": "x" * 257}, "INVALID_TASK_ID", "at most 256 bytes"),
    # queries
    Bad("status", "GET", f"{TASKS}?status=done", None, 400, "INVALID_TASK_STATE", "must be one of pending, active"),
    Bad("page", "GET", f"{TASKS}?page=-1", None, 400, "INVALID_REQUEST", "page: must be a number from 0"),
    Bad("page no number", "GET", f"{TASKS}?page=x", None, 400, "INVALID_REQUEST", "page: must be int, not str"),
    Bad("size", "GET", f"{TASKS}?size=1001", None, 400, "INVALID_REQUEST", "size: must be a number from 1 to 1000"),
    Bad("no group", "GET", f"{TASKS}?status=aggregating", None, 400, "INVALID_REQUEST", "name the group"),
    Bad("list queue", "GET", f"{TASKS}?queue=a%20b", None, 400, "INVALID_QUEUE", "must hold no braces"),
    Bad("wait", "GET", f"{TASKS}/1/result?wait=x", None, 400, "INVALID_REQUEST", "wait: 'x' is not a duration"),
    Bad(
        "start_id",
        "GET",
        f"{TASKS}/done/progress/stream?start_id=x",
        None,
        400,
        "INVALID_REQUEST",
        "must be the stream_id",
    ),
    Bad(
        "task_ids", "GET", "/api/v1/progress/stream?task_ids=", None, 400, "INVALID_REQUEST", "must be 1 to 10 task ids"
    ),
    Bad("no task_ids", "GET", "/api/v1/progress/stream", None, 400, "INVALID_REQUEST", "task_ids"),
    Bad("long id", "GET", f"{TASKS}/{'x' * 300}", None, 400, "INVALID_TASK_ID", "at most 256 bytes"),
    # what is not there
    Bad("task", "GET", f"{TASKS}/nobody", None, 404, "TASK_NOT_FOUND", "its retention may be over"),
    Bad("task to delete", "DELETE", f"{TASKS}/nobody", None, 404, "TASK_NOT_FOUND", "not found in any queue"),
    Bad(
        "task in queue",
        "POST",
        f"{TASKS}/done/cancel?queue=low",
        None,
        404,
        "TASK_NOT_FOUND",
        "not found in queue 'low'",
    ),
    Bad("result", "GET", f"{TASKS}/nobody/result", None, 404, "TASK_NOT_FOUND", "not found"),
    Bad("stream", "GET", f"{TASKS}/nobody/progress/stream", None, 404, "TASK_NOT_FOUND", "not found"),
    Bad("progress", "GET", f"{TASKS}/nobody/progress", None, 404, "PROGRESS_NOT_FOUND", "has published no progress"),
    Bad("queue", "GET", "/api/v1/queues/nobody", None, 404, "QUEUE_NOT_FOUND", "a queue exists from its first task on"),
    Bad("queue stats", "GET", "/api/v1/queues/stats?queue=nobody", None, 404, "QUEUE_NOT_FOUND", "not found"),
    Bad("queue to pause", "POST", "/api/v1/queues/nobody/pause", None, 404, "QUEUE_NOT_FOUND", "not found"),
    Bad("queue to list", "GET", f"{TASKS}?queue=nobody", None, 404, "QUEUE_NOT_FOUND", "not found"),
    Bad(
        "type",
        "GET",
        "/api/v1/task-types/nobody",
        None,
        404,
        "TASK_TYPE_NOT_FOUND",
        "`taskflow types` list those there are",
    ),
    Bad("path", "GET", "/api/v2/tasks", None, 404, "NOT_FOUND", "/docs lists what there is"),
    # what is in the way
    Bad(
        "id taken",
        "POST",
        TASKS,
        GOOD | {"task_id": "done"},
        409,
        "TASK_ALREADY_EXISTS",
        "a task with the id 'done' exists",
    ),
    Bad(
        "unique taken",
        "POST",
        TASKS,
        GOOD | {"queue": "locked", "unique": "1h"},
        409,
        "TASK_ALREADY_EXISTS",
        "'holder'",
    ),
    Bad("has ended", "POST", f"{TASKS}/done/cancel", None, 409, "TASK_FINISHED", "has ended: it is archived"),
    # HTTP itself
    Bad("method", "PUT", TASKS, GOOD, 405, "METHOD_NOT_ALLOWED", "the header Allow names what can"),
    Bad(
        "batch no list", "POST", f"{TASKS}/batch", {"tasks": 7}, 400, "INVALID_REQUEST", "tasks: must be array, not int"
    ),
    Bad("batch field", "POST", f"{TASKS}/batch", {"task": []}, 400, "INVALID_REQUEST", "did you mean 'tasks'?"),
]


@pytest.fixture
async def tasks(client: Client, publish: Any) -> None:
    """A task that was cancelled (`done`), and one that holds a lock in the queue `locked` (`holder`)."""
    await publish()
    await client.enqueue("demo", {"message": "hello"}, task_id="done")
    await client.enqueue("demo", GOOD["payload"], task_id="holder", queue="locked", unique=HOUR)
    await client.enqueue("demo", queue="low")
    await Inspector(client.broker).cancel("done")


@pytest.mark.usefixtures("tasks")
@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
async def test_a_bad_request_is_answered_with_its_code(http: httpx.AsyncClient, bad: Bad) -> None:
    content = {"content": bad.body, "headers": JSON} if isinstance(bad.body, bytes) else {"json": bad.body}

    answer = await http.request(bad.method, bad.path, **(content if bad.body is not None else {}))

    body = answer.json()
    assert (answer.status_code, body["code"]) == (bad.status, bad.code), body
    assert bad.says in body["error"]
    assert set(body) == {"error", "code", "details"}
    assert isinstance(body["details"], dict)


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 201),
        ("application/json; charset=utf-8", 201),
        ("application/problem+json", 201),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/jsonp", 415),
        (None, 415),
    ],
)
async def test_the_body_must_be_said_to_be_json(
    http: httpx.AsyncClient, publish: Any, content_type: str | None, status: int
) -> None:
    await publish()
    headers = {"Content-Type": content_type} if content_type else {}

    answer = await http.post(TASKS, content=b'{"type":"demo","payload":{"message":"a"}}', headers=headers)

    assert answer.status_code == status
    if status == 415:
        assert answer.json()["code"] == "UNSUPPORTED_MEDIA_TYPE"
        assert "Content-Type: application/json" in answer.json()["error"]


async def test_a_payload_that_does_not_fit_is_explained_for_programs(http: httpx.AsyncClient, publish: Any) -> None:
    await publish()

    answer = await http.post(TASKS, json={"type": "demo", "payload": {"message": "a", "count": "many"}})

    assert answer.json()["details"] == {"path": "$.count", "expected": "integer", "got": "string"}


async def test_a_payload_over_the_limit(http_with: Any, publish: Any) -> None:
    await publish()
    async with http_with(tasks__payload_limit=100) as http:
        answer = await http.post(TASKS, json={"type": "demo", "payload": {"message": "x" * 100}})

    assert (answer.status_code, answer.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert "tasks.payload_limit" in answer.json()["error"]


async def test_a_body_over_the_limit_is_refused_while_it_arrives(http_with: Any) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(100):
            read += 1
            yield b" " * 1000

    async with http_with(server__http__body_limit=5000) as http:
        answer = await http.post(TASKS, content=endless(), headers=JSON)

    assert (answer.status_code, answer.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert "server.http.body_limit" in answer.json()["error"]
    assert read < 10


async def test_more_tasks_than_a_batch_may_hold(http_with: Any) -> None:
    async with http_with(server__http__batch_limit=2) as http:
        answer = await http.post(f"{TASKS}/batch", json={"tasks": [GOOD] * 3})

    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST")
    assert "at most 2 are taken; send them in several batches" in answer.json()["error"]


async def test_redis_away_is_a_503_that_does_not_tell_where_it_is(http_with: Any) -> None:
    async with http_with("redis://127.0.0.1:1/0") as http:
        answer = await http.post(TASKS, json=GOOD)

    assert (answer.status_code, answer.json()["code"]) == (503, "REDIS_UNAVAILABLE")
    assert answer.headers["retry-after"] == "1"
    assert "127.0.0.1" not in answer.text


async def test_a_broken_record_is_a_500_without_the_exceptions_text(
    http: httpx.AsyncClient, publish: Any, client: Client
) -> None:
    await publish()
    await client.broker.execute(("SET", "asynq:{default}:pending", "not a list"))

    answer = await http.post(TASKS, json=GOOD)

    assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL_ERROR")
    assert "WRONGTYPE" not in answer.text
    assert "request id" in answer.json()["error"]
