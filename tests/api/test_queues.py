"""Queues, task types and servers over HTTP."""

from __future__ import annotations

from typing import Any

import httpx

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


async def test_task_types_are_what_workers_publish(http: httpx.AsyncClient, app: TaskFlow, start_worker: Any) -> None:
    @app.task("email:send", queue="high", max_retries=5)
    async def send(to: str) -> None:
        """Send one mail.

        Not in the summary.
        """

    await start_worker(app)

    every = (await http.get("/api/v1/task-types")).json()
    one = (await http.get("/api/v1/task-types/email:send")).json()

    assert every == [one]
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
