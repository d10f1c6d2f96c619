"""The page `/docs` in a real browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from support.browser import window

if TYPE_CHECKING:
    from playwright.async_api import Browser


@pytest.mark.parametrize("root", ["", "/queue"])
async def test_each_operation_has_a_line_for_curl_with_the_address_of_the_page(
    browser: Browser, serving: Any, root: str
) -> None:
    async with serving(server__http__root_path=root) as (_, url), window(browser, url) as view:
        page = await view.go("/docs#listTasks")
        command = await page.locator("#listTasks pre.command").text_content()
        example = await page.locator("#listTasks pre.example").text_content()

        assert command == f"curl -s '{url}/api/v1/tasks?queue=trial&status=scheduled&size=10'"
        assert '"id": "later"' in (example or "")
        assert await page.locator(".operation").count() == await page.locator("pre.command").count()
        assert not view.complaints
        assert not view.outside
