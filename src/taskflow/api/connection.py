"""Connection: uvicorn's HTTP protocol with limits to what arrives before anything of ours can look at it."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from taskflow.api.protocol import ABORT

MAX_HEAD = 64 * 1024
"""The largest URL and headers together, in bytes (with what else comes that is no body)."""
MAX_URL = 16 * 1024
"""The longest URL in bytes."""
_REASONS = {414: b"URI Too Long", 431: b"Request Header Fields Too Large"}


FIRST_REQUEST_SECONDS = 0.5
"""How long a connection without a request so far waits for one when the server goes down: it may be on its way."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    read_timeout = 10.0
    """How long (s) a client may take to send a request, from its first byte to its last."""
    _limit: asyncio.TimerHandle | None = None
    _head = 0
    """Bytes of URL and headers so far, by the parser's count."""
    _waiting = 0
    """Bytes that have come since there was a piece of a body or an end: the parser keeps them."""
    _refused = False
    _last = False
    """Whether the server goes down, so that no second request is taken."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own signature
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        if self._refused:
            return
        before = self._waiting
        self._waiting = -1
        super().data_received(data)
        if self._waiting < 0:
            self._waiting = before + len(data)
            if self._waiting > MAX_HEAD:
                self._refuse(431)

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self.scope[ABORT] = self.transport.abort  # type: ignore[literal-required]  # an extension of ours
        self._head = 0
        if self._limit is None:
            self._expect()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the URL."""
        super().on_url(url)
        self._head += len(url)
        if self._head > MAX_URL:
            self._refuse(414)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer behind the body."""
        super().on_header(name, value)
        self._head += len(name) + len(value)
        if self._head > MAX_HEAD:
            self._refuse(431)

    def on_headers_complete(self) -> None:
        """Let the application answer."""
        self._waiting = 0
        if not self._refused:
            super().on_headers_complete()
            if self._last and self.cycle is not None:
                self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._waiting = 0
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        self._waiting = 0
        self._arrived()
        if not self._refused:
            super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up."""
        self._arrived()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close once nothing is asked; whoever has just come gets an answer."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None and not self._last:
            self._last = True
            self.loop.call_later(FIRST_REQUEST_SECONDS, super().shutdown)
        else:
            super().shutdown()

    def _expect(self) -> None:
        self._limit = self.loop.call_later(self.read_timeout, self.transport.close)

    def _arrived(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _refuse(self, status: int) -> None:
        """Answer, if no answer has begun, and hang up."""
        if self._refused:
            return
        self._refused = True
        cycle: RequestResponseCycle | None = self.cycle  # None before the first one
        if cycle is None or cycle.response_complete:
            head = b"HTTP/1.1 %d %s\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            self.transport.write(head % (status, _REASONS[status]))
        self.transport.close()


def protocol(read_timeout: float) -> type[BoundedProtocol]:
    """Return the protocol, with a limit to the time (s) a client may take to send a request."""
    return type("Protocol", (BoundedProtocol,), {"read_timeout": read_timeout})
