"""asynqmon, asynq's web interface, as tests run it: its API, and what stands in the tables of its pages."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx

from interop.asynq_cli import address, is_cluster

if TYPE_CHECKING:
    from playwright.async_api import Page

TIMEOUT = 15.0
_ROWS = """table => {
    const texts = row => [...row.cells].map(cell => cell.innerText.trim());
    const names = texts(table.tHead.rows[0]);
    return [...table.tBodies[0].rows].filter(row => row.cells.length === names.length)
        .map(row => Object.fromEntries(texts(row).map((text, index) => [names[index], text])));
}"""


_FACTS = """labels => Object.fromEntries(labels
    .filter(label => label.nextElementSibling)
    .map(label => [label.innerText.replace(":", "").trim(), label.nextElementSibling.innerText.trim()]))
"""


async def table(page: Page, label: str) -> list[dict[str, str]]:
    """Wait for the table of this label to have rows; return them."""
    found = page.get_by_role("table", name=label).first
    await found.locator("tbody tr").first.wait_for()
    rows: list[dict[str, str]] = await found.evaluate(_ROWS)
    return rows


async def facts(page: Page) -> dict[str, str]:
    """What stands on the page under small headings: a queue's figures, or a task's details."""
    found: dict[str, str] = await page.locator("h6.MuiTypography-subtitle2").evaluate_all(_FACTS)
    return found


class Asynqmon:
    """A running asynqmon; `url` is its first page."""

    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self.url = url
        self._client = client

    async def ask(self, method: str, *path: str, body: Any = None, **query: Any) -> Any:
        """Call its API, each part of the path quoted; return the JSON answer, None if there is none."""
        parts = "/".join(quote(part, safe=":") for part in path)
        answer = await self._client.request(method, f"/api/{parts}", json=body, params=query)
        assert answer.is_success, f"{method} {parts}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    async def get(self, *path: str, **query: Any) -> Any:
        """Read."""
        return await self.ask("GET", *path, **query)


@asynccontextmanager
async def serving(program: Path, redis_url: str) -> AsyncIterator[Asynqmon]:
    """Start it on a Redis server; it is stopped at the end."""
    where = "--redis-cluster-nodes" if is_cluster(redis_url) else "--redis-addr"
    process = await asyncio.create_subprocess_exec(program, where, address(redis_url), stdout=PIPE)
    try:
        url = await _first_line(process)
        async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT) as client:
            yield Asynqmon(url, client)
    finally:
        process.kill()
        await process.wait()


async def _first_line(process: Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(TIMEOUT):
        return (await process.stdout.readline()).decode().strip()
