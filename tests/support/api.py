"""The API and the dashboard in the loop of the test: behind a real server, or without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn

from taskflow.api.protocol import ASGIApp, Message
from taskflow.asgi import create_app, serve
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


@asynccontextmanager
async def http_client(settings: Settings, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of an application of its own, which is started and shut down as a server would do it."""
    app = create_app(settings, redis_url=redis_url)
    transport = httpx.ASGITransport(app=app)
    async with lifespan(app), httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
        yield client


@asynccontextmanager
async def lifespan(app: ASGIApp) -> AsyncIterator[None]:
    """Start an application, and shut it down."""
    incoming: asyncio.Queue[Message] = asyncio.Queue()
    outgoing: asyncio.Queue[Message] = asyncio.Queue()

    async def run() -> None:
        await app({"type": "lifespan", "asgi": {"version": "3.0"}}, incoming.get, outgoing.put)

    running = asyncio.create_task(run())
    incoming.put_nowait({"type": "lifespan.startup"})
    assert (await outgoing.get())["type"] == "lifespan.startup.complete"
    yield
    incoming.put_nowait({"type": "lifespan.shutdown"})
    assert (await outgoing.get())["type"] == "lifespan.shutdown.complete"
    await running
