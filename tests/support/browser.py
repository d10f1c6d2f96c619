"""A real browser for tests of pages: the system's Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal
from urllib.parse import urlsplit

from playwright.async_api import Browser, ConsoleMessage, Page, Request, Response, Route, async_playwright, expect

from support import servers

_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
TIMEOUT_MS = 15_000
"""How long a page may take to show what is waited for."""


def find_chromium() -> str:
    """Return the path of the browser; where there is none, skip the test, or fail it if everything must be there."""
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        servers.skip("Chromium is not installed")
    return path


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Start the browser; it is closed at the end."""
    program = find_chromium()
    expect.set_options(timeout=TIMEOUT_MS)
    async with async_playwright() as playwright:
        # Without its sandbox, which a container's root may not set up. It is shown pages of this machine alone.
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        await browser.close()


class Window:
    """A page of one site, and what was wrong with it.

    What it asks of other hosts is answered with nothing, so a test needs no network.

    Attributes:
        page: Playwright's page.
        complaints: Errors in the console, uncaught exceptions, and requests that failed.
        outside: What it asked of other hosts.

    """

    def __init__(self, page: Page, site: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.outside: list[str] = []
        self._site = site.rstrip("/")
        page.set_default_timeout(TIMEOUT_MS)
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))
        page.on("requestfailed", self._failed)
        page.on("response", self._answered)

    async def go(self, path: str) -> Page:
        """Open a page of the site."""
        await self.page.goto(self._site + path)
        return self.page

    async def keep_inside(self) -> None:
        """Answer requests to other hosts with nothing."""
        await self.page.route("**/*", self._decide)

    async def _decide(self, route: Route) -> None:
        url = route.request.url
        if urlsplit(url).netloc == urlsplit(self._site).netloc or not url.startswith("http"):
            await route.continue_()
        else:
            self.outside.append(url)
            await route.fulfill(status=200, body="")

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(f"console: {message.text}")

    def _failed(self, request: Request) -> None:
        # A page that is left gives up on what it has asked for.
        if request.failure != "net::ERR_ABORTED":
            self.complaints.append(f"{request.method} {request.url}: {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.complaints.append(f"{response.request.method} {response.url}: {response.status}")


@asynccontextmanager
async def window(
    browser: Browser,
    site: str,
    *,
    width: int = 1440,
    height: int = 900,
    theme: Literal["light", "dark"] = "light",
    script: bool = True,
    zone: str = "UTC",
) -> AsyncIterator[Window]:
    """Open a window on a site (`http://host:port`), without what an earlier one has stored, and without scripts if wanted."""
    context = await browser.new_context(
        viewport={"width": width, "height": height},
        locale="en-GB",
        timezone_id=zone,
        color_scheme=theme,
        java_script_enabled=script,
    )
    opened = Window(await context.new_page(), site)
    await opened.keep_inside()
    yield opened
    await context.close()
