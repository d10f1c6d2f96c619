"""Task types over HTTP: versions, who serves them, and what limited keys see of that."""

from __future__ import annotations

from typing import Any

import httpx

from conftest import StartWorker
from taskflow import TaskFlow
from taskflow.application.limited import LimitedService
from taskflow.application.service import TaskService
from taskflow.client import Client
from taskflow.config import Settings


async def test_a_type_has_its_examples_versions_and_servers(
    http: httpx.AsyncClient, app: TaskFlow, client: Client, start_worker: StartWorker, wait_until: Any
) -> None:
    @app.task("mail", version="7")
    async def send(to: str) -> None:
        """Send a mail.

        Example:
            to="ada"
        """

    worker = await start_worker(app, queues={"mails": 2})

    async def served() -> bool:
        return bool((await http.get("/api/v1/task-types/mail")).json()["serving"])

    await wait_until(served)
    one = (await http.get("/api/v1/task-types/mail")).json()
    assert one["schema"]["examples"] == [{"to": "ada"}]
    (version,) = one["versions"]
    assert (version["version"], version["accepted"], version["serving"]) == ("7", True, 1)
    (server,) = one["servers"]
    assert (server["id"], server["queues"], server["version_id"]) == (worker.id, {"mails": 2}, version["id"])
    assert one["first_seen"] <= one["last_seen"]

    limited = LimitedService(TaskService(client, settings=Settings()), lambda _: True)
    entry = await limited.type("mail")
    assert (entry.versions[0].serving, entry.servers) == (1, [])


async def test_a_type_that_nobody_published_is_told_with_those_that_look_like_it(
    http: httpx.AsyncClient, publish: Any
) -> None:
    await publish("email:send")

    answer = await http.get("/api/v1/task-types/email:sent")

    assert (answer.status_code, answer.json()["details"]["close"]) == (404, ["email:send"])
