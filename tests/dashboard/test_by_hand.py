"""Each action of the dashboard by hand: pressed in a real browser, asked about there, and what it did read from Redis."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from litestar.routes import HTTPRoute
from playwright.async_api import Page, expect

from dashboard.conftest import GUARDED, Look
from dashboard.pages import PAGES
from dashboard.test_looks import open_page
from interop.scene import Scene
from support.clock import MovableClock
from support.store import Store
from support.tasks import STATES, bring
from taskflow import Broker, Inspector, ScheduleEntry, ScheduleStore, TaskState
from taskflow.dashboard.offers import offers
from taskflow.dashboard.router import dashboard

BY_HAND = {
    "test_browsing": {"/login", "/logout"},
    "test_new_task": {"/new-task"},
    "test_schedules": {"/schedule/save", "/schedule/preview", "/schedule/delete"},
    "test_servers": {"/server/drain"},
    "test_task": {"/task/edit"},
    "here": {
        *("/queue/matching", "/queue/pause", "/queue/remove", "/queue/resume", "/queue/tasks"),
        *("/schedule/pause", "/schedule/resume", "/schedule/run"),
        *("/task/archive", "/task/cancel", "/task/delete", "/task/run"),
    },
}
"""Which module does which action in a browser."""
NO_PAGES = {"/changes", "/task/bytes", "/task/progress", "/static/{version:str}/{name:str}", "/dashboard"}
"""Streams and files, and what leads to another page."""
COUNT = 5
GROUP = "g"


def paths(method: str) -> set[str]:
    """The addresses of the dashboard that take a method."""
    routes = [route for router in dashboard().routes for route in router.routes if isinstance(route, HTTPRoute)]
    handlers = [handler for route in routes for handler in route.route_handlers]
    return {path for handler in handlers if method in handler.http_methods for path in handler.paths}


def test_no_page_and_no_action_is_forgotten() -> None:
    looked_at = {address.partition("?")[0] for address in PAGES.values()}

    assert paths("GET") == looked_at - {"/nowhere"} | {"/login"} | NO_PAGES
    assert paths("POST") == set().union(*BY_HAND.values())


# -- tasks ----------------------------------------------------------------------------------------------------------------


async def said(page: Page, text: str) -> None:
    await expect(page.locator("#messages .message")).to_contain_text(text)


async def agree(page: Page, question: str) -> None:
    """Read the question, and say yes."""
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text(question)
    await dialog.locator("button[value=yes]").click()


def is_done(store: Store, ids: Sequence[str], action: str, state: str) -> bool:
    """Whether the tasks are as the action leaves them; an active one is told to stop, and goes on until it does."""
    if (action, state) == ("cancel", "active"):
        return all("stop" in store.hash(each) for each in ids)
    left_in = {"run": "pending", "archive": "archived", "delete": None, "cancel": "archived"}[action]
    return all(store.state(each) == left_in for each in ids)


def address_of(state: str) -> str:
    group = f"&group={GROUP}" if state == "aggregating" else ""
    return f"/queue?name=default&state={state}{group}"


@pytest.mark.browser
@pytest.mark.parametrize("state", STATES)
async def test_what_a_list_offers_is_done_to_some_and_to_all(
    look: Look, broker: Broker, clock: MovableClock, store: Store, state: str
) -> None:
    async with look() as window:
        for offer in sorted(offers(TaskState(state)), key=lambda offer: offer.action == "run"):
            ids = [f"{offer.action}_{number}" for number in range(COUNT)]
            for each in ids:
                await bring(broker, clock, state, each, lock="")
            page = await window.go(address_of(state))
            await page.get_by_role("checkbox", name=f"Select t {ids[0]}").check()
            await page.get_by_role("checkbox", name=f"Select t {ids[3]}").check()
            await page.locator("#selection").get_by_role("button", name=offer.label, exact=True).click()
            await agree(page, offer.question(2).text)
            await said(page, offer.told(2))
            assert is_done(store, [ids[0], ids[3]], offer.action, state)

            page = await window.go(address_of(state))
            await page.locator("#all-of-them summary").click()
            rest = COUNT if (offer.action, state) == ("cancel", "active") else COUNT - 2
            await page.get_by_role("button", name=f"{offer.label}: all").click()
            question = offer.question(rest)
            if state == "aggregating":  # how many a group holds is counted when it is asked
                await expect(page.get_by_role("heading", name=question.text)).to_be_visible()
                await page.get_by_role("button", name=question.yes, exact=True).click()
            else:
                await agree(page, question.text)
            await said(page, offer.told(rest))
            assert is_done(store, ids, offer.action, state)


@pytest.mark.browser
@pytest.mark.parametrize("state", STATES)
async def test_what_the_page_of_a_task_offers_is_done(
    look: Look, broker: Broker, clock: MovableClock, store: Store, state: str
) -> None:
    actions = [offer.action for offer in offers(TaskState(state))]
    for action in actions:
        await bring(broker, clock, state, action, lock="")
    async with look() as window:
        for action in actions:
            page = await window.go(f"/task?queue=default&id={action}")
            offered = page.locator("#task-head form.action")
            addresses = await offered.evaluate_all("found => found.map(each => each.getAttribute('action'))")
            assert {str(each).partition("?")[0] for each in addresses} == {f"/task/{each}" for each in actions}
            form = page.locator(f'#task-head form[action^="/task/{action}?"]')
            question = await form.get_attribute("data-confirm")
            await form.get_by_role("button").click()
            if question:
                await agree(page, question)
            await expect(page.locator("#messages .message")).to_be_visible()
            assert is_done(store, [action], action, state), action


# -- queues, groups, schedules ----------------------------------------------------------------------------------------------


@pytest.mark.browser
@pytest.mark.parametrize("address", ["/", "/queues", "/queue?name=default", "/queue/history?name=default"])
async def test_a_queue_is_paused_and_resumed_wherever_it_is_shown(
    look: Look, broker: Broker, clock: MovableClock, inspector: Inspector, address: str
) -> None:
    await bring(broker, clock, "pending", lock="")
    async with look() as window:
        page = await window.go(address)
        for action, paused in (("Pause", True), ("Resume", False)):
            await page.get_by_role("main").get_by_role("button", name=action).first.click()
            await expect(page.get_by_text("paused", exact=True)).to_have_count(int(paused))
            (info,) = await inspector.queue_infos(["default"])
            assert info.paused is paused


@pytest.mark.browser
async def test_a_queue_is_removed(look: Look, broker: Broker, clock: MovableClock, inspector: Inspector) -> None:
    for state in ("archived", "completed", "retry", "scheduled", "aggregating", "pending"):
        await bring(broker, clock, state, state, lock="")
    async with look() as window:
        page = await window.go("/queue?name=default")
        await page.get_by_role("button", name="Remove").click()
        await agree(page, "Remove the queue default with 6 tasks?")
        await said(page, "The queue default is removed")
        await expect(page.get_by_text("There are no queues yet.")).to_be_visible()
    assert await inspector.queues() == []


@pytest.mark.browser
@pytest.mark.parametrize("action", ["run", "delete"])
async def test_a_group_is_run_or_deleted_from_the_list_of_groups(
    look: Look, broker: Broker, clock: MovableClock, store: Store, action: str
) -> None:
    ids = [f"t_{number}" for number in range(COUNT)]
    for each in ids:
        await bring(broker, clock, "aggregating", each, lock="")
    (offer,) = (offer for offer in offers(TaskState.AGGREGATING) if offer.action == action)
    async with look() as window:
        page = await window.go("/groups")
        await page.get_by_role("button", name=f"{offer.label}: all of {GROUP}").click()
        await agree(page, offer.question(COUNT).text)
        await said(page, offer.told(COUNT))
        await expect(page.get_by_text("No task is in a group.")).to_be_visible()
    assert is_done(store, ids, action, "aggregating")


@pytest.mark.browser
@pytest.mark.parametrize("address", ["/schedules", "/schedule?id=nightly"])
async def test_a_schedule_is_paused_resumed_and_run_wherever_it_is_shown(
    look: Look, broker: Broker, inspector: Inspector, address: str
) -> None:
    schedules = ScheduleStore(broker)
    await schedules.put(ScheduleEntry(id="nightly", spec="0 3 * * *", type="demo"))

    async with look(api__allow_types=["demo"]) as window:
        page = await window.go(address)
        for action, paused in (("Pause", {"nightly"}), ("Resume", set())):
            await page.get_by_role("main").get_by_role("button", name=action).first.click()
            await said(page, f"nightly {'is paused' if paused else 'fires again'}")
            assert (await schedules.snapshot()).paused == paused
        await page.get_by_role("button", name="Run now").click()
        await said(page, "nightly was run")
    (info,) = await inspector.queue_infos(["default"])
    assert info.pending == 1


# -- roles ----------------------------------------------------------------------------------------------------------------


@pytest.mark.browser
@pytest.mark.parametrize("name", ["vera", "otto"])
async def test_each_page_offers_what_one_may_do_and_nothing_else(look: Look, scene: Scene, name: str) -> None:
    """A viewer is offered no action but his logout; an operator none that steers queues, schedules and servers."""
    steering = ("/queue/pause", "/queue/resume", "/queue/remove", "/queue/matching", "/schedule/", "/server/")
    offered: set[str] = set()
    async with look(login=name, **GUARDED) as window:
        for each, address in PAGES.items():
            page = await open_page(window, address)
            actions = await page.locator("form[method=post], button[formaction]").evaluate_all(
                "found => found.map(each => each.getAttribute('formaction') ?? each.getAttribute('action'))"
            )
            offered |= {str(action).partition("?")[0] for action in actions}
            window.complaints[:] = [line for line in window.complaints if "403" not in line]
            assert not [path for path in offered if path.startswith(steering)], each
    operator = {"/logout", "/new-task", "/queue/tasks", "/task/run", "/task/archive", "/task/cancel", "/task/delete"}
    assert offered == ({"/logout"} if name == "vera" else operator | {"/task/edit"})
