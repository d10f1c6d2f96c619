"""EventStream: server-sent events. It ends with its viewer, with the server, and with a viewer who does not read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Any

import msgspec
import structlog
from litestar import Response
from litestar.response.base import ASGIResponse

from taskflow.api.protocol import Receive, Scope, Send

_LOG = structlog.get_logger("taskflow.api")
HEARTBEAT_SECONDS = 15.0
"""How often a comment is sent, so that nothing between here and the viewer takes the connection for dead."""
SLOW_SECONDS = 30.0
"""How long a viewer may read nothing before it is dropped."""


def event(name: str, data: Any, *, event_id: str = "") -> bytes:
    """Return one event; `event_id` is what the viewer sends as `Last-Event-ID` when it comes back."""
    line = f"id: {event_id}\n" if event_id else ""
    return f"{line}event: {name}\ndata: {msgspec.json.encode(data).decode()}\n\n".encode()


class EventStream(Response[bytes]):
    """A response that sends events as they come.

    Args:
        events: What to send; it is closed with the stream.
        closing: Set when the server goes down.

    """

    def __init__(self, events: AsyncGenerator[bytes, None], closing: asyncio.Event) -> None:
        super().__init__(b"", media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        self._events = events
        self._closing = closing

    def to_asgi_response(self, *_: Any, **__: Any) -> ASGIResponse:
        """Return what sends the events."""
        headers = {name: str(value) for name, value in self.headers.items()}
        return _Stream(self._events, self._closing, headers)


class _Stream(ASGIResponse):
    def __init__(self, events: AsyncGenerator[bytes, None], closing: asyncio.Event, headers: dict[str, str]) -> None:
        super().__init__(headers=headers, media_type="text/event-stream", status_code=200)
        self._events = events
        self._closing = closing

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]  # our ASGI types are looser
        headers: Iterable[tuple[bytes, bytes]] = [
            (name.lower().encode(), value.encode()) for name, value in self.headers.items() if name != "content-length"
        ]
        await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
        pump = asyncio.create_task(self._pump(send))
        others = [
            asyncio.create_task(_until_gone(receive)),
            asyncio.create_task(self._closing.wait()),
            asyncio.create_task(_beat(send)),
        ]
        try:
            await asyncio.wait([pump, *others], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (pump, *others):
                task.cancel()
            await asyncio.gather(pump, *others, return_exceptions=True)
        try:
            if not pump.cancelled():
                pump.result()
            await _send_chunk(send, b"", more=False)
        except TimeoutError:
            _LOG.info("a viewer that does not read was dropped")

    async def _pump(self, send: Send) -> None:
        async with aclosing(self._events) as events:
            async for chunk in events:
                await _send_chunk(send, chunk)


async def _send_chunk(send: Send, chunk: bytes, *, more: bool = True) -> None:
    async with asyncio.timeout(SLOW_SECONDS):
        await send({"type": "http.response.body", "body": chunk, "more_body": more})


async def _beat(send: Send) -> None:
    while True:
        await asyncio.sleep(HEARTBEAT_SECONDS)
        await _send_chunk(send, b": keep-alive\n\n")


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
