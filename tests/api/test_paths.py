"""Ids are any text, also such that means something in a URL: each can be reached, and none is taken for another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from taskflow import Client

TASKS = "/api/v1/tasks"
IDS = [
    "a/b",
    "/",
    "a//b/",
    "user:1/run",
    "50%",
    "%2F",
    "a%2Fb/c",
    "%252F",
    "a b+c&d=e?f#g",
    ".",
    "..",
    "a/../b",
    "żółć/ 🎉",
    "a\nb",
    "\x00/\x01",
    '"\\',
    "batch/x",
    "\ufffd",
]


@pytest.fixture
async def http(serving: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an API behind a real server, to which it sends paths that httpx itself would not."""
    async with serving() as (_, url), httpx.AsyncClient(base_url=url, timeout=10) as client:
        yield client


def _at(task_id: str) -> str:
    return f"{TASKS}/{quote(task_id, safe='')}"


async def _send(http: httpx.AsyncClient, method: str, path: str, **more: Any) -> httpx.Response:
    """Send a request whose path goes out as it is: httpx itself would take dot segments away."""
    return await http.request(method, path, extensions={"target": path.encode()}, **more)


@pytest.mark.parametrize("task_id", IDS)
async def test_every_id_can_be_reached(http: httpx.AsyncClient, client: Client, task_id: str) -> None:
    """As a program that uses Python's or Go's client, which take any id, may have chosen it."""
    await client.enqueue("demo", {"n": 1}, task_id=task_id)
    await client.enqueue("demo", {"n": 2}, task_id="b")
    at = _at(task_id)

    read = await _send(http, "GET", at)
    assert (read.status_code, read.json()["id"], read.json()["payload"]) == (200, task_id, {"n": 1})
    assert (await _send(http, "GET", f"{at}/result")).json()["task_id"] == task_id
    assert (await _send(http, "POST", f"{at}/archive")).json()["id"] == task_id
    assert (await _send(http, "DELETE", at)).status_code == 200
    assert (await _send(http, "GET", at)).json()["code"] == "TASK_NOT_FOUND"
    assert (await _send(http, "GET", f"{TASKS}/b")).json()["state"] == "pending"


@pytest.mark.parametrize("task_id", [name for name in IDS if name not in {"a\nb", "\x00/\x01"}])
async def test_location_leads_to_the_task(serving: Any, task_id: str) -> None:
    async with serving(api__allow_types="*") as (_, url), httpx.AsyncClient(base_url=url) as http:
        made = await http.post(TASKS, json={"type": "demo", "payload": {}, "task_id": task_id})
        read = await _send(http, "GET", made.headers["location"])

    assert (made.status_code, read.json()["id"]) == (201, task_id)


async def test_an_encoded_slash_parts_no_segments(http: httpx.AsyncClient, client: Client) -> None:
    await client.enqueue("demo", task_id="a")

    assert (await _send(http, "POST", f"{TASKS}/a%2Fcancel")).status_code == 405
    assert (await _send(http, "GET", "/api%2Fv1/tasks/a")).status_code == 404
    assert (await _send(http, "GET", f"{TASKS}/a%2Fresult")).json()["code"] == "TASK_NOT_FOUND"
    assert (await _send(http, "GET", f"{TASKS}/a")).json()["state"] == "pending"


@pytest.mark.parametrize("root", ["/queue", ""])
async def test_an_encoded_slash_is_kept_under_a_path_of_a_proxy(http_with: Any, client: Client, root: str) -> None:
    await client.enqueue("demo", task_id="a/b")

    async with http_with(server__http__root_path=root) as http:
        assert (await _send(http, "GET", _at("a/b"))).json()["id"] == "a/b"


async def test_other_resources_have_such_names_too(http: httpx.AsyncClient, client: Client) -> None:
    await client.enqueue("demo", queue="team/a")

    assert (await _send(http, "GET", "/api/v1/queues/team%2Fa")).json()["queue"] == "team/a"
    assert (await _send(http, "GET", "/api/v1/schedules/x%2Fy")).json()["details"] == {"schedule_id": "x/y"}


@pytest.mark.parametrize("path", [f"{TASKS}/%FF", f"{TASKS}/%C3/result", f"{TASKS}/%ED%A0%80", "/%80"])
async def test_a_path_that_is_no_utf8_is_refused(http: httpx.AsyncClient, path: str) -> None:
    """Whatever stood in for its bytes might be another task's id."""
    answer = await _send(http, "GET", path)

    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST")


async def test_a_path_that_is_too_long_for_anything_is_refused(http: httpx.AsyncClient) -> None:
    """The router remembers paths, so nobody may fill its memory with long ones."""
    answer = await http.get(f"{TASKS}/{'x' * 5000}")

    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST")
