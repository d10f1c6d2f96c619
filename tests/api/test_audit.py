"""The audit log: one line for each change, with who asked for it."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from taskflow.api.keys import digest_of
from taskflow.client import Client

API = "/api/v1"
KEY = "a-secret-key"
AUTH = {"api__auth__keys": [{"name": "ops", "digest": digest_of(KEY), "scopes": ["admin"]}]}


@pytest.mark.parametrize(
    ("method", "path", "body", "line"),
    [
        (
            "POST",
            "/tasks",
            {"type": "demo", "payload": 1, "task_id": "new"},
            {"event": "task created", "task_id": "new", "queue": "default", "type": "demo"},
        ),
        (
            "POST",
            "/tasks/batch",
            {"tasks": [{"type": "demo", "payload": 1}, {"type": "", "payload": 1}]},
            {"event": "tasks created", "count": 1, "failed": 1},
        ),
        ("POST", "/tasks/1/cancel", None, {"event": "task cancelled", "task_id": "1", "state": "pending"}),
        ("DELETE", "/tasks/1", None, {"event": "task deleted", "task_id": "1"}),
        ("POST", "/queues/default/pause", None, {"event": "queue paused", "queue": "default"}),
        ("DELETE", "/queues/default?force=true", None, {"event": "queue deleted", "queue": "default", "tasks": 1}),
    ],
)
async def test_each_change_is_one_line_with_who_asked(
    http_with: Any, client: Client, method: str, path: str, body: object, line: dict[str, object]
) -> None:
    await client.enqueue("demo", task_id="1")

    async with http_with(api__allow_types="*", **AUTH) as http:
        with capture_logs() as logs:
            answer = await http.request(
                method, API + path, json=body, headers={"Authorization": f"Bearer {KEY}", "X-Request-ID": "mine"}
            )

    assert answer.is_success, answer.text
    (found,) = (each for each in logs if each["event"] != "request")
    who = {"request_id": "mine", "key": "ops", "address": "127.0.0.1"}
    assert (line | who).items() <= found.items()
    assert KEY not in json.dumps(logs, default=str)


async def test_what_changes_nothing_is_no_line(http_with: Any, client: Client) -> None:
    await client.enqueue("demo", task_id="1")

    async with http_with(api__allow_types="*", **AUTH) as http:
        http.headers["X-API-Key"] = KEY
        with capture_logs() as logs:
            await http.get(f"{API}/tasks/1")
            await http.delete(f"{API}/tasks/nobody")
            await http.post(f"{API}/tasks", json={"type": "demo", "payload": 1, "task_id": "1"})
            await http.post(f"{API}/queues/default/pause", headers={"X-API-Key": "wrong"})

    assert {each["event"] for each in logs} == {"request"}


async def test_the_line_is_json_where_logs_are(
    log_lines: Any, http: httpx.AsyncClient, publish: Any, wait_until: Any
) -> None:
    await publish()
    await http.post(f"{API}/schedules", json={"id": "s", "spec": "@hourly", "type": "demo", "payload": {"message": ""}})
    await http.delete(f"{API}/schedules/s", headers={"X-Request-ID": "mine"})

    def deleted() -> list[dict[str, Any]]:
        return [line for line in log_lines() if line["event"] == "schedule deleted"]

    await wait_until(deleted)
    (line,) = deleted()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "event": "schedule deleted",
        "schedule_id": "s",
        "request_id": "mine",
        "key": None,
        "address": "127.0.0.1",
    }
