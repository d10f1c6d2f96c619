"""The API behind a real server, in the loop of the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from taskflow.asgi import serve
from taskflow.config import Settings, load_settings


def settings_with(**overrides: Any) -> Settings:
    """The default settings but for some: `server__http__port` is `server.http.port`."""
    return load_settings(environ={}, overrides={name.replace("__", "."): value for name, value in overrides.items()})


@asynccontextmanager
async def api_at(settings: Settings, redis_url: str) -> AsyncIterator[tuple[uvicorn.Server, str]]:
    """A real server with the API, to enter with `async with`: the server and its URL."""
    server = serve(settings, redis_url=redis_url, handle_signals=False)
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
        assert not running.done()
    host, port = server.servers[0].sockets[0].getsockname()
    try:
        yield server, f"http://{host}:{port}"
    finally:
        server.should_exit = True
        await running
