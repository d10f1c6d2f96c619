"""The table: every operation of the OpenAPI document with every status that it documents, each brought about for real.

The table is the document's: an operation or a status without a request that brings it about fails, and so does a request for one
that the document does not know.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import pytest
import redis

from support import reference
from support.api import api_at, settings_with
from support.contract import Contract
from taskflow import Broker, Client, Inspector, ScheduleStore, ServerInfo
from taskflow.api.keys import digest_of
from taskflow.broker.embedded import EmbeddedServer
from taskflow.broker.orders import ServerOrders
from taskflow.broker.schedule_entry import ScheduleEntry
from taskflow.broker.servers import ServerRecords
from taskflow.unique import Unique
from taskflow.wire import asynq_pb2
from taskflow.wire.keys import ALL_SCHEDULERS

HOUR = timedelta(hours=1)
_KEYS = [{"name": name, "digest": digest_of(name), "scopes": [name]} for name in ("read", "write", "admin")]
_KEYS.append({"name": "limited", "digest": digest_of("limited"), "scopes": ["read"], "queues": ["d*"]})
_BODY_LIMIT = 10_000
_TASK = {"type": "demo", "payload": {"message": "hi"}}
_SCHEDULE = {"spec": "@every 1h", "type": "demo", "payload": {"message": "hi"}}


class Ask(NamedTuple):
    """A request: parameters of the path (others have a harmless value), query, headers, body."""

    path: Mapping[str, str] = {}
    query: str = ""
    headers: Mapping[str, str] = {}
    body: Any = None
    server: str = "usual"
    """Which API is asked: `usual`, `busy` (with a rate limit that is used up) or `down` (whose Redis is stopped)."""


def _task(task_id: str, query: str = "", **more: Any) -> Ask:
    return Ask({"task_id": task_id}, query, **more)


def _queue(queue: str, query: str = "", **more: Any) -> Ask:
    return Ask({"queue": queue}, query, **more)


def _schedule(schedule_id: str, query: str = "", **more: Any) -> Ask:
    return Ask({"schedule_id": schedule_id}, query, **more)


_ALL_OF_QUEUE = {
    200: Ask({"queue": "default", "status": "scheduled"}, "type=nothing"),
    400: Ask({"queue": "default", "status": "gone"}),
    404: Ask({"queue": "nowhere", "status": "scheduled"}),
}
ROWS: dict[str, dict[int, Ask]] = {
    "createTask": {
        201: Ask(body=_TASK),
        200: Ask(body=_TASK | {"unique": {"ttl": "1h", "key": "held", "on_conflict": "return"}}),
        400: Ask(body={"type": "demo"}),
        409: Ask(body=_TASK | {"task_id": "waiting"}),
    },
    "createTasks": {200: Ask(body={"tasks": [_TASK, {}]}), 400: Ask(body={})},
    "listTasks": {200: Ask(query="status=scheduled"), 400: Ask(query="page=-1"), 404: Ask(query="queue=nowhere")},
    "getTask": {200: _task("waiting"), 304: _task("waiting", headers={"If-None-Match": "*"})},
    "getResult": {200: _task("archived"), 202: _task("waiting"), 400: _task("waiting", "wait=long")},
    "deleteTask": {200: _task("to-delete"), 409: _task("active")},
    "cancelTask": {200: _task("to-cancel"), 409: _task("archived")},
    "runTask": {200: _task("to-run"), 409: _task("pending")},
    "archiveTask": {200: _task("to-archive"), 409: _task("archived")},
    "editTask": {
        200: _task("waiting", body={"process_at": "2030-01-31T12:00:00Z"}),
        400: _task("waiting", body={}),
        404: _task("nobody", body={"payload": {"message": "hi"}}),
        409: _task("pending", body={"payload": {"message": "hi"}}),
        412: _task("waiting", headers={"If-Match": '"another"'}, body={"payload": {"message": "hi"}}),
    },
    "getProgress": {200: _task("told")},
    "getProgressHistory": {
        200: _task("told"),
        400: _task("told", "start_id=first"),
        404: _task("nobody", headers={"X-API-Key": "limited"}),
    },
    "getProgressInfo": {200: _task("told"), 404: _task("nobody", headers={"X-API-Key": "limited"})},
    "followProgress": {200: _task("told"), 204: _task("told", headers={"Last-Event-ID": "7-0"})},
    "followManyProgress": {
        200: Ask(query="task_ids=told"),
        204: Ask(query="task_ids=told", headers={"Last-Event-ID": "7-0"}),
        400: Ask(query="task_ids="),
        404: Ask(query="task_ids=nobody"),
        503: Ask(query="task_ids=told", server="down"),
    },
    "listQueues": {200: Ask()},
    "queueStats": {200: Ask(), 400: Ask(query="queue=a%20b"), 404: Ask(query="queue=nowhere")},
    "getQueue": {200: _queue("default")},
    "getQueueHistory": {200: _queue("default"), 400: _queue("default", "days=0")},
    "listGroups": {200: _queue("default")},
    "deleteQueue": {200: _queue("empty"), 409: _queue("default")},
    "pauseQueue": {200: _queue("default")},
    "resumeQueue": {200: _queue("default")},
    "followQueues": {
        200: Ask(),
        400: Ask(query="tasks=true"),
        404: Ask(query="queue=nowhere"),
    },
    **dict.fromkeys(("runAllTasks", "archiveAllTasks", "deleteAllTasks", "cancelAllTasks"), _ALL_OF_QUEUE),
    "listTaskTypes": {200: Ask()},
    "getTaskType": {
        200: Ask({"task_type": "demo"}),
        304: Ask({"task_type": "demo"}, headers={"If-None-Match": "*"}),
    },
    "listSchedules": {200: Ask()},
    "createSchedule": {
        201: Ask(body=_SCHEDULE | {"id": "new"}),
        400: Ask(body=_SCHEDULE),
        409: Ask(body=_SCHEDULE | {"id": "nightly"}),
    },
    "getSchedule": {
        200: _schedule("nightly"),
        304: _schedule("nightly", headers={"If-None-Match": "*"}),
        400: _schedule("nightly", "next=0"),
    },
    "putSchedule": {
        200: _schedule("nightly", body=_SCHEDULE),
        201: _schedule("newer", body=_SCHEDULE),
        400: _schedule("nightly", body={"spec": "now and then", "type": "demo"}),
    },
    "deleteSchedule": {200: _schedule("to-delete"), 409: _schedule("go")},
    "runSchedule": {201: _schedule("nightly"), 409: _schedule("go")},
    "pauseSchedule": {200: _schedule("nightly"), 409: _schedule("go")},
    "resumeSchedule": {200: _schedule("nightly"), 409: _schedule("go")},
    "listScheduleEvents": {200: _schedule("nightly"), 400: _schedule("nightly", "size=0")},
    "listServers": {200: Ask()},
    "drainServer": {202: Ask(), 409: Ask({"server_id": "go"})},
    "health": {200: Ask(), 503: Ask(server="down")},
    "ready": {200: Ask(), 503: Ask(server="down")},
    "live": {200: Ask()},
    "metrics": {200: Ask()},
}
"""What brings a status of an operation about, where that is not the same for all."""


_NAMES = ("task_id", "queue", "schedule_id", "task_type", "server_id")
"""The parameters of paths that name something."""


def _ask(operation: reference.Operation, status: int) -> Ask | None:
    """Return what brings a status about, as for this operation, or as for all that document it; None for neither."""
    name = operation["operationId"]
    if (own := ROWS.get(name, {}).get(status)) is not None:
        return own
    body = _TASK if "requestBody" in operation else None
    places = {parameter["in"] for parameter in operation.get("parameters", ())}
    common = {
        400: Ask(dict.fromkeys(_NAMES, "\udcff")) if "path" in places else None,
        401: Ask(headers={"X-API-Key": "nobody's"}, body=body),
        403: Ask(headers={"X-API-Key": "write" if _scope(operation) != "write" else "read"}, body=body),
        404: Ask(dict.fromkeys(_NAMES, "nobody")),
        413: Ask(body=" " * (_BODY_LIMIT + 1)),
        415: Ask(headers={"Content-Type": "text/plain"}, body="{}"),
        429: Ask(body=body, server="busy"),
        503: Ask(body=_BODIES.get(name, body), server="down"),
    }
    return common.get(status)


_BODIES: dict[str, Any] = {
    "createTasks": {"tasks": [_TASK]},
    "editTask": {"payload": {"message": "hi"}},
    "createSchedule": _SCHEDULE | {"id": "new"},
    "putSchedule": _SCHEDULE,
}


def _scope(operation: reference.Operation) -> str:
    return str(operation["security"][0]["bearer"][0])


@pytest.fixture(scope="module")
def document() -> reference.Document:
    return reference.document()


def a_server(server_id: str) -> ServerInfo:
    return ServerInfo(
        id=server_id,
        host="host",
        pid=7,
        concurrency=1,
        queues={"default": 1},
        strict_priority=False,
        status="active",
        started_at=datetime.now(UTC),
        active_count=0,
    )


@pytest.fixture
async def world(broker: Broker, client: Client, publish: Any, raw: redis.Redis) -> None:
    """A task in each state, queues, schedules of all origins, progress."""
    await publish()
    for task_id in ("waiting", "to-delete", "to-cancel", "to-run", "to-archive", "archived", "told"):
        await client.enqueue("demo", task_id=task_id, process_in=HOUR)
    await client.enqueue("demo", {"message": "held"}, process_in=HOUR, unique=Unique(HOUR, key="held"))
    inspector = Inspector(client.broker)
    await inspector.archive("archived")
    await inspector.cancel("told")
    await client.enqueue("demo", task_id="active", queue="busy")
    await broker.dequeue({"busy": 1})
    await client.enqueue("demo", task_id="pending", queue="idle")
    await client.enqueue("demo", task_id="one", queue="empty")
    await inspector.delete("one", "empty")
    raw.xadd("progress:told", {"task_id": "told", "percentage": 7, "is_final": "true", "status": "cancelled"}, id="7-0")
    store = ScheduleStore(client.broker)
    for schedule_id in ("nightly", "to-delete"):
        await store.put(ScheduleEntry(id=schedule_id, spec="@every 1h", type="demo"))
    of_go = asynq_pb2.SchedulerEntry(id="go", spec="@every 1h", task_type="demo")
    raw.rpush("asynq:schedulers:{host:1:id}", of_go.SerializeToString())
    raw.zadd(ALL_SCHEDULERS, {"asynq:schedulers:{host:1:id}": 4102444800})
    for server_id in ("ours", "go"):
        await ServerRecords(client.broker).publish(a_server(server_id), [], ttl_seconds=60)
    await ServerOrders(client.broker).attend("ours", ttl_seconds=60)


@pytest.fixture
async def servers(redis_url: str, world: None) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    """The APIs of the table, each behind a real server."""
    stopped = EmbeddedServer()
    stopped.start()
    common: dict[str, Any] = {
        "server__http__port": 0,
        "server__http__body_limit": _BODY_LIMIT,
        "api__auth__keys": _KEYS,
        "api__rate_limit__failures": "",
    }
    async with AsyncExitStack() as stack:

        async def start(url: str, **overrides: Any) -> httpx.AsyncClient:
            _, address = await stack.enter_async_context(api_at(settings_with(**common, **overrides), url))
            return await stack.enter_async_context(httpx.AsyncClient(base_url=address, timeout=20))

        found = {
            "usual": await start(redis_url),
            "busy": await start(redis_url, api__rate_limit__rate="1/h"),
            "down": await start(stopped.url),
        }
        stopped.stop()
        await found["busy"].get("/metrics", headers={"X-API-Key": "admin"})
        yield found


async def _status(http: httpx.AsyncClient, path: str, method: str, ask: Ask, contract: Contract) -> int:
    """Ask; check the answer against the document, and return its status. A stream is not read."""
    values = {
        "task_id": "waiting",
        "queue": "default",
        "schedule_id": "nightly",
        "task_type": "demo",
        "server_id": "ours",
        "status": "scheduled",
    }
    for name, value in (values | dict(ask.path)).items():
        path = path.replace(f"{{{name}}}", quote(value.encode(errors="surrogateescape"), safe=""))
    headers = {"X-API-Key": "admin", "Content-Type": "application/json"} | dict(ask.headers)
    body = {"content": ask.body} if isinstance(ask.body, str) else {} if ask.body is None else {"json": ask.body}
    url = f"{path}?{ask.query}" if ask.query else path
    async with http.stream(method.upper(), url, headers=headers, **body) as answer:
        await contract.check(answer)
        return answer.status_code


async def test_every_operation_answers_with_every_status_it_documents(
    document: reference.Document, servers: dict[str, httpx.AsyncClient]
) -> None:
    contract = Contract(document)
    rows = [
        (path, method, operation["operationId"], int(status), _ask(operation, int(status)))
        for path, method, operation in reference.operations(document)
        for status in operation["responses"]
    ]
    missing = [f"{name}: nothing brings {status} about" for _, _, name, status, ask in rows if ask is None]
    unknown = [
        f"{name}: the document does not know {status}"
        for name, asks in ROWS.items()
        for status in asks
        if (name, status) not in {(row[2], row[3]) for row in rows}
    ]
    wrong = []
    for path, method, name, status, ask in rows:
        if ask is not None:
            try:
                found = await _status(servers[ask.server], path, method, ask, contract)
            except AssertionError as error:
                wrong.append(f"{name} {status}: {error}")
            else:
                wrong += [f"{name}: {found} instead of {status}"] if found != status else []

    assert not missing + unknown + wrong, "\n".join(missing + unknown + wrong)
    assert len(rows) > 300
