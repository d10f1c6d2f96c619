"""The dashboard over HTTP (`pages_with`), and in a real browser (`look`), in which nothing may go wrong."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import httpx
import pytest

from interop.scene import Scene, a_system_at_work
from support.api import api_at, http_client, settings_with
from taskflow import TaskFlow
from taskflow.api.keys import digest_of
from taskflow.worker import fetcher

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from conftest import StartWorker
    from support.browser import Window

KEYS = {"ada": "a-key-of-an-admin", "otto": "a-key-of-an-operator", "vera": "a-key-of-a-viewer", "lina": "a-key-of-low"}
GUARDED: dict[str, Any] = {
    "api__auth__keys": [
        {"name": "ada", "digest": digest_of(KEYS["ada"]), "scopes": ["admin"]},
        {"name": "otto", "digest": digest_of(KEYS["otto"]), "scopes": ["read", "write"]},
        {"name": "vera", "digest": digest_of(KEYS["vera"]), "scopes": ["read"]},
        {"name": "lina", "digest": digest_of(KEYS["lina"]), "scopes": ["read", "write"], "queues": ["low"]},
    ]
}
"""Settings with the keys of an admin, an operator, a viewer, and one who may use only the queue `low`."""

Fields = Mapping[str, str | list[str]]
"""The fields of a form; of several with one name, a list."""
_TOKEN = re.compile(r'data-token="([^"]+)"')
_SCREENSHOTS = "--screenshots"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `pytest tests/dashboard --screenshots DIR` keep pictures of the pages."""
    parser.addoption(_SCREENSHOTS, metavar="DIR", help="write pictures of all pages, light and dark, wide and narrow")


def token_in(text: str) -> str:
    """Return what the forms of a page carry."""
    found = _TOKEN.search(text)
    assert found is not None, "that is no page"
    return found[1]


class Pages:
    """A visitor without a browser: sends forms as a browser does.

    Args:
        http: A client of the application; it keeps cookies.

    """

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        http.headers["Accept"] = "text/html,application/xhtml+xml,*/*;q=0.8"

    async def get(self, address: str, **options: Any) -> httpx.Response:
        """Ask for a page."""
        return await self.http.get(address, **options)

    async def token(self, address: str = "/") -> str:
        """What the forms of a page carry."""
        return token_in((await self.get(address)).text)

    async def post(
        self, address: str, fields: Fields | None = None, *, page: str = "/", **options: Any
    ) -> httpx.Response:
        """Send a form that is on a page."""
        own = {"token": await self.token(page), "back": page}
        return await self.http.post(address, data={**own, **(fields or {})}, **options)

    async def login(self, name: str) -> httpx.Response:
        """Log in with one of `KEYS`."""
        return await self.post("/login", {"key": KEYS[name]}, page="/login")


PagesWith = Callable[..., AbstractAsyncContextManager[Pages]]


@pytest.fixture
def pages_with(redis_url: str) -> PagesWith:
    """Makes applications with other settings, to enter with `async with`; with `login="ada"` somebody is logged in."""

    @asynccontextmanager
    async def start(login: str | None = None, url: str = redis_url, **overrides: Any) -> AsyncIterator[Pages]:
        async with http_client(settings_with(**overrides), url) as http:
            pages = Pages(http)
            if login is not None:
                assert (await pages.login(login)).status_code == 303
            yield pages

    return start


@pytest.fixture
async def pages(pages_with: PagesWith) -> AsyncIterator[Pages]:
    """The dashboard with the default settings."""
    async with pages_with() as visitor:
        yield visitor


@pytest.fixture
async def scene(app: TaskFlow, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """A TaskFlow system at work on the test's server, with tasks in all states."""
    monkeypatch.setattr(fetcher, "ARMED_SECONDS", 0.02)  # a quiet queue keeps one of the two slots that long
    async with a_system_at_work(app, start_worker) as running:
        yield running


Look = Callable[..., AbstractAsyncContextManager["Window"]]


@pytest.fixture
def look(browser: Browser, redis_url: str) -> Look:
    """Opens windows on a dashboard of their own, to enter with `async with`.

    Nothing may go wrong in there: no error in the console, nothing against the content policy, no exception, no failed request,
    none to another host. What a test expects it takes out of `window.complaints` itself.

    Options: `login="ada"` (see `GUARDED`), `width`, `height`, `theme="dark"`, `script=False`, `zone="Asia/Kolkata"`, and settings.
    """
    from support.browser import window

    @asynccontextmanager
    async def start(
        *,
        login: str | None = None,
        width: int = 1440,
        height: int = 900,
        theme: Literal["light", "dark"] = "light",
        script: bool = True,
        zone: str = "UTC",
        **overrides: Any,
    ) -> AsyncIterator[Window]:
        settings = settings_with(server__http__port=0, server__http__request_log=False, **overrides)
        async with (
            api_at(settings, redis_url) as (_, url),
            window(browser, url, width=width, height=height, theme=theme, script=script, zone=zone) as opened,
        ):
            if login is not None:
                page = await opened.go("/login")
                await page.get_by_label("API key").fill(KEYS[login])
                await page.get_by_role("button", name="Log in").click()
                await page.wait_for_url(f"{url}/")
            yield opened
            assert not opened.complaints
            assert not opened.outside

    return start


@pytest.fixture
def screenshots(request: pytest.FixtureRequest) -> Path | None:
    """Where pictures of pages are wanted; None: nowhere."""
    given = request.config.getoption(_SCREENSHOTS, default=None)
    if given is None:
        return None
    folder = Path(given)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
