"""Dashboards that are kept open: each shows the page, follows the changes, and asks for the page when there is one, as the script does.

At most every 2 s, and less often where the answer takes long: it waits for answers a tenth of the time at most.
Answers: once when all are open; at the end of the input, how many pages they were given.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import httpx
import msgspec

from bench.roles import speech
from taskflow.cli import loop

_PAUSE = 2.0
_SHARE = 10
_HEADERS = {"Accept": "text/html", "X-TaskFlow-Live": "1"}


class Spec(msgspec.Struct, forbid_unknown_fields=True):
    """What to do."""

    port: int
    dashboards: int


class Dashboard:
    """One that is open."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self.opened = asyncio.Event()
        self.pages = 0

    async def keep_open(self) -> None:
        """Show the page, and follow the changes."""
        (await self._client.get("/", headers={"Accept": "text/html"})).raise_for_status()
        last = took = 0.0
        async with self._client.stream("GET", "/changes", timeout=None) as events:
            self.opened.set()
            async for line in events.aiter_lines():
                if line == "event: change" and time.monotonic() - last >= max(_PAUSE, _SHARE * took):
                    last = time.monotonic()
                    (await self._client.get("/", headers=_HEADERS)).raise_for_status()
                    took = time.monotonic() - last
                    self.pages += 1


async def look(spec: Spec) -> None:
    """Keep the dashboards open until the input ends."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{spec.port}", timeout=30) as client:
        dashboards = [Dashboard(client) for _ in range(spec.dashboards)]
        running = [asyncio.create_task(each.keep_open()) for each in dashboards]
        await asyncio.gather(*(each.opened.wait() for each in dashboards))
        speech.answer(ready=True)
        ended = asyncio.Event()
        speech.at_end_of_input(ended.set)
        await ended.wait()
        speech.answer(pages=sum(each.pages for each in dashboards))
        for each in running:
            each.cancel()
        for each in running:
            with suppress(asyncio.CancelledError):
                await each


if __name__ == "__main__":
    loop.run(look(speech.read_spec(Spec)))
