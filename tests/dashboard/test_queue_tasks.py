"""What is done to tasks from the queue's page: to some, to all that fit; asked before, told after, and taken back."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import get_args

import pytest
import redis
from playwright.async_api import Page, Route, expect
from structlog.testing import capture_logs

from dashboard.conftest import GUARDED, Fields, Look, Pages, PagesWith
from dashboard.test_looks import fits
from dashboard.test_queue import MANY, fill
from interop.scene import Scene
from support import axe
from support.store import Store
from taskflow import Inspector, Task, TaskOptions, TaskState
from taskflow.application.commands import Action
from taskflow.client import Client
from taskflow.dashboard.offers import offer_of, offers
from taskflow.errors import InvalidOption, InvalidTaskState

LONG = os.environ.get("TASKFLOW_LONG") == "1"
PATIENCE_MS = 60_000 if LONG else 20_000
ARCHIVED = "/queue?name=default&state=archived"


async def archived(client: Client, count: int = 3) -> None:
    """Have some archived tasks `a_0`, `a_1`, ... of the type `mail`."""
    tasks = [Task("mail", {"n": number}, TaskOptions(task_id=f"a_{number}")) for number in range(count)]
    await client.enqueue_many(tasks)
    await Inspector(client.broker).archive_all("default", TaskState.PENDING)


def form(action: str, state: str = "archived", queue: str = "default", more: str = "") -> str:
    return f"/queue/tasks?name={queue}&state={state}&action={action}{more}"


def all_of(action: str, state: str = "archived", queue: str = "default", more: str = "") -> str:
    return f"/queue/matching?name={queue}&state={state}&action={action}{more}"


# -- words ----------------------------------------------------------------------------------------------------------------


def test_what_is_offered_is_what_can_be_done() -> None:
    assert [offer.action for offer in offers(TaskState.ACTIVE)] == ["cancel"]
    assert [offer.action for offer in offers(TaskState.PENDING)] == ["archive", "delete", "cancel"]
    assert [offer.label for offer in offers(TaskState.ARCHIVED)] == ["Retry", "Delete"]
    assert {offer.action for offer in offers(TaskState.RETRY)} == set(get_args(Action))


def test_questions_name_the_number() -> None:
    def asked(action: str, state: str, count: int, *, fitting: bool = False) -> str:
        return offer_of(action, TaskState(state)).question(count, fitting=fitting).text

    assert asked("delete", "archived", 1204) == "Delete 1,204 archived tasks?"
    assert asked("delete", "archived", 1) == "Delete 1 archived task?"
    assert asked("run", "archived", 2, fitting=True) == "Retry the 2 archived tasks that fit?"
    assert asked("run", "retry", 2) == "Retry 2 retry tasks now?"
    assert asked("run", "scheduled", 2) == "Run 2 scheduled tasks now?"
    assert asked("run", "completed", 1, fitting=True) == "Run the 1 completed task that fits again?"


def test_what_was_done_is_told_with_what_was_left_alone() -> None:
    offer = offer_of("run", TaskState.ARCHIVED)

    assert offer.told(1, 1) == "1 task put in line to run."
    assert offer.told(1000) == "1,000 tasks put in line to run."
    assert offer.told(2, 3) == "2 tasks put in line to run. 1 was left alone: not archived any more."
    assert offer_of("cancel", TaskState.ACTIVE).told(2) == "2 tasks told to stop."


def test_what_cannot_be_done_is_refused() -> None:
    with pytest.raises(InvalidTaskState, match="active cannot be deleted"):
        offer_of("delete", TaskState.ACTIVE)
    with pytest.raises(InvalidOption, match="must be one of"):
        offer_of("explode", TaskState.ACTIVE)


# -- some -----------------------------------------------------------------------------------------------------------------


async def test_one_task_is_retried_with_its_button(pages: Pages, client: Client, store: Store) -> None:
    await archived(client)

    answer = await pages.post(form("run"), {"only": "a_1", "id": "a_2"}, page=ARCHIVED)

    assert (answer.status_code, answer.headers["location"]) == (303, ARCHIVED)
    assert store.list("pending") == ["a_1"]
    text = (await pages.get(ARCHIVED)).text
    assert "1 task put in line to run." in text
    assert ">Archive again</button>" in text


async def test_several_are_asked_for_with_their_number(pages: Pages, client: Client, store: Store) -> None:
    await archived(client)
    chosen = {"id": ["a_0", "a_2"]}

    asked = await pages.post(form("delete"), chosen, page=ARCHIVED)
    assert "Delete 2 archived tasks?" in asked.text
    assert len(store.scores("archived")) == 3
    assert asked.text.count('type="hidden" name="id"') == 2

    with capture_logs() as logs:
        await pages.post(form("delete"), {**chosen, "confirmed": "yes"}, page=ARCHIVED)
    assert set(store.scores("archived")) == {"a_1"}
    (line,) = [line for line in logs if line["event"] == "tasks deleted"]
    assert (line["queue"], line["state"], line["count"], line["task_ids"]) == ("default", "archived", 2, ["a_0", "a_2"])


@pytest.mark.parametrize("action", ["delete", "cancel"])
async def test_what_is_grave_is_asked_for_even_of_one(pages: Pages, client: Client, action: str) -> None:
    await client.enqueue("mail", task_id="a")

    assert "1 pending task?" in (await pages.post(form(action, "pending"), {"only": "a"})).text


async def test_tasks_that_have_left_the_state_are_left_alone(pages: Pages, client: Client, store: Store) -> None:
    await archived(client, 2)
    await client.enqueue("mail", task_id="waits")

    chosen: Fields = {"id": ["a_0", "a_1", "waits", "gone"], "confirmed": "yes"}
    await pages.post(form("delete"), chosen, page=ARCHIVED)

    assert store.list("pending") == ["waits"]
    assert "2 tasks deleted. 2 were left alone: not archived any more." in (await pages.get(ARCHIVED)).text


async def test_nothing_selected_is_said(pages: Pages, client: Client) -> None:
    await archived(client, 1)
    await pages.post(form("delete"), page=ARCHIVED)

    assert "Select tasks first" in (await pages.get(ARCHIVED)).text


@pytest.mark.parametrize(("action", "state"), [("run", "archived"), ("archive", "pending"), ("cancel", "pending")])
async def test_what_can_be_taken_back_is(pages: Pages, client: Client, store: Store, action: str, state: str) -> None:
    ids = ["a_0", "a 1", 'ü"<']
    await client.enqueue_many([Task("mail", None, TaskOptions(task_id=task_id)) for task_id in ids])
    if state == "archived":
        await pages.post(form("archive", "pending"), {"id": ids, "confirmed": "yes"})
    page = f"/queue?name=default&state={state}"

    def there() -> set[str]:
        return set(store.list("pending") if state == "pending" else store.scores("archived"))

    await pages.post(form(action, state), {"id": ids, "confirmed": "yes"}, page=page)
    assert there() == set()
    text = (await pages.get(page)).text
    undo = re.search(r'action="(/queue/tasks[^"]*)">(?:(?!</form>).)*name="ids" value="([^"]*)"', text, re.DOTALL)
    assert undo is not None
    fields = {"ids": undo[2].replace("&#34;", '"').replace("&lt;", "<"), "confirmed": "yes"}
    await pages.post(undo[1].replace("&amp;", "&"), fields, page=page)

    assert there() == set(ids)


async def test_a_viewer_may_do_nothing_and_is_offered_nothing(
    pages_with: PagesWith, client: Client, store: Store
) -> None:
    await archived(client)
    async with pages_with("vera", **GUARDED) as one:
        assert (await one.post(form("delete"), {"only": "a_0", "confirmed": "yes"})).status_code == 403
        text = (await one.get(ARCHIVED)).text
        assert "/queue/tasks" not in text
        assert "checkbox" not in text
    assert len(store.scores("archived")) == 3


async def test_an_operator_acts_on_some_and_an_admin_on_all(
    pages_with: PagesWith, client: Client, store: Store
) -> None:
    await archived(client)
    async with pages_with("otto", **GUARDED) as one:
        assert (await one.post(all_of("delete"), {"confirmed": "yes"})).status_code == 403
        assert "/queue/matching" not in (await one.get(ARCHIVED)).text
        await one.post(form("delete"), {"only": "a_0", "confirmed": "yes"})
        assert len(store.scores("archived")) == 2
    async with pages_with("ada", **GUARDED) as one:
        assert "/queue/matching" in (await one.get(ARCHIVED)).text
        await one.post(all_of("delete"), {"confirmed": "yes"})
    assert store.scores("archived") == {}


async def test_a_limited_key_touches_its_queues_alone(pages_with: PagesWith, client: Client, store: Store) -> None:
    await archived(client)
    async with pages_with("lina", **GUARDED) as one:
        answer = await one.post(form("delete"), {"only": "a_0", "confirmed": "yes"})
        assert answer.status_code == 303
        assert "may not use the queue" in (await one.get("/")).text
    assert len(store.scores("archived")) == 3


# -- all that fit ---------------------------------------------------------------------------------------------------------


async def test_all_of_a_state_are_asked_for_and_done(pages: Pages, client: Client, store: Store) -> None:
    await archived(client, 12)

    assert "Retry 12 archived tasks?" in (await pages.post(all_of("run"), page=ARCHIVED)).text
    answer = await pages.post(all_of("run"), {"confirmed": "yes", "total": "12"}, page=ARCHIVED)

    assert answer.headers["location"] == ARCHIVED
    assert len(store.list("pending")) == 12
    assert "12 tasks put in line to run." in (await pages.get(ARCHIVED)).text


async def test_those_that_fit_are_counted_before_it_is_asked(pages: Pages, client: Client, store: Store) -> None:
    await archived(client, 12)
    fitting = "&q=a_1&in=id"

    asked = await pages.post(all_of("delete", more=fitting), page=ARCHIVED + fitting)
    assert "Delete the 3 archived tasks that fit?" in asked.text
    assert re.search(r'name="total" value="3"', asked.text)
    await pages.post(all_of("delete", more=fitting), {"confirmed": "yes"}, page=ARCHIVED + fitting)

    assert set(store.scores("archived")) == {f"a_{number}" for number in (0, *range(2, 10))}


async def test_where_nothing_fits_nothing_is_asked(pages: Pages, client: Client) -> None:
    await archived(client, 2)

    answer = await pages.post(all_of("delete", more="&type=none"), page=ARCHIVED)

    assert answer.status_code == 303
    assert "There is no such task" in (await pages.get(ARCHIVED)).text


async def test_a_group_is_run_as_a_whole(pages: Pages, scene: Scene) -> None:
    group = "&group=user%3A42"

    assert "Run 3 aggregating tasks now?" in (await pages.post(all_of("run", "aggregating", more=group))).text
    await pages.post(all_of("run", "aggregating", more=group), {"confirmed": "yes", "total": "3"})

    assert [info.name for info in await scene.inspector.groups("default")] == ["größe 7"]


async def test_what_takes_long_goes_on_in_steps(
    pages: Pages, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(raw, 2500)
    monkeypatch.setattr("taskflow.dashboard.pages.queue_tasks.STEP_SECONDS", 0)
    page = "/queue?name=big&state=archived"
    fields = {"confirmed": "yes", "total": "2500"}
    seen: list[str] = []
    while True:
        answer = await pages.post(all_of("delete", queue="big"), fields, page=page)
        if answer.status_code == 303:
            break
        fields = dict(
            re.findall(r'<input type="hidden" name="(done|total|cursor|confirmed)" value="([^"]*)"', answer.text)
        )
        seen.append(fields["done"])
        assert f'max="2500" value="{fields["done"]}"' in answer.text

    assert seen == ["500", "1000", "1500", "2000"]
    assert answer.headers["location"] == page
    assert "2,500 tasks deleted." in (await pages.get(page)).text
    assert raw.zcard("asynq:{big}:archived") == 0


# -- in a browser ---------------------------------------------------------------------------------------------------------


async def said(page: Page, text: str) -> None:
    await expect(page.locator("#messages .message")).to_contain_text(text, timeout=PATIENCE_MS)


@pytest.mark.browser
async def test_tasks_are_selected_and_acted_on(look: Look, client: Client, store: Store) -> None:
    await archived(client, 6)
    async with look() as window:
        page = await window.go(ARCHIVED)
        delete = page.locator("#selection").get_by_role("button", name="Delete")
        await expect(delete).to_be_disabled()
        await page.keyboard.press("j")
        await page.keyboard.press("x")
        await page.get_by_role("checkbox", name="Select mail a_3").check()
        await expect(page.get_by_text("2 selected")).to_be_visible()

        await client.enqueue("mail", task_id="fresh")  # the list is live: what is ticked stays so
        await expect(page.locator("#queue-tabs a").first).to_contain_text("1")
        await expect(page.get_by_text("2 selected")).to_be_visible()

        await delete.click()
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_contain_text("Delete 2 archived tasks?")
        await dialog.get_by_role("button", name="Cancel").click()
        assert len(store.scores("archived")) == 6
        await delete.click()
        await dialog.get_by_role("button", name="Delete").click()
        await said(page, "2 tasks deleted.")

        await expect(delete).to_be_disabled()
        await page.get_by_role("checkbox", name="none selected").check()
        await page.locator("#selection").get_by_role("button", name="Retry").click()
        await expect(dialog).to_contain_text("Retry 4 archived tasks?")
        await dialog.get_by_role("button", name="Retry").click()
        await said(page, "4 tasks put in line to run.")
        await page.get_by_role("button", name="Archive again").click()
        await said(page, "4 tasks archived.")
        assert len(store.scores("archived")) == 4


@pytest.mark.browser
async def test_all_is_done_without_script(look: Look, client: Client, store: Store) -> None:
    await archived(client, 4)
    async with look(script=False) as window:
        page = await window.go(ARCHIVED)
        await page.get_by_role("checkbox", name="Select mail a_1").check()
        await page.get_by_role("checkbox", name="Select mail a_2").check()
        await page.locator("#selection").get_by_role("button", name="Delete").click()
        await expect(page.get_by_role("heading", name="Delete 2 archived tasks?")).to_be_visible()
        await page.get_by_role("button", name="Delete").click()
        await said(page, "2 tasks deleted.")

        await page.get_by_role("button", name="Retry a_0").click()
        await said(page, "1 task put in line to run.")
        await page.get_by_text("All of them").click()
        await page.get_by_role("button", name="Delete: all").click()
        await page.get_by_role("button", name="Delete").click()
        await said(page, "1 task deleted.")
    assert store.scores("archived") == {}


async def unanswered(route: Route) -> None:
    """Let the script's own requests fail, and no others."""
    if route.request.resource_type == "fetch":
        await route.fulfill(status=503, body="")
    else:
        await route.fallback()


@pytest.mark.browser
@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (390, "dark")])
async def test_what_opens_can_be_used_by_everybody(
    look: Look, client: Client, width: int, theme: str, screenshots: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskflow.dashboard.pages.queue_tasks.STEP_SECONDS", 0)
    await archived(client, 600)

    async def check(page: Page, name: str) -> None:
        if screenshots is not None:
            await page.screenshot(path=screenshots / f"queue-{name}-{theme}-{width}.png")
        assert await axe.findings(page) == [], name
        assert await fits(page), name

    async with look(width=width, theme=theme) as window:
        page = await window.go(f"{ARCHIVED}&since=soon")
        window.complaints.clear()  # the browser notes the 422
        await expect(page.get_by_role("alert")).to_contain_text("must be a time")
        await check(page, "wrong")
        await window.go(f"{ARCHIVED}&since=2020-01-01T00:00:00")
        await page.get_by_role("checkbox", name="none selected").check()
        await page.get_by_text("All that fit").click()
        await check(page, "open")
        await page.get_by_role("button", name="Delete", exact=True).click()
        await expect(page.get_by_role("dialog")).to_contain_text("Delete 50 archived tasks?")
        await check(page, "dialog")
        await page.keyboard.press("Escape")
        await page.get_by_role("button", name="Delete: all that fit").click()
        await check(page, "asked")
        await page.route("**/queue/matching*", unanswered)
        await page.get_by_role("button", name="Delete").click()
        await expect(page.get_by_role("status")).to_contain_text("500 of 600 tasks are done")
        await expect(page.get_by_role("status")).to_contain_text("The server did not answer; try to go on.")
        window.complaints.clear()  # the browser notes the 503
        await check(page, "steps")
        await page.get_by_role("button", name="Go on").click()
        await said(page, "600 tasks deleted.")
    await archived(client, 600)
    async with look(width=width, theme=theme, script=False) as window:
        page = await window.go(f"{ARCHIVED}&q=a_")
        await page.get_by_text("All that fit").click()
        await page.get_by_role("button", name="Retry: all that fit").click()
        await page.get_by_role("button", name="Retry").click()
        await expect(page.get_by_role("status")).to_contain_text("500 of 600 tasks are done")
        await page.get_by_role("button", name="Go on").click()
        await said(page, "600 tasks put in line to run.")


@pytest.mark.browser
async def test_of_a_hundred_thousand_tasks_those_that_fit_are_deleted_step_by_step(
    look: Look, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskflow.dashboard.pages.queue_tasks.STEP_SECONDS", 0.5)
    monkeypatch.setattr("taskflow.dashboard.pages.queue_tasks.COUNT_SECONDS", 60)
    fill(raw)
    wanted, count = ("mail", MANY * 99 // 100) if LONG else ("report", MANY // 100)
    async with look() as window:
        page = await window.go("/queue?name=big&state=archived")
        await expect(page.locator(".paging")).to_contain_text(f"50 of {MANY:,}")
        await page.get_by_role("link", name="Next →").click()
        await expect(page.locator(".paging")).to_contain_text(f"100 of {MANY:,}")
        await window.go(f"/queue?name=big&state=archived&page={MANY // 50 - 1}")
        await expect(page.locator("#tasks .id").last).to_have_text("000001")

        await page.get_by_label("Type", exact=True).fill(wanted)
        await page.get_by_role("button", name="Find").click()
        await expect(page.locator("#tasks .id")).to_have_count(50)
        await page.get_by_text("All that fit").click()
        await page.get_by_role("button", name="Delete: all that fit").click()
        await expect(page.get_by_role("heading", name=f"{count:,} archived tasks that fit?")).to_be_visible(
            timeout=PATIENCE_MS
        )
        await page.get_by_role("button", name="Delete").click()
        await expect(page.locator("#steps-done")).to_contain_text(f"of {count:,} tasks are done")
        await said(page, f"{count:,} tasks deleted.")
    assert raw.zcard("asynq:{big}:archived") == MANY - count
