"""Each page in a real browser: wide and narrow, light and dark, with and without script, for everybody."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.async_api import Page

from dashboard.conftest import GUARDED, Look
from dashboard.pages import OPEN_PAGES, PAGES
from interop.scene import Scene
from support import axe
from support.browser import Window

pytestmark = pytest.mark.browser

_SIZES = {1440: 900, 390: 844}


async def open_page(window: Window, address: str) -> Page:
    """Open a page; that there is none is as it should be for some."""
    page = await window.go(address)
    window.complaints[:] = [each for each in window.complaints if not re.search(r"nowhere|nobody|status of 404", each)]
    return page


async def fits(page: Page) -> bool:
    """Whether nothing of the page stands out of the window to the right."""
    return bool(await page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", _SIZES)
async def test_each_page_can_be_used_by_everybody(
    look: Look, scene: Scene, width: int, theme: str, screenshots: Path | None
) -> None:
    async with look(width=width, height=_SIZES[width], theme=theme) as window:
        for name, address in PAGES.items():
            page = await open_page(window, address)
            if screenshots is not None:
                await page.screenshot(path=screenshots / f"{name}-{theme}-{width}.png", full_page=True)
            assert await axe.findings(page) == [], name
            assert await fits(page), name


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", _SIZES)
async def test_the_login_can_be_used_by_everybody(look: Look, width: int, theme: str, screenshots: Path | None) -> None:
    async with look(width=width, height=_SIZES[width], theme=theme, **GUARDED) as window:
        for name, address in OPEN_PAGES.items():
            page = await window.go(address)
            if screenshots is not None:
                await page.screenshot(path=screenshots / f"{name}-{theme}-{width}.png", full_page=True)
            assert await axe.findings(page) == [], name
            assert await fits(page), name


async def test_each_page_can_be_read_without_script(look: Look, scene: Scene) -> None:
    async with look(script=False) as window:
        for name, address in PAGES.items():
            page = await open_page(window, address)
            assert await page.locator("main h1, main h2").first.is_visible(), name
            assert await page.locator(".needs-script:visible").count() == 0, name
