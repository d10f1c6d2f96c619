"""Lists that are gone through by pages and cursors, and bulk work on all tasks of a state."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from structlog.testing import capture_logs

from taskflow import Client, Inspector, Task, TaskInfo, TaskOptions, TaskState
from taskflow.api import bulk

TASKS = "/api/v1/tasks"
QUEUE = "/api/v1/queues/default"
HOUR = timedelta(hours=1)


async def fill(client: Client, count: int, *, kind: str = "mail", first: int = 0, **options: Any) -> None:
    await client.enqueue_many(
        Task(kind, {"n": n}, TaskOptions(task_id=f"{kind}-{n:05}", **options)) for n in range(first, first + count)
    )


async def follow(http: httpx.AsyncClient, **query: Any) -> tuple[list[str], int]:
    """Go from answer to answer by the header Link; return the ids, and how many answers there were."""
    ids: list[str] = []
    answers = 0
    url = str(http.base_url.join(TASKS).copy_merge_params(query))
    while True:
        answer = await http.get(url)
        assert answer.status_code == 200
        ids += (task["id"] for task in answer.json())
        answers += 1
        if "next" not in answer.links:
            return ids, answers
        url = urljoin(url, answer.links["next"]["url"])


# -- lists ------------------------------------------------------------------------------------------------------------


async def test_pages_are_linked(http: httpx.AsyncClient, client: Client) -> None:
    await fill(client, 5)

    async def links(page: int) -> dict[str, str]:
        answer = await http.get(TASKS, params={"status": "pending", "size": 2, "page": page})
        return {str(name): link["url"].rpartition("page=")[2] for name, link in answer.links.items()}

    assert await links(0) == {"first": "0", "next": "1", "last": "2"}
    assert await links(1) == {"first": "0", "prev": "0", "next": "2", "last": "2"}
    assert await links(2) == {"first": "0", "prev": "1", "last": "2"}
    assert await follow(http, status="pending", size=2) == ([f"mail-{n:05}" for n in range(5)], 3)


@pytest.mark.parametrize("options", [{}, {"process_in": HOUR}, {"group": "g"}])
async def test_a_cursor_leads_through_all_tasks(http: httpx.AsyncClient, client: Client, options: Any) -> None:
    await fill(client, 25, **options)
    state = "pending" if not options else "scheduled" if "process_in" in options else "aggregating"
    group = {"group": "g"} if "group" in options else {}

    ids, answers = await follow(http, status=state, size=10, cursor="", **group)

    assert (ids, answers) == ([f"mail-{n:05}" for n in range(25)], 3)


async def test_the_next_cursor_is_a_header_too(http: httpx.AsyncClient, client: Client) -> None:
    await fill(client, 3)

    first = await http.get(TASKS, params={"status": "pending", "size": 2, "cursor": ""})
    second = await http.get(TASKS, params={"status": "pending", "size": 2, "cursor": first.headers["x-next-cursor"]})

    assert [task["id"] for task in second.json()] == ["mail-00002"]
    assert "x-next-cursor" not in second.headers


async def test_a_search_goes_on_where_it_stopped(http: httpx.AsyncClient, client: Client) -> None:
    """Each answer has looked at 10,000 tasks at most, and may have found none."""
    await fill(client, 21_000)
    await fill(client, 3, kind="needle")

    ids, answers = await follow(http, status="pending", type="needle", cursor="")

    assert (ids, answers) == (["needle-00000", "needle-00001", "needle-00002"], 3)


async def test_nothing_is_missed_while_tasks_come_and_go(http: httpx.AsyncClient, client: Client) -> None:
    await fill(client, 200, process_in=HOUR)
    inspector = Inspector(client.broker)
    ids: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        answer = await http.get(TASKS, params={"status": "scheduled", "size": 20, "cursor": cursor})
        ids += (task["id"] for task in answer.json())
        cursor = answer.headers.get("x-next-cursor")
        await inspector.delete_many(ids[-1:], "default")
        await fill(client, 1, kind="new", first=len(ids), process_in=timedelta(minutes=1))

    assert ids == [f"mail-{n:05}" for n in range(200)]


@pytest.mark.parametrize(
    ("query", "option"),
    [
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": "W10"}, "cursor"),
        ({"cursor": "é"}, "cursor"),
        ({"cursor": "", "page": 1}, "page"),
        ({"cursor": "", "size": -1}, "size"),
        ({"cursor": "", "status": "aggregating"}, "group"),
    ],
)
async def test_a_cursor_that_cannot_be_used(
    http: httpx.AsyncClient, client: Client, query: dict[str, Any], option: str
) -> None:
    await fill(client, 1)

    answer = await http.get(TASKS, params={"status": "pending", **query})

    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST")
    assert answer.json()["details"] == {"option": option}


async def test_a_cursor_is_that_of_its_list(http: httpx.AsyncClient, client: Client) -> None:
    await fill(client, 3)
    cursor = (await http.get(TASKS, params={"status": "pending", "size": 1, "cursor": ""})).headers["x-next-cursor"]

    other = await http.get(TASKS, params={"status": "archived", "cursor": cursor})

    assert (other.status_code, other.json()["details"]) == (400, {"option": "cursor"})


async def test_the_default_queue_is_empty_while_it_does_not_exist(http: httpx.AsyncClient) -> None:
    assert (await http.get(TASKS, params={"cursor": ""})).json() == []
    assert (await http.get(TASKS, params={"cursor": "", "queue": "low"})).status_code == 404


# -- bulk -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "state", "after"),
    [
        ("run", "scheduled", "pending"),
        ("archive", "scheduled", "archived"),
        ("archive", "pending", "archived"),
        ("cancel", "pending", "archived"),
        ("delete", "pending", None),
    ],
)
async def test_all_tasks_of_a_state(
    http: httpx.AsyncClient, client: Client, action: str, state: str, after: str | None
) -> None:
    options: dict[str, Any] = {"process_in": HOUR} if state == "scheduled" else {}
    await fill(client, 1_200, **options)

    with capture_logs() as logs:
        answer = await http.post(f"{QUEUE}/tasks/{state}/{action}", headers={"X-Request-ID": "mine"})

    assert (answer.status_code, answer.json()) == (200, {"count": 1_200, "complete": True, "next_cursor": None})
    queue = (await http.get(QUEUE)).json()
    assert queue[state] == 0
    assert queue["size"] == (1_200 if after else 0)
    assert after is None or queue[after] == 1_200
    (line,) = [line for line in logs if line["event"].startswith("tasks ")]
    assert (line["queue"], line["state"], line["count"], line["request_id"]) == ("default", state, 1_200, "mine")


@pytest.mark.parametrize("state", ["pending", "scheduled"])
async def test_only_the_tasks_that_fit(http: httpx.AsyncClient, client: Client, state: str) -> None:
    options: dict[str, Any] = {"process_in": HOUR} if state == "scheduled" else {}
    await fill(client, 700, **options)
    await fill(client, 700, kind="other", **options)
    await fill(client, 700, kind="mail", first=700, **options)

    deleted = await http.post(f"{QUEUE}/tasks/{state}/delete", params={"type": "mail"})
    one = await http.post(f"{QUEUE}/tasks/{state}/archive", params={"type": "other", "q": "other-00042"})

    assert (deleted.json()["count"], one.json()["count"]) == (1_400, 1)
    assert (await http.get(QUEUE)).json()[state] == 699


async def test_tasks_of_groups(http: httpx.AsyncClient, client: Client) -> None:
    for group in ("a", "b", "c"):
        await fill(client, 3, kind=group, group=group)

    one = await http.post(f"{QUEUE}/tasks/aggregating/run", params={"group": "b"})
    rest = await http.post(f"{QUEUE}/tasks/aggregating/delete")

    assert (one.json()["count"], rest.json()["count"]) == (3, 6)
    assert (await http.get(QUEUE)).json()["pending"] == 3


async def test_running_tasks_are_told_to_stop(http: httpx.AsyncClient, client: Client) -> None:
    await fill(client, 3)
    await client.broker.dequeue({"default": 3}, owner="w:1")

    answer = await http.post(f"{QUEUE}/tasks/active/cancel")

    assert answer.json() == {"count": 3, "complete": True, "next_cursor": None}
    assert (await http.get(f"{TASKS}/mail-00000")).json()["cancelled"] is True


@pytest.mark.parametrize("state", ["pending", "scheduled", "aggregating"])
@pytest.mark.parametrize("kind", [None, "mail"])
async def test_a_request_that_takes_too_long_answers_and_is_gone_on_with(
    http: httpx.AsyncClient, client: Client, monkeypatch: pytest.MonkeyPatch, state: str, kind: str | None
) -> None:
    monkeypatch.setattr(bulk, "MAX_SECONDS", 0.0)
    options: dict[str, Any] = {"process_in": HOUR} if state == "scheduled" else {}
    for number in range(4):
        if state == "aggregating":
            options["group"] = f"g{number}"
        await fill(client, 600, first=600 * number, **options)
    await fill(client, 10, kind="other", **options)

    counts: list[int] = []
    cursor: str | None = ""
    while cursor is not None:
        query = {"cursor": cursor, **({"type": kind} if kind else {})}
        body = (await http.post(f"{QUEUE}/tasks/{state}/delete", params=query)).json()
        assert body["complete"] is (body["next_cursor"] is None)
        counts.append(body["count"])
        cursor = body["next_cursor"]

    assert len(counts) > 4
    assert sum(counts) == (2_400 if kind else 2_410)
    assert (await http.get(QUEUE)).json()[state] == (10 if kind else 0)


async def test_bulk_work_ends_with_the_server(serving: Any, client: Client, wait_until: Any) -> None:
    await fill(client, 20_000)

    async def archived() -> list[TaskInfo]:
        return await Inspector(client.broker).tasks("default", TaskState.ARCHIVED, size=1)

    async with serving() as (server, url), httpx.AsyncClient(base_url=url, timeout=20) as http:
        working = asyncio.create_task(http.post(f"{QUEUE}/tasks/pending/archive"))
        await wait_until(archived)
        server.should_exit = True
        answer = await working

    assert answer.status_code == 200
    left = (await Inspector(client.broker).queue_infos(["default"]))[0].pending
    assert answer.json()["complete"] is False
    assert answer.json()["count"] == 20_000 - left


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("default/tasks/active/delete", 400, "INVALID_TASK_STATE"),
        ("default/tasks/gone/delete", 400, "INVALID_TASK_STATE"),
        ("default/tasks/pending/delete?group=g", 400, "INVALID_REQUEST"),
        ("default/tasks/pending/delete?cursor=x", 400, "INVALID_REQUEST"),
        ("a%20b/tasks/pending/delete", 400, "INVALID_QUEUE"),
        ("nowhere/tasks/pending/delete", 404, "QUEUE_NOT_FOUND"),
        ("default/tasks/pending/eat", 404, "NOT_FOUND"),
    ],
)
async def test_bulk_work_that_cannot_be_done(
    http: httpx.AsyncClient, client: Client, path: str, status: int, code: str
) -> None:
    await fill(client, 1)

    answer = await http.post(f"/api/v1/queues/{path}")

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert (await http.get(QUEUE)).json()["pending"] == 1
