"""What is done to a queue as a whole: forms that answer with a message, take back what was done, and ask before they destroy."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect
from structlog.testing import capture_logs

from dashboard.conftest import GUARDED, Look, Pages, PagesWith
from taskflow import Inspector
from taskflow.client import Client


async def paused(inspector: Inspector, queue: str = "default") -> bool:
    (info,) = await inspector.queue_infos([queue])
    return info.paused


async def test_a_queue_is_paused_and_resumed(pages_with: PagesWith, client: Client, inspector: Inspector) -> None:
    await client.enqueue("demo")
    async with pages_with("ada", **GUARDED) as one:
        with capture_logs() as logs:
            answer = await one.post("/queue/pause?name=default", page="/?span=24h")

        assert (answer.status_code, answer.headers["location"]) == (303, "/?span=24h")
        assert await paused(inspector)
        shown = (await one.get("/?span=24h")).text
        assert "The queue default is paused" in shown
        assert "The queue default is paused" not in (await one.get("/")).text
        await one.post("/queue/resume?name=default")
        assert not await paused(inspector)

    lines = [line for line in logs if line["event"] == "queue paused"]
    assert [(line["queue"], line["key"]) for line in lines] == [("default", "ada")]


@pytest.mark.parametrize("action", ["pause", "resume", "remove"])
@pytest.mark.parametrize("name", ["otto", "vera", "lina"])
async def test_who_is_no_admin_is_refused_and_not_offered_it(
    pages_with: PagesWith, client: Client, inspector: Inspector, name: str, action: str
) -> None:
    await client.enqueue("demo", queue="low")
    async with pages_with(name, **GUARDED) as one:
        answer = await one.post(f"/queue/{action}?name=low", {"confirmed": "yes"})

        assert answer.status_code == 403
        assert "/queue/pause" not in (await one.get("/")).text
    assert not await paused(inspector, "low")


async def test_what_cannot_be_done_is_said_on_the_page_of_the_form(pages: Pages) -> None:
    answer = await pages.post("/queue/pause?name=nowhere")

    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert re.search(r'class="message failed" role="alert">\s*<p>.*nowhere', (await pages.get("/")).text)


async def test_a_form_without_its_subject_is_refused(pages: Pages) -> None:
    answer = await pages.post("/queue/pause", {"back": "https://evil.example"})

    assert answer.status_code == 400
    assert "is missing in the address" in answer.text


async def test_a_removal_is_asked_for_and_names_the_number(pages: Pages, client: Client, inspector: Inspector) -> None:
    for _ in range(3):
        await client.enqueue("demo", queue="a/b")

    asked = await pages.post("/queue/remove?name=a%2Fb")
    assert asked.status_code == 200
    assert "Remove the queue a/b with 3 tasks?" in asked.text
    assert await inspector.queues() == ["a/b"]

    assert 'action="/queue/remove?name=a%2Fb"' in asked.text
    done = await pages.post("/queue/remove?name=a%2Fb", {"confirmed": "yes"})
    assert done.status_code == 303
    assert await inspector.queues() == []
    assert "with 3 tasks" in (await pages.get("/")).text


async def test_a_message_is_one_visitors_alone(pages: Pages, pages_with: PagesWith, client: Client) -> None:
    await client.enqueue("demo")
    await pages.post("/queue/pause?name=default")
    async with pages_with() as other:
        await other.get("/")
        other.http.cookies["taskflow_message"] = pages.http.cookies["taskflow_message"]

        assert "is paused:" not in (await other.get("/")).text


@pytest.mark.browser
@pytest.mark.parametrize("script", [True, False])
async def test_what_was_done_can_be_taken_back(look: Look, client: Client, inspector: Inspector, script: bool) -> None:
    await client.enqueue("demo")
    async with look(script=script) as window:
        page = await window.go("/")
        await page.get_by_role("button", name="Pause default").click()
        await expect(page.get_by_role("status").filter(has_text="is paused")).to_be_visible()
        assert await paused(inspector)

        await page.get_by_role("button", name="Resume it").click()
        await expect(page.get_by_role("status").filter(has_text="goes on")).to_be_visible()
        assert not await paused(inspector)
