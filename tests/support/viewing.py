"""Viewing: reads the server-sent events of the API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx


class Event(NamedTuple):
    """One event as it came."""

    name: str
    data: Any
    id: str


class Viewer:
    """Reads a stream of events."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.aiter_lines()
        self.comments: list[str] = []

    async def next(self) -> Event | None:
        """The next event, None at the end."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(10):
            async for line in self._lines:
                if line.startswith(":"):
                    self.comments.append(line)
                elif line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif fields:
                    return Event(fields["event"], json.loads(fields["data"]), fields.get("id", ""))
        return None

    async def rest(self) -> list[Event]:
        """All events to the end."""
        found = []
        while (event := await self.next()) is not None:
            found.append(event)
        return found


@asynccontextmanager
async def viewing(http: httpx.AsyncClient, path: str, **headers: str) -> AsyncIterator[Viewer]:
    """Open a stream of events, to enter with `async with`."""
    async with http.stream("GET", path, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Viewer(response)
