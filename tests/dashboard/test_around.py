"""What stands around every page: content policy, escaping, errors, files, the address, and what is not there."""

from __future__ import annotations

import re

import httpx
import pytest
from fastapi import FastAPI

from dashboard.conftest import GUARDED, KEYS, Pages, PagesWith, token_in
from support.api import lifespan, settings_with
from taskflow.asgi import create_app
from taskflow.client import Client

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


@pytest.mark.parametrize("address", ["/", "/servers", "/nowhere", "/queue?name=%00"])
async def test_pages_may_load_only_what_is_ours_and_are_not_kept(pages: Pages, address: str) -> None:
    headers = (await pages.get(address)).headers

    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["content-security-policy"] == POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "same-origin"
    assert "x-request-id" in headers


@pytest.mark.parametrize("address", ["/", "/servers", "/nowhere"])
async def test_pages_have_no_script_and_no_style_within(pages: Pages, address: str) -> None:
    text = (await pages.get(address)).text

    assert not re.search(r"<script(?![^>]* src=)", text)
    assert not re.search(r"\son\w+=|\sstyle=|<style|javascript:", text)


async def test_text_of_strangers_is_escaped_and_keeps_its_direction(pages: Pages, client: Client) -> None:
    name = "<script>alert(1)</script>\u202e"
    await client.enqueue("demo", queue="x'\"<b>&")

    text = (await pages.get("/")).text
    assert "x&#39;&#34;&lt;b&gt;&amp;" in text
    assert "x%27%22%3Cb%3E%26" in text
    missing = (await pages.get(f"/{name}")).text
    assert "<script>alert" not in missing
    assert "\u202e" not in missing


async def test_an_error_is_a_page_for_people_and_json_for_programs(pages: Pages) -> None:
    shown = await pages.get("/nowhere")
    told = await pages.get("/nowhere", headers={"Accept": "application/json"})
    api = await pages.get("/api/v1/tasks/1")

    assert (shown.status_code, told.status_code, api.status_code) == (404, 404, 404)
    assert "There is no such page" in shown.text
    assert told.json()["code"] == "NOT_FOUND"
    assert api.json()["code"] == "TASK_NOT_FOUND"


async def test_without_redis_the_page_says_so(pages_with: PagesWith) -> None:
    async with pages_with(url="redis://127.0.0.1:1/0") as visitor:
        answer = await visitor.get("/")

    assert answer.status_code == 503
    assert "Redis does not answer" in answer.text
    assert answer.headers["retry-after"] == "1"


async def test_a_failure_tells_the_request_id_and_nothing_else(pages: Pages, client: Client) -> None:
    await client.broker.execute(("SET", "asynq:servers", "no set"))

    answer = await pages.get("/servers", headers={"X-Request-ID": "mine"})

    assert answer.status_code == 500
    assert "request mine" in answer.text
    assert "WRONGTYPE" not in answer.text


async def test_too_many_requests_are_a_page_too(pages_with: PagesWith) -> None:
    async with pages_with(api__rate_limit__rate="1/h") as visitor:
        assert (await visitor.get("/")).status_code == 200
        answer = await visitor.get("/")

    assert answer.status_code == 429
    assert "Too many requests" in answer.text
    assert int(answer.headers["retry-after"]) > 3000


async def test_files_are_kept_for_ever_under_the_name_of_their_content(pages: Pages) -> None:
    (address,) = re.findall(r'href="([^"]+\.css)"', (await pages.get("/")).text)

    found = await pages.get(address)
    assert found.headers["content-type"] == "text/css; charset=utf-8"
    assert found.headers["cache-control"] == "public, max-age=31536000, immutable"
    again = await pages.get(address, headers={"If-None-Match": found.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    old = await pages.get("/static/0123/style.css")
    assert (old.content, old.headers["cache-control"]) == (found.content, "no-cache")
    assert (await pages.get("/static/0123/secret.txt")).status_code == 404


async def test_the_dashboard_is_found_under_its_name_too(pages: Pages) -> None:
    assert (await pages.get("/dashboard")).headers["location"] == "/"


async def test_the_dashboard_can_be_switched_off(pages_with: PagesWith) -> None:
    async with pages_with(dashboard__enabled=False) as visitor:
        answer = await visitor.get("/")

    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize("guarded", [False, True])
async def test_behind_a_path_of_a_proxy_all_links_have_it(pages_with: PagesWith, guarded: bool) -> None:
    overrides = GUARDED if guarded else {}
    async with pages_with(server__http__root_path="/queue", **overrides) as visitor:
        first = await visitor.get("/")
        if guarded:
            assert first.headers["location"] == "/queue/login?to=%2F"
            shown = await visitor.get("/login")
            fields = {"token": token_in(shown.text), "key": KEYS["ada"], "to": "/servers"}
            own = {"Cookie": shown.headers["set-cookie"].partition(";")[0]}
            answer = await visitor.http.post("/login", data=fields, headers=own)
            assert answer.headers["location"] == "/queue/servers"
            assert "Path=/queue/;" in answer.headers["set-cookie"]
            return
        links = re.findall(r'(?:href|src|action)="([^"#]+)"', first.text)

    assert links
    assert all(each.startswith("/queue/") for each in links)


async def test_mounted_in_another_application_all_links_lead_there(redis_url: str) -> None:
    inner = create_app(settings_with(), redis_url=redis_url)
    outer = FastAPI()
    outer.mount("/tasks", inner)
    transport = httpx.ASGITransport(app=outer)
    async with lifespan(inner), httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        visitor = Pages(http)
        text = (await visitor.get("/tasks/servers")).text
        links = re.findall(r'(?:href|src|action)="([^"#]+)"', text)
        statuses = {(await http.get(each)).status_code for each in links if "/static/" in each}
        moved = await visitor.get("/tasks/dashboard")

    assert all(each.startswith("/tasks/") for each in links)
    assert 'href="/tasks/servers" data-go="s" aria-current="page"' in text
    assert statuses == {200}
    assert moved.headers["location"] == "/tasks/"


async def test_who_follows_changes_is_told_of_them(pages: Pages, client: Client) -> None:
    async with pages.http.stream("GET", "/changes?queue=nowhere") as answer:
        await answer.aread()
        assert answer.status_code == 404
