"""Queues, task types and servers over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from taskflow import Client, TaskFlow


async def test_queue_stats(http: httpx.AsyncClient, client: Client) -> None:
    await client.enqueue("demo", queue="low")
    await client.enqueue("demo", queue="high")
    await client.enqueue("demo", queue="high")

    every = (await http.get("/api/v1/queues/stats")).json()
    one = (await http.get("/api/v1/queues/stats", params={"queue": "low"})).json()

    assert [(queue["queue"], queue["pending"]) for queue in every] == [("high", 2), ("low", 1)]
    assert [queue["queue"] for queue in one] == ["low"]
    latency = one[0].pop("latency_ms")
    assert 0 <= latency < 60_000
    assert one[0] == {
        "queue": "low",
        "pending": 1,
        "active": 0,
        "scheduled": 0,
        "retry": 0,
        "archived": 0,
        "completed": 0,
        "aggregating": 0,
        "size": 1,
        "processed": 0,
        "failed": 0,
        "processed_total": 0,
        "failed_total": 0,
        "paused": False,
    }
    assert (await http.get("/api/v1/queues")).json()[0]["queue"] == "high"


async def test_a_queue_is_paused_and_resumed(http: httpx.AsyncClient, client: Client) -> None:
    await client.enqueue("demo")

    paused = (await http.post("/api/v1/queues/default/pause")).json()
    assert (await http.post("/api/v1/queues/default/pause")).status_code == 200
    assert await client.broker.dequeue({"default": 1}) == []
    resumed = (await http.post("/api/v1/queues/default/resume")).json()

    assert (paused["paused"], resumed["paused"]) == (True, False)
    assert (await http.get("/api/v1/queues/default")).json()["paused"] is False
    assert len(await client.broker.dequeue({"default": 1})) == 1


async def test_a_queue_tells_about_how_much_memory_it_takes(http: httpx.AsyncClient, client: Client) -> None:
    for _ in range(10):
        await client.enqueue("demo", b"x" * 1000)

    queue = (await http.get("/api/v1/queues/default")).json()

    assert queue["pending"] == 10
    assert 10_000 < queue["memory_bytes"] < 30_000


async def test_what_a_queue_did_by_day(http: httpx.AsyncClient, app: TaskFlow, start_worker: Any) -> None:
    @app.task("demo")
    async def demo() -> None:
        pass

    await start_worker(app)
    await app.client.result(await app.client.enqueue("demo", retention=timedelta(hours=1)), timeout=10)

    days = (await http.get("/api/v1/queues/default/history", params={"days": 3})).json()

    assert [(day["processed"], day["failed"]) for day in days] == [(1, 0), (0, 0), (0, 0)]
    assert [day["date"] for day in days] == sorted((day["date"] for day in days), reverse=True)
    assert len((await http.get("/api/v1/queues/default/history")).json()) == 30


async def test_groups_with_their_sizes(http: httpx.AsyncClient, client: Client) -> None:
    for group in ("b", "a", "b"):
        await client.enqueue("demo", group=group)

    groups = (await http.get("/api/v1/queues/default/groups")).json()

    assert groups == [{"group": "a", "size": 1}, {"group": "b", "size": 2}]


async def test_an_empty_queue_is_removed_one_with_tasks_only_by_force(http: httpx.AsyncClient, client: Client) -> None:
    await client.enqueue("demo", queue="low")

    refused = await http.delete("/api/v1/queues/low")
    with capture_logs() as logs:
        removed = await http.delete("/api/v1/queues/low", params={"force": "true"})

    assert (refused.status_code, refused.json()["code"]) == (409, "QUEUE_NOT_EMPTY")
    assert refused.json()["details"] == {"queue": "low", "size": 1}
    assert (removed.status_code, removed.json()) == (200, {"message": "queue deleted", "tasks": 1})
    assert (await http.get("/api/v1/queues/low")).status_code == 404
    (line,) = [line for line in logs if line["event"] == "queue deleted"]
    assert (line["queue"], line["tasks"], line["force"]) == ("low", 1, True)


async def test_a_queue_whose_tasks_run_is_not_removed(http: httpx.AsyncClient, client: Client) -> None:
    await client.enqueue("demo")
    await client.broker.dequeue({"default": 1}, owner="w:1")

    answer = await http.delete("/api/v1/queues/default?force=true")

    assert (answer.status_code, answer.json()["code"]) == (409, "QUEUE_ACTIVE")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/history"),
        ("GET", "/groups"),
        ("DELETE", ""),
        ("POST", "/pause"),
        ("POST", "/resume"),
    ],
)
async def test_a_queue_that_is_not_there_or_cannot_be(http: httpx.AsyncClient, method: str, path: str) -> None:
    unknown = await http.request(method, f"/api/v1/queues/nowhere{path}")
    invalid = await http.request(method, f"/api/v1/queues/a%20b{path}")

    assert (unknown.status_code, unknown.json()["code"]) == (404, "QUEUE_NOT_FOUND")
    assert (invalid.status_code, invalid.json()["code"]) == (400, "INVALID_QUEUE")


async def test_a_task_type_that_did_not_change_is_not_sent_again(http: httpx.AsyncClient, publish: Any) -> None:
    await publish()
    tag = (await http.get("/api/v1/task-types/demo")).headers["etag"]

    assert (await http.get("/api/v1/task-types/demo", headers={"If-None-Match": tag})).status_code == 304


async def test_task_types_are_what_workers_publish(http: httpx.AsyncClient, app: TaskFlow, start_worker: Any) -> None:
    @app.task("email:send", queue="high", max_retries=5)
    async def send(to: str) -> None:
        """Send one mail.

        Not in the summary.
        """

    await start_worker(app)

    every = (await http.get("/api/v1/task-types")).json()
    one = (await http.get("/api/v1/task-types/email:send")).json()

    assert [entry["schema"] for entry in every] == [one["schema"]]
    assert (one["type"], one["doc"], one["queue"], one["max_retries"]) == ("email:send", "Send one mail.", "high", 5)
    assert one["schema"]["properties"] == {"to": {"type": "string"}}
    assert one["last_seen"].endswith("Z")


async def test_servers_are_the_workers_that_live(
    http: httpx.AsyncClient, app: TaskFlow, start_worker: Any, wait_until: Any
) -> None:
    worker = await start_worker(app)

    async def servers() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await http.get("/api/v1/servers")).json()
        return found

    await wait_until(servers)  # a worker publishes itself with its first heartbeat
    (server,) = await servers()

    assert (server["id"], server["queues"], server["concurrency"]) == (worker.id, {"default": 1}, 10)
    assert server["running"] == []
