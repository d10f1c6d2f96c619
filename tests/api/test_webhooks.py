"""callback_url over HTTP: what the settings allow is taken, all else is refused with a code of its own."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from api.conftest import HttpWith, Publish
from taskflow import Client

HOUR = timedelta(hours=1)
TASKS = "/api/v1/tasks"
URL = "https://hooks.example.org/done"
ALLOWED: dict[str, Any] = {
    "webhooks__allow_hosts": ["hooks.example.org", "*.test"],
    "webhooks__secret": ["0123456789abcdef"],
}


def task(**fields: Any) -> dict[str, Any]:
    return {"type": "demo", "payload": {"message": "a"}, **fields}


@pytest.mark.parametrize("url", [URL, "http://HOOKS.example.org:8443/x?y=1", "https://a.b.test/"])
async def test_a_callback_url_at_an_allowed_host_is_taken(url: str, http_with: HttpWith, publish: Publish) -> None:
    await publish()
    async with http_with(**ALLOWED) as http:
        created = await http.post(TASKS, json=task(callback_url=url, metadata={"order": "7"}))
        assert created.status_code == 201

        body = (await http.get(created.headers["Location"])).json()

    assert (body["callback_url"], body["metadata"]) == (url, {"order": "7"})


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://evil.example.org/", "host"),
        ("https://hooks.example.org.evil.test.org/", "host"),
        ("https://hooks.example.org@127.0.0.1/", "http or https URL"),
        ("https://hooks.example.org\\@evil/", "http or https URL"),
        ("ftp://hooks.example.org/", "http or https URL"),
        ("", "http or https URL"),
    ],
)
async def test_any_other_is_refused(url: str, reason: str, http_with: HttpWith, publish: Publish) -> None:
    await publish()
    async with http_with(**ALLOWED) as http:
        refused = await http.post(TASKS, json=task(callback_url=url))
        batch = (await http.post(f"{TASKS}/batch", json={"tasks": [task(callback_url=url), task()]})).json()

    assert refused.status_code == 400
    assert refused.json()["code"] == "INVALID_CALLBACK_URL"
    assert reason in refused.json()["error"]
    assert (batch["created"], batch["results"][0]["code"]) == (1, "INVALID_CALLBACK_URL")


async def test_without_allowed_hosts_there_are_no_webhooks(http: httpx.AsyncClient, publish: Publish) -> None:
    await publish()
    refused = await http.post(TASKS, json=task(callback_url=URL))

    assert (refused.status_code, refused.json()["code"]) == (400, "INVALID_CALLBACK_URL")
    assert "webhooks.allow_hosts" in refused.json()["error"]


async def test_the_header_cannot_be_set_as_metadata(http_with: HttpWith, publish: Publish) -> None:
    await publish()
    async with http_with(**ALLOWED) as http:
        refused = await http.post(TASKS, json=task(metadata={"taskflow:callback_url": "http://evil.example.org/"}))

    assert refused.status_code == 400
    assert "callback_url" in refused.json()["error"]


async def test_a_type_s_own_callback_url_holds_unless_another_is_named(http_with: HttpWith, publish: Publish) -> None:
    await publish(callback_url="https://own.test/")
    async with http_with(**ALLOWED) as http:
        (listed,) = (await http.get("/api/v1/task-types")).json()
        own = await http.post(TASKS, json=task())
        other = await http.post(TASKS, json=task(callback_url=URL))
        grouped = await http.post(TASKS, json=task(group="g"))
        found = [
            (await http.get(created.headers["Location"])).json()["callback_url"] for created in (own, other, grouped)
        ]

    assert listed["callback_url"] == "https://own.test/"
    assert found == ["https://own.test/", URL, None]


async def test_a_member_of_a_group_can_have_none(http_with: HttpWith, publish: Publish) -> None:
    await publish()
    async with http_with(**ALLOWED) as http:
        refused = await http.post(TASKS, json=task(callback_url=URL, group="g"))

    assert refused.json()["code"] == "INVALID_CALLBACK_URL"


async def test_nobody_has_their_own_words_signed(http_with: HttpWith, client: Client) -> None:
    """Tasks of TaskFlow's own types are made and changed by nobody else, whatever types are let through."""
    await client.enqueue("taskflow:webhook", {"url": URL, "event": {}}, task_id="a", queue="webhooks", process_in=HOUR)
    async with http_with(**ALLOWED, api__allow_types=["*"]) as http:
        made = await http.post(TASKS, json={"type": "taskflow:webhook", "payload": {"url": URL, "event": {}}})
        edited = await http.patch(f"{TASKS}/a", json={"payload": {"url": URL, "event": {"forged": True}}})

    assert (made.status_code, made.json()["code"]) == (400, "INVALID_TASK_TYPE")
    assert (edited.status_code, edited.json()["code"]) == (400, "INVALID_PAYLOAD")
