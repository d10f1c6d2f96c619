"""Redis: what its page shows is what the server says."""

from __future__ import annotations

import html
import re
from typing import Any

import redis

from dashboard.conftest import GUARDED, Pages, PagesWith
from interop.scene import Scene
from taskflow.application.service import TaskService
from taskflow.client import Client
from taskflow.config import load_settings

_TAGS = re.compile(r"<[^>]*>")


def facts(text: str) -> dict[str, str]:
    """What the page says, by the words before it."""
    found = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text, re.DOTALL)
    return {name: html.unescape(" ".join(_TAGS.sub("", value).split())) for name, value in found}


async def test_the_server_is_shown_as_it_says(pages: Pages, scene: Scene, raw: redis.Redis) -> None:
    text = (await pages.get("/redis")).text
    info: Any = raw.info()
    spaces: Any = raw.info("keyspace")

    shown = facts(text[text.index('class="cards"') :])
    assert shown["Keys"] == f"{sum(each['keys'] for each in spaces.values()):,}"
    assert shown["When it is full"].endswith(info["maxmemory_policy"])
    assert shown["Thrown away"] == "nothing"
    assert shown["Limit"] == "none but the machine's"
    assert shown["Append-only file"] == ("on" if info["aof_enabled"] else "off")
    assert f"<bdi>{info.get('valkey_version') or info['redis_version']}</bdi>" in text


async def test_its_warnings_are_those_of_the_doctor(pages: Pages, client: Client, raw: redis.Redis) -> None:
    service = TaskService(client, settings=load_settings(environ={}))
    settings: Any = raw.config_get("maxmemory-policy")
    raw.config_set("maxmemory-policy", "allkeys-lru")
    try:
        expected = [finding.text for finding in await service.findings() if finding.target == "redis"]
        text = (await pages.get("/redis")).text
    finally:
        raw.config_set("maxmemory-policy", settings["maxmemory-policy"])
    await service.close()

    assert any("throws tasks away" in each for each in expected)
    assert [html.unescape(each) for each in re.findall(r"<p><bdi>(.*?)</bdi></p>", text)] == expected
    assert '<span class="bad-text">keys are thrown away</span>' in text


async def test_those_who_may_use_some_queues_do_not_see_it(pages_with: PagesWith) -> None:
    async with pages_with("lina", **GUARDED) as one:
        assert (await one.get("/redis")).status_code == 403
        assert 'href="/redis"' not in (await one.get("/")).text
