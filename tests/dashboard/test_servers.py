"""Servers: what each runs now and since when, where one stood still, and how it is drained."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import expect
from structlog.testing import capture_logs

from conftest import StartWorker
from dashboard.conftest import GUARDED, Look, Pages, PagesWith
from interop.scene import Scene
from support.waiting import wait_until
from taskflow import Client, ServerInfo, TaskFlow, Worker
from taskflow.broker.orders import DRAIN, ServerOrders
from taskflow.broker.servers import ServerRecords
from taskflow.task import RunningTask, Stall

HOSTILE = "<script>alert(1)</script>"
LIVE = {"X-TaskFlow-Live": "1"}
"""What the script sends with its requests for the live parts of a page."""


def now() -> datetime:
    return datetime.now(UTC)


def a_server(server_id: str = "s1", *, running: int = 0, status: str = "active") -> ServerInfo:
    return ServerInfo(
        id=server_id,
        host="big-host",
        pid=4711,
        concurrency=200,
        queues={"default": 3, HOSTILE: 1},
        strict_priority=True,
        status=status,
        started_at=now() - timedelta(hours=3),
        active_count=running,
    )


def tasks(count: int) -> list[RunningTask]:
    return [
        RunningTask(
            id=f"id/{number}",
            type=HOSTILE,
            queue="default",
            payload=b"secret",
            started_at=now() - timedelta(minutes=5),
            deadline=now() + timedelta(hours=1),
        )
        for number in range(count)
    ]


@pytest.fixture
def records(client: Client) -> ServerRecords:
    return ServerRecords(client.broker)


@pytest.fixture
def orders(client: Client) -> ServerOrders:
    return ServerOrders(client.broker)


async def test_each_is_shown_with_what_it_runs_and_since_when(pages: Pages, records: ServerRecords) -> None:
    await records.publish(a_server(running=2), tasks(2), ttl_seconds=60)

    shown = (await pages.get("/servers")).text

    assert "1 worker server, 2 of 200 slots busy." in shown
    assert "pid 4711" in shown
    assert 'href="/task?queue=default&amp;id=id%2F0"' in shown
    assert "began <time" in shown
    assert "5m ago" in shown
    assert "strict" in shown
    assert HOSTILE not in shown
    assert "secret" not in shown


async def test_what_was_read_for_this_page_does_not_stand_in_for_what_another_reads(pages: Pages, scene: Scene) -> None:
    (server,) = await scene.inspector.servers()

    assert (await pages.get("/servers", headers=LIVE)).status_code == 200
    shown = await pages.get("/task?queue=default&id=runs_1", headers=LIVE)

    assert shown.status_code == 200
    assert f"pid {server.pid}" in shown.text


async def test_of_many_tasks_the_first_are_shown(pages: Pages, records: ServerRecords) -> None:
    await records.publish(a_server(running=150), tasks(150), ttl_seconds=60)

    shown = (await pages.get("/servers")).text

    assert shown.count("began <time") == 100
    assert "and 50 more" in shown


async def test_one_whose_event_loop_stood_still_is_marked(pages: Pages, records: ServerRecords) -> None:
    await records.publish(a_server(), [], ttl_seconds=60)
    await records.note_stall("s1", Stall(at=now(), seconds=7.5, count=3, where=f"handler ({HOSTILE}, line 3)"))

    shown = (await pages.get("/servers")).text

    assert "Stood still for 7.5 s" in shown
    assert "That has happened 3 times." in shown
    assert "handler (&lt;script&gt;" in shown


async def test_one_that_takes_orders_is_drained_once_that_is_confirmed(
    pages_with: PagesWith, records: ServerRecords, orders: ServerOrders
) -> None:
    await records.publish(a_server(running=2), tasks(2), ttl_seconds=60)
    await orders.attend("s1", ttl_seconds=60)
    async with pages_with("ada", **GUARDED) as one:
        assert 'action="/server/drain?id=s1"' in (await one.get("/servers")).text
        asked = await one.post("/server/drain?id=s1", page="/servers")
        assert "Drain the server big-host, pid 4711, which runs 2 tasks?" in asked.text
        assert await orders.given(["s1"]) == {"s1": b""}

        with capture_logs() as logs:
            answer = await one.post("/server/drain?id=s1", {"confirmed": "yes"}, page="/servers")
        shown = (await one.get(answer.headers["location"])).text

    assert await orders.given(["s1"]) == {"s1": DRAIN}
    assert "takes no more tasks" in shown
    assert "told to drain" in shown
    assert 'action="/server/drain' not in shown
    lines = [line for line in logs if line["event"] == "server drained"]
    assert [(line["server_id"], line["key"]) for line in lines] == [("s1", "ada")]


async def test_one_in_go_is_not_offered_it_and_says_why(pages: Pages, records: ServerRecords) -> None:
    await records.publish(a_server(), [], ttl_seconds=60)

    shown = (await pages.get("/servers")).text
    refused = await pages.post("/server/drain?id=s1", {"confirmed": "yes"}, page="/servers")
    gone = await pages.post("/server/drain?id=nobody", {"confirmed": "yes"}, page="/servers")

    assert "not from here" in shown
    assert 'action="/server/drain' not in shown
    assert refused.headers["location"] == gone.headers["location"] == "/servers"
    assert "is alive" in (await pages.get("/servers")).text


@pytest.mark.parametrize("name", ["otto", "vera", "lina"])
async def test_who_is_no_admin_is_refused_and_not_offered_it(
    pages_with: PagesWith, records: ServerRecords, orders: ServerOrders, name: str
) -> None:
    await records.publish(a_server(), [], ttl_seconds=60)
    await orders.attend("s1", ttl_seconds=60)
    async with pages_with(name, **GUARDED) as one:
        answer = await one.post("/server/drain?id=s1", {"confirmed": "yes"})
        page = await one.get("/servers")

    assert answer.status_code == 403
    assert page.status_code == (403 if name == "lina" else 200)
    assert "/server/drain" not in page.text
    assert await orders.given(["s1"]) == {"s1": b""}


@pytest.mark.browser
async def test_in_a_browser_a_server_is_drained_and_goes(
    look: Look, scene: Scene, app: TaskFlow, start_worker: StartWorker, orders: ServerOrders
) -> None:
    idle: Worker = await start_worker(TaskFlow(app.redis_url), queues={"spare": 1})

    async def listening() -> bool:
        return idle.id in await orders.given([idle.id]) and len(await scene.inspector.servers()) == 2

    await wait_until(listening)
    async with look() as window:
        page = await window.go("/servers")
        await expect(page.locator("#servers tbody tr")).to_have_count(2)
        row = page.locator(f"#server-{idle.id}")
        await row.get_by_role("button").click()
        await expect(page.get_by_role("dialog")).to_contain_text("which runs 0 tasks?")
        await page.get_by_role("dialog").get_by_role("button", name="Drain").click()

        await expect(page.get_by_role("status")).to_contain_text("takes no more tasks")
        await expect(page.locator("#servers tbody tr")).to_have_count(1, timeout=15_000)
    assert idle.drained
