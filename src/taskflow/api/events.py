"""EventStream: server-sent events. It ends with its viewer and with the server. A viewer who does not read is the connection's matter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

import msgspec
from litestar import Response
from litestar.response.base import ASGIResponse

from taskflow.api.errors import body_of
from taskflow.api.protocol import Receive, Scope, Send
from taskflow.api.request import ApiRequest
from taskflow.api.schemas.progress import error_event
from taskflow.errors import TaskFlowError

HEARTBEAT_SECONDS = 15.0
"""How often a comment is sent, so that nothing between here and the viewer takes the connection for dead."""


def event(name: str, data: Any, *, event_id: str = "") -> bytes:
    """Return one event; `event_id` is what the viewer sends as `Last-Event-ID` when it comes back."""
    line = f"id: {event_id}\n" if event_id else ""
    return f"{line}event: {name}\ndata: {msgspec.json.encode(data).decode()}\n\n".encode()


class EventStream(Response[bytes]):
    """A response that sends events as they come.

    Args:
        request: The request that it answers.
        events: What to send; it is closed with the stream.

    """

    def __init__(self, request: ApiRequest, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(b"", media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        self._around = request.around
        self._client = request.client_name
        self._events = events

    def to_asgi_response(self, *_: Any, **__: Any) -> ASGIResponse:
        """Return what sends the events."""
        return cast("ASGIResponse", self._respond)

    async def _respond(self, _: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
        with self._around.places.take(self._client):
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            if await self._send_events(receive, send):
                await _send_chunk(send, b"", more=False)

    async def _send_events(self, receive: Receive, send: Send) -> bool:
        """Send events until there are no more, or the server goes down; return whether the viewer is still there."""
        pump = asyncio.create_task(self._pump(send))
        beat = asyncio.create_task(_beat(send))
        gone = asyncio.create_task(_until_gone(receive))
        closing = asyncio.create_task(self._around.closing.wait())
        tasks = (pump, beat, gone, closing)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            left = gone.done()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for sender in (pump, beat):
            if not sender.cancelled():
                sender.result()
        return not left

    async def _pump(self, send: Send) -> None:
        """Send the events; what breaks them off becomes the last one."""
        try:
            async with aclosing(self._events) as events:
                async for chunk in events:
                    await _send_chunk(send, chunk)
        except TaskFlowError as error:
            await _send_chunk(send, event("error", error_event(body_of(error))))


async def _send_chunk(send: Send, chunk: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": more})


async def _beat(send: Send) -> None:
    while True:
        await asyncio.sleep(HEARTBEAT_SECONDS)
        await _send_chunk(send, b": keep-alive\n\n")


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
