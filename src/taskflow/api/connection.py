"""Connection: uvicorn's HTTP protocol with limits to what arrives, and to how long anybody may take to send and to read.

Whatever is no request is answered, in the form of all errors, and ends the connection; so does what asks for another protocol.
"""

from __future__ import annotations

import asyncio

import httptools
import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from taskflow.api.errors import encoded
from taskflow.api.schemas.errors import ErrorBody

MAX_HEAD = 64 * 1024
"""The largest URL and headers together, in bytes (with what else comes that is no body)."""
MAX_URL = 16 * 1024
"""The longest URL in bytes."""
MAX_PARAMETERS = 100
"""The most parameters of a URL: what was made of the last thousand queries is remembered, at a hundred bytes and more for each."""
MAX_WAITING = 20
"""How many requests of a connection may wait for their turn; the answer to the last one ends the connection."""
FIRST_REQUEST_SECONDS = 0.5
"""How long a connection without a request so far waits for one when the server goes down: it may be on its way."""
SLOW_SECONDS = 30.0
"""How long a client may take to read `SLOW_BYTES` of what waits for it."""
SLOW_BYTES = 16 * 1024

_CODING = b"transfer-encoding"
_CODING_LENGTH = len(_CODING)
_REFUSALS = {
    400: (b"Bad Request", "this is no HTTP/1.1 request"),
    414: (b"URI Too Long", f"the URL has more than {MAX_URL} bytes, or {MAX_PARAMETERS} parameters"),
    431: (b"Request Header Fields Too Large", f"the URL and the headers have more than {MAX_HEAD} bytes"),
}


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    read_timeout = 10.0
    """How long (s) a client may take to send a request, from its first byte to its last."""
    _limit: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None
    """Looks whether the client reads what waits for it."""
    _unread = 0
    """Bytes that waited for it when that was looked at."""
    _head = 0
    """Bytes of URL and headers so far, by the parser's count."""
    _waiting = 0
    """Bytes that have come since there was a piece of a body or an end: the parser keeps them."""
    _refused = False
    """Whether nothing is taken any more."""
    _last = False
    """Whether the server goes down, so that no second request is taken."""
    cycle: RequestResponseCycle | None = None  # type: ignore[assignment]  # uvicorn's own type leaves None out
    """The request that came last."""
    _running: RequestResponseCycle | None = None
    """The request that is being answered."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own signature
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up."""
        self._arrived()
        if self._reading is not None:
            self._reading.cancel()
        self.pipeline.clear()
        if (
            self._running is not None and not self._running.response_complete
        ):  # uvicorn tells only the one that came last
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    # -- what arrives -------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        if self._refused:
            return
        self._unset_keepalive_if_required()
        if self._limit is None and self._is_idle():  # whatever it is, a request or a line end, it begins one
            self._expect()
        before = self._waiting
        self._waiting = -1
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._end_with_answers()
        except httptools.HttpParserError:
            self._refuse(400)
        if self._waiting < 0:
            self._waiting = before + len(data)
            if self._waiting > MAX_HEAD:
                self._refuse(431)

    def on_message_begin(self) -> None:
        """Begin a request."""
        if self._refused:
            return
        super().on_message_begin()
        self._head = 0
        if self._limit is None:
            self._expect()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the URL."""
        if self._refused:
            return
        super().on_url(url)
        self._head += len(url)
        if self._head > MAX_URL:
            self._refuse(414)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer behind the body."""
        if self._refused:
            return
        super().on_header(name, value)
        self._head += len(name) + len(value)
        if self._head > MAX_HEAD:
            self._refuse(431)
        elif len(name) == _CODING_LENGTH and name.lower() == _CODING and value.lower() != b"chunked":
            self._refuse(400)  # others between here and the client may take the body to end elsewhere

    def on_headers_complete(self) -> None:
        """Let the application answer."""
        self._waiting = 0
        if self.url.count(b"&") >= MAX_PARAMETERS:
            self._refuse(414)
        if not self._refused:
            super().on_headers_complete()
            self.flow.resume_reading()  # uvicorn does not while a request waits, and so does not see that the client leaves
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
            if len(self.pipeline) >= MAX_WAITING:
                self._end_with_answers()

    # -- answers ------------------------------------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: object) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)  # type: ignore[arg-type]  # uvicorn's own type of an application

    def on_response_complete(self) -> None:
        """Go on to the next request."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._watch_reading()

    def pause_writing(self) -> None:
        """Wait until the client has read some of what waits for it."""
        super().pause_writing()
        self._watch_reading()

    def resume_writing(self) -> None:
        """Go on; it has."""
        super().resume_writing()
        if self._reading is not None and not self.transport.is_closing():
            self._reading.cancel()
            self._reading = None

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection on which nothing has come for long."""
        self._close()

    def shutdown(self) -> None:
        """Close once nothing is asked; whoever has just come gets an answer."""
        if self.cycle is None and not self._last:
            self._last = True
            self.loop.call_later(FIRST_REQUEST_SECONDS, super().shutdown)
        else:
            super().shutdown()

    # -- how it ends --------------------------------------------------------------------------------------------------

    def _log(self, what: str, **facts: object) -> None:
        structlog.get_logger("taskflow.api").info(what, **facts, address=self.client[0] if self.client else "")

    def _is_idle(self) -> bool:
        return self.cycle is None or bool(self.cycle.response_complete)

    def _refuse(self, status: int) -> None:
        """Answer, when all before is answered, and hang up."""
        if self._refused:
            return
        reason, text = _REFUSALS[status]
        self._log("request refused", status=status, reason=text)
        if self._is_idle():
            body = encoded(ErrorBody(text, "INVALID_REQUEST", {}))
            head = (
                b"HTTP/1.1 %d %s\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            )
            self.transport.write(head % (status, reason, len(body)) + body)
        self._end_with_answers()

    def _end_with_answers(self) -> None:
        """Take nothing more, and close when what was asked is answered."""
        self._refused = True
        self._arrived()
        cycle = self.cycle
        if (
            cycle is None or cycle.response_complete or cycle.more_body
        ):  # without its whole body there will be no answer
            self._close()
        else:
            cycle.keep_alive = False

    def _expect(self) -> None:
        self._limit = self.loop.call_later(self.read_timeout, self._close)

    def _arrived(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _close(self) -> None:
        """Close when the client has read what waits for it."""
        self._limit = None
        self.transport.close()
        self._watch_reading()

    def _watch_reading(self) -> None:
        """Have it looked at whether the client reads."""
        self._unread = self.transport.get_write_buffer_size()
        if self._reading is None and self._unread:
            self._reading = self.loop.call_later(SLOW_SECONDS, self._check_reading)

    def _check_reading(self) -> None:
        """Drop a client that does not read; what waits for it is thrown away."""
        self._reading = None
        if self.transport.get_write_buffer_size() > max(0, self._unread - SLOW_BYTES):
            self._log("a client that does not read was dropped")
            self.transport.abort()
        else:
            self._watch_reading()


def protocol(read_timeout: float) -> type[BoundedProtocol]:
    """Return the protocol, with a limit to the time (s) a client may take to send a request."""
    return type("Protocol", (BoundedProtocol,), {"read_timeout": read_timeout})
