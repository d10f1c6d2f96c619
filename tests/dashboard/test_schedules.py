"""Schedules: what periodic tasks there are, what can be done with each, and the form that makes one."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any

import pytest
import redis
from playwright.async_api import expect
from structlog.testing import capture_logs

from dashboard.conftest import GUARDED, Look, Pages, PagesWith
from interop.scene import Scene
from taskflow import Client, Inspector, ScheduleEntry, ScheduleStore, TaskFlow
from taskflow.unique import Unique
from taskflow.wire import asynq_pb2
from taskflow.wire.keys import ALL_SCHEDULERS

ENTRY = ScheduleEntry(id="a/b", spec="0 3 * * *", type="demo", payload=b'{"message":"hi"}', timezone="Europe/Berlin")
OF_SETTINGS: dict[str, Any] = {"schedules": {"nightly": {"spec": "@daily", "type": "demo"}}}
ALLOWED: dict[str, Any] = {"api__allow_types": ["demo", "tick"]}
FORM = {"id": "new", "spec": "@hourly", "type": "demo"}


@pytest.fixture
async def kept(client: Client) -> ScheduleStore:
    """A schedule in Redis."""
    store = ScheduleStore(client.broker)
    await store.put(ENTRY)
    return store


@pytest.fixture
def of_go(raw: redis.Redis) -> None:
    """A schedule of a scheduler in Go, with a rule that only that understands."""
    entry = asynq_pb2.SchedulerEntry(id="go", spec="@fortnightly", task_type="demo", enqueue_options=["MaxRetry(3)"])
    raw.rpush("asynq:schedulers:{host:1:id}", entry.SerializeToString())
    raw.zadd(ALL_SCHEDULERS, {"asynq:schedulers:{host:1:id}": 4102444800})


async def entry_of(store: ScheduleStore, name: str) -> ScheduleEntry | None:
    return (await store.snapshot()).stored.get(name)


async def paused(store: ScheduleStore) -> frozenset[str]:
    return (await store.snapshot()).paused


async def test_the_list_tells_of_each_and_can_be_searched(pages: Pages, kept: ScheduleStore, of_go: None) -> None:
    shown = (await pages.get("/schedules")).text
    found = (await pages.get("/schedules?q=A%2F")).text
    nothing = (await pages.get("/schedules?q=zzz")).text

    assert "2 periodic tasks." in shown
    assert 'href="/schedule?id=a%2Fb"' in shown
    assert "Europe/Berlin" in shown
    assert "No scheduler runs" in shown
    assert ("1 periodic task." in found, "id=go" in found) == (True, False)
    assert "No schedule is like that." in nothing


async def test_there_may_be_none(pages: Pages) -> None:
    assert "There are no schedules yet." in (await pages.get("/schedules")).text


async def test_one_is_shown_in_full(pages: Pages, kept: ScheduleStore) -> None:
    shown = (await pages.get("/schedule?id=a%2Fb")).text

    assert len(re.findall(r"<li><time", shown)) == 5
    assert "&#34;message&#34;: &#34;hi&#34;" in shown
    assert "Nothing was enqueued yet." in shown
    assert (await pages.get("/schedule?id=nobody")).status_code == 404


async def test_payloads_are_for_those_who_may_see_them(pages_with: PagesWith, kept: ScheduleStore) -> None:
    async with pages_with("vera", dashboard__payloads="admin", **GUARDED) as one:
        shown = (await one.get("/schedule?id=a%2Fb")).text

    assert "Your key may not see payloads." in shown
    assert "message&#34;" not in shown


async def test_it_is_paused_resumed_and_run(pages_with: PagesWith, kept: ScheduleStore, inspector: Inspector) -> None:
    async with pages_with("ada", **GUARDED) as one:
        with capture_logs() as logs:
            await one.post("/schedule/pause?id=a%2Fb", page="/schedules")
            assert await paused(kept) == {"a/b"}
            assert "is paused: its times pass" in (await one.get("/schedules")).text
            await one.post("/schedule/resume?id=a%2Fb")
            assert await paused(kept) == frozenset()
            answer = await one.post("/schedule/run?id=a%2Fb", page="/schedule?id=a%2Fb")

        shown = (await one.get(answer.headers["location"])).text

    (info,) = await inspector.queue_infos(["default"])
    (event,) = await kept.events("a/b", page=0, size=10)
    assert info.pending == 1
    assert f"the task {event.task_id} is pending" in shown
    assert f'href="/task?id={event.task_id}&amp;queue=default"' in shown
    words = [line["event"] for line in logs if str(line["event"]).startswith("schedule ")]
    assert words == ["schedule paused", "schedule resumed", "schedule run"]


@pytest.mark.parametrize(
    ("payload", "lock"),
    [
        (b'{"a":1}', Unique(timedelta(hours=1), fields=("a", "b"), until="started", on_conflict="return")),
        (b"\x00\xff", Unique(timedelta(hours=1), key="one")),
        (b"", timedelta(minutes=3)),
    ],
    ids=["json", "binary", "empty"],
)
async def test_a_deleted_one_can_be_restored(
    pages_with: PagesWith, client: Client, payload: bytes, lock: Unique | timedelta
) -> None:
    store = ScheduleStore(client.broker)
    entry = ScheduleEntry(
        id="whole",
        spec="*/5 * * * *",
        type="demo",
        payload=payload,
        queue="low",
        max_retries=3,
        timeout=timedelta(minutes=1),
        retention=timedelta(hours=2),
        unique=lock,
        headers={"größe": "a=b", "lines": "one\ntwo"},
        missed="all",
        catch_up=7,
        jitter=timedelta(seconds=3),
    )
    await store.put(entry)
    async with pages_with(**ALLOWED) as one:
        asked = await one.post("/schedule/delete?id=whole")
        assert "Delete the schedule whole?" in asked.text
        assert await entry_of(store, "whole") is not None

        await one.post("/schedule/delete?id=whole", {"confirmed": "yes"}, page="/schedules")
        assert await entry_of(store, "whole") is None
        shown = (await one.get("/schedules")).text
        found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', shown.partition("Restore it")[0])
        fields = {name: html.unescape(value) for name, value in found if name not in {"token", "back"}}
        await one.post("/schedule/save", fields)

    assert await entry_of(store, "whole") == entry


@pytest.mark.parametrize("action", ["pause", "resume", "run", "delete", "save"])
@pytest.mark.parametrize("name", ["otto", "lina"])
async def test_who_is_no_admin_is_refused_and_not_offered_it(
    pages_with: PagesWith, kept: ScheduleStore, name: str, action: str
) -> None:
    async with pages_with(name, **GUARDED) as one:
        answer = await one.post(f"/schedule/{action}?id=a%2Fb", FORM | {"confirmed": "yes"})
        shown = (await one.get("/schedule?id=a%2Fb")).text

        assert answer.status_code == 403
        assert f"/schedule/{action}" not in shown
        assert (await one.get("/schedule/new")).status_code == 403
        assert (await one.get("/schedules")).status_code == (403 if name == "lina" else 200)
    assert await entry_of(kept, "a/b") == ENTRY


async def test_what_stands_in_the_settings_can_be_paused_and_stood_in_for(
    pages_with: PagesWith, client: Client
) -> None:
    store = ScheduleStore(client.broker)
    async with pages_with(**OF_SETTINGS, **ALLOWED) as one:
        shown = (await one.get("/schedule?id=nightly")).text
        assert "Named by the settings of this server" in shown
        assert "Stand in for it" in shown
        assert "/schedule/delete" not in shown

        refused = await one.post("/schedule/delete?id=nightly", {"confirmed": "yes"}, page="/schedule?id=nightly")
        assert "named by the settings" in (await one.get(refused.headers["location"])).text
        await one.post("/schedule/pause?id=nightly")
        assert await paused(store) == {"nightly"}

        answer = await one.post("/schedule/save?id=nightly", {"spec": "@hourly", "type": "demo"})
        assert answer.headers["location"] == "/schedule?id=nightly"
        assert "It can be changed from here" in (await one.get("/schedule?id=nightly")).text


async def test_what_a_scheduler_in_go_has_is_only_shown(pages: Pages, of_go: None) -> None:
    shown = (await pages.get("/schedule?id=go")).text

    assert "An entry of a scheduler in Go" in shown
    assert "known only to its scheduler" in shown
    assert "MaxRetry(3)" in shown
    assert 'action="/schedule' not in shown
    assert (await pages.get("/schedule/edit?id=go")).status_code == 409
    refused = await pages.post("/schedule/run?id=go", page="/schedule?id=go")
    assert "only that can change or run it" in (await pages.get(refused.headers["location"])).text


async def test_one_is_made_with_the_form_and_changed(pages_with: PagesWith, client: Client) -> None:
    store = ScheduleStore(client.broker)
    more = {"payload": '{"n": 1}\r\n', "queue": "low", "max_retries": "3", "metadata": "trace: a=b\r\nwho: ada"}
    async with pages_with(**ALLOWED) as one:
        with capture_logs() as logs:
            answer = await one.post("/schedule/save", FORM | more, page="/schedule/new")
        assert answer.headers["location"] == "/schedule?id=new"
        made = await entry_of(store, "new")
        assert made is not None
        assert (made.payload, made.queue, made.max_retries) == (b'{"n":1}', "low", 3)
        assert made.headers == {"trace": "a=b", "who": "ada"}

        form = (await one.get("/schedule/edit?id=new")).text
        assert "trace: a=b\nwho: ada" in form
        assert 'id="id"' not in form
        await one.post("/schedule/save?id=new", FORM | {"id": "other", "spec": "@daily"})
        changed = await entry_of(store, "new")

    assert changed is not None
    assert (changed.spec, changed.payload) == ("@daily", b"")
    assert await entry_of(store, "other") is None
    assert [line["schedule_id"] for line in logs if line["event"] == "schedule created"] == ["new"]


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("id", "", "is missing"),
        ("id", "a\x07", "must be a name"),
        ("id", "a/b", "there is a schedule"),
        ("spec", "now and then", "fields"),
        ("spec", "", "is missing"),
        ("timezone", "Atlantis", "is no time zone"),
        ("type", "", "is missing"),
        ("type", "nothing:like:it", "no worker"),
        ("payload", "{", "this is no json"),
        ("max_retries", "many", "write a whole number"),
        ("timeout", "long", "duration"),
        ("retention", "-1h", ""),
        ("unique_ttl", "1ms", "at least"),
        ("metadata", "no mark", "one pair a line"),
        ("metadata", '{"a": 1}', "whose values are text"),
        ("catch_up", "0", "1 to 10000"),
        ("jitter", "soon", "duration"),
        ("queue", "a b", ""),
    ],
)
async def test_what_is_wrong_is_said_at_the_field(
    pages_with: PagesWith, kept: ScheduleStore, field: str, value: str, reason: str
) -> None:
    async with pages_with(**ALLOWED) as one:
        answer = await one.post("/schedule/save", FORM | {field: value})

    assert answer.status_code in {409, 422}
    found = re.search(rf'id="{field}-error">([^<]*)<', answer.text)
    assert found is not None, re.findall(r'role="alert">.*', answer.text)
    assert reason in found[1].lower()
    assert re.search(rf'id="{field}" [^>]*aria-invalid="true" aria-describedby="{field}-error', answer.text)
    assert await entry_of(kept, "new") is None


async def test_a_look_at_the_next_runs_keeps_nothing(pages: Pages, kept: ScheduleStore) -> None:
    good = await pages.post("/schedule/preview", FORM | {"spec": "0 3 * * *", "payload": "{"})
    bad = await pages.post("/schedule/preview", FORM | {"spec": "* *"})

    assert len(re.findall(r"<li><time", good.text)) == 5
    assert 'value="0 3 * * *"' in good.text
    assert (bad.status_code, 'id="spec-error"' in bad.text) == (200, True)
    assert await entry_of(kept, "new") is None


async def test_hostile_text_is_harmless_and_comes_back_as_it_was(pages_with: PagesWith) -> None:
    hostile = '</textarea><script>alert(1)</script>\u202e"'
    async with pages_with(**ALLOWED) as one:
        answer = await one.post("/schedule/save", FORM | {"payload": hostile, "queue": hostile, "metadata": hostile})

    assert answer.status_code == 422
    assert "<script>alert" not in answer.text
    assert answer.text.count("&lt;/textarea&gt;&lt;script&gt;alert(1)&lt;/script&gt;\u202e&#34;") == 3


@pytest.mark.browser
async def test_in_a_browser_the_runs_are_shown_while_the_rule_is_written(
    look: Look, scene: Scene, app: TaskFlow
) -> None:
    async with look() as window:
        page = await window.go("/schedules")
        await page.keyboard.press("g")
        await page.keyboard.press("c")
        await page.get_by_role("link", name="New schedule").click()
        await expect(page.get_by_role("button", name="Show the next runs")).to_be_hidden()
        await page.get_by_label("Rule").fill("*/7 *")
        await expect(page.locator("#preview")).to_contain_text("fields")
        await page.get_by_label("Rule").fill("*/7 * * * *")
        await expect(page.locator("#preview li")).to_have_count(5)

        await page.get_by_label("Id", exact=True).fill("mine")
        await page.get_by_label("Task type").fill("tick")
        await page.get_by_role("textbox", name="Payload", exact=True).fill("{")
        await page.get_by_role("button", name="Create").click()
        await expect(page.locator("#payload-error")).to_contain_text("is no JSON")
        window.complaints.clear()  # the browser notes the 422
        await page.get_by_role("textbox", name="Payload", exact=True).fill("")
        await page.get_by_role("button", name="Create").click()
        await expect(page.get_by_role("heading", name="mine")).to_be_visible()

        await page.get_by_role("button", name="Run now").click()
        await expect(page.get_by_role("status")).to_contain_text("mine was run")
        await expect(page.locator("#events tbody tr")).to_have_count(1)
        await page.get_by_role("button", name="Pause", exact=True).click()
        await expect(page.locator("#schedule-head .badge")).to_have_text("paused")

        await page.get_by_role("button", name="Delete").click()
        await expect(page.get_by_role("dialog")).to_contain_text("Delete the schedule mine?")
        await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        await page.get_by_role("button", name="Restore it").click()
        await expect(page.get_by_role("heading", name="mine")).to_be_visible()
