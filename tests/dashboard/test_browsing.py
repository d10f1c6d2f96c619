"""The frame of all pages in a real browser: login, keys, theme, menu, live parts, times."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from dashboard.conftest import GUARDED, KEYS, Look
from support import axe
from taskflow import Inspector, Task
from taskflow.client import Client

pytestmark = pytest.mark.browser


async def test_login_and_logout(look: Look) -> None:
    async with look(**GUARDED) as window:
        page = await window.go("/servers")
        await page.get_by_label("API key").fill("wrong")
        await page.get_by_role("button", name="Log in").click()
        await expect(page.get_by_role("alert")).to_contain_text("No API key is like this one")
        window.complaints.clear()  # the browser notes the 403
        await page.get_by_label("API key").fill(KEYS["vera"])
        await page.get_by_role("button", name="Log in").click()
        await expect(page.get_by_role("heading", name="Servers", exact=True)).to_be_visible()

        await page.locator("details.account summary").click()
        await expect(page.get_by_text("look, and change nothing")).to_be_visible()
        await page.get_by_role("button", name="Log out").click()

        await expect(page.get_by_label("API key")).to_be_focused()


async def test_queues_are_shown_as_they_come_and_grow(look: Look, client: Client) -> None:
    async with look() as window:
        page = await window.go("/")
        await expect(page.get_by_text("There are no queues yet.")).to_be_visible()

        await client.enqueue("demo", queue="fresh")

        row = page.locator("tr", has=page.get_by_role("link", name="fresh"))
        await expect(row.locator("td").nth(1)).to_have_text("1")
        await client.enqueue("demo", queue="fresh")
        await expect(row.locator("td").nth(1)).to_have_text("2")

        await page.get_by_role("button", name="Live: pause").click()
        await expect(page.get_by_role("button", name="Paused: go on")).to_be_visible()
        await client.enqueue("demo", queue="fresh")
        await page.get_by_role("button", name="Paused: go on").click()
        await expect(row.locator("td").nth(1)).to_have_text("3")


async def test_keys_lead_everywhere(look: Look, client: Client) -> None:
    for name in ("a", "b", "c"):
        await client.enqueue("demo", queue=name)
    async with look() as window:
        page = await window.go("/")
        await page.keyboard.press("j")
        await page.keyboard.press("j")
        await expect(page.get_by_role("link", name="b", exact=True)).to_be_focused()
        await page.keyboard.press("k")
        await expect(page.get_by_role("link", name="a", exact=True)).to_be_focused()

        await page.keyboard.press("?")
        await expect(page.get_by_role("dialog")).to_contain_text("Keyboard shortcuts")
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_be_hidden()

        await page.keyboard.press("/")
        await expect(page.get_by_role("searchbox")).to_be_focused()
        await page.keyboard.type("gs?")
        await expect(page.get_by_role("searchbox")).to_have_value("gs?")
        await page.keyboard.press("Tab")
        await page.keyboard.press("g")
        await page.keyboard.press("s")
        await expect(page.get_by_role("heading", name="Servers", exact=True)).to_be_visible()


async def test_the_theme_is_kept(look: Look) -> None:
    async with look(theme="light") as window:
        page = await window.go("/")
        light = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        await page.get_by_role("button", name="Switch between light and dark").click()
        dark = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert dark != light

        page = await window.go("/servers")
        assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


async def test_on_a_narrow_screen_the_pages_are_behind_a_button(look: Look) -> None:
    async with look(width=390, height=844) as window:
        page = await window.go("/")
        await expect(page.get_by_role("link", name="Servers")).to_be_hidden()
        await page.get_by_role("button", name="Menu").click()
        await page.get_by_role("link", name="Servers").click()
        await expect(page.get_by_role("heading", name="Servers", exact=True)).to_be_visible()


_FORM = """document.querySelector("main").insertAdjacentHTML("beforeend", `
    <form method="post" action="/queue/remove?name=default" data-confirm="Remove the queue default with 2 tasks?"
        data-label="Remove" data-detail="This cannot be undone.">
    <input type="hidden" name="token" value="${document.body.dataset.token}"><button>Remove it</button></form>`)"""


async def test_what_destroys_is_asked_in_a_dialog(look: Look, client: Client, inspector: Inspector) -> None:
    await client.enqueue_many([Task("demo"), Task("demo")])
    async with look() as window:
        page = await window.go("/")
        await page.evaluate(_FORM)
        dialog = page.get_by_role("dialog")

        await page.get_by_role("button", name="Remove it").click()
        await expect(dialog).to_contain_text("Remove the queue default with 2 tasks?")
        await expect(dialog).to_contain_text("This cannot be undone.")
        assert await axe.findings(page) == []
        await dialog.get_by_role("button", name="Cancel").click()
        await expect(dialog).to_be_hidden()
        await expect(page.get_by_role("button", name="Remove it")).to_be_focused()
        assert await inspector.queues() == ["default"]

        await page.get_by_role("button", name="Remove it").click()
        await dialog.get_by_role("button", name="Remove").click()
        await expect(page.get_by_role("status").filter(has_text="with 2 tasks")).to_be_visible()
        assert await inspector.queues() == []


async def test_without_a_script_a_page_asks_instead(look: Look, client: Client) -> None:
    await client.enqueue("demo")
    async with look(script=False) as window:
        page = await window.go("/")
        token = await page.locator("body").get_attribute("data-token")
        answer = await page.context.request.post(
            f"{page.url}queue/remove?name=default", form={"token": str(token), "back": "/servers"}
        )
        text = await answer.text()

    assert "<h1>Remove the queue default with 1 task?</h1>" in text
    assert 'href="/servers">Cancel</a>' in text


async def test_the_focus_stays_while_parts_of_the_page_are_replaced(look: Look, client: Client) -> None:
    await client.enqueue("demo")
    async with look() as window:
        page = await window.go("/")
        row = page.locator("#queue-1 td").nth(1)
        await page.keyboard.press("j")
        await client.enqueue("demo")
        await expect(row).to_have_text("2")
        await expect(page.get_by_role("link", name="default", exact=True)).to_be_focused()
        assert await page.locator("#queue-1").get_attribute("data-current") == ""
