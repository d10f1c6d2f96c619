"""A small HTTP/1.1 load generator: some keep-alive connections, one request under way on each."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import msgspec

from bench.roles import speech
from taskflow.cli import loop

_LENGTH = b"content-length:"


class Spec(msgspec.Struct, forbid_unknown_fields=True):
    """What to do: a POST of a JSON body, again and again, for some seconds after a warm-up."""

    port: int
    path: str
    body: str
    connections: int
    warm_up: float
    seconds: float
    headers: dict[str, str] = {}


class Load:
    """What the connections share: the request, until when to repeat it, and what came back."""

    def __init__(self, spec: Spec) -> None:
        body = spec.body.encode()
        more = "".join(f"{name}: {value}\r\n" for name, value in spec.headers.items())
        head = (
            f"POST {spec.path} HTTP/1.1\r\nHost: 127.0.0.1:{spec.port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n{more}\r\n"
        )
        self.request = head.encode() + body
        self.counts_from = time.perf_counter() + spec.warm_up
        self.ends_at = self.counts_from + spec.seconds
        self.statuses: Counter[str] = Counter()
        self.waits: list[float] = []
        self.last_at = self.counts_from
        self.last_body = b""


class Caller(asyncio.Protocol):
    """One connection."""

    def __init__(self, load: Load, ended: asyncio.Future[None]) -> None:
        self._load = load
        self._ended = ended
        self._unread = b""
        self._sent_at = 0.0
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        assert isinstance(transport, asyncio.WriteTransport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports have no class in common with asyncio's
        self._send()

    def data_received(self, data: bytes) -> None:
        """Take a whole response, and send the next request."""
        self._unread += data
        head, found, rest = self._unread.partition(b"\r\n\r\n")
        if not found:
            return
        length = _content_length(head)
        if len(rest) < length:
            return
        now = time.perf_counter()
        load = self._load
        if now >= load.counts_from:
            load.statuses[head[9:12].decode()] += 1
            load.waits.append(now - self._sent_at)
            load.last_at = now
        load.last_body = rest[:length]
        self._unread = rest[length:]
        if now < load.ends_at:
            self._send()
        else:
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail, if the server closed the connection before the end."""
        if not self._ended.done():
            self._ended.set_exception(exc or ConnectionError("the server closed the connection"))

    def _send(self) -> None:
        assert self._transport is not None
        self._sent_at = time.perf_counter()
        self._transport.write(self._load.request)

    def _finish(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)
        if self._transport is not None:
            self._transport.close()


def _content_length(head: bytes) -> int:
    lowered = head.lower()
    start = lowered.index(_LENGTH) + len(_LENGTH)
    end = lowered.find(b"\r", start)
    return int(lowered[start : end if end >= 0 else len(lowered)])


async def call(spec: Spec) -> Load:
    """Load the server; return what came back."""
    running = asyncio.get_running_loop()
    load = Load(spec)
    ends: list[asyncio.Future[None]] = []
    for _ in range(spec.connections):
        ended: asyncio.Future[None] = running.create_future()
        ends.append(ended)
        await running.create_connection(lambda ended=ended: Caller(load, ended), "127.0.0.1", spec.port)  # type: ignore[misc]
    await asyncio.gather(*ends)
    return load


def main() -> None:
    """Do what the command line describes."""
    spec = speech.read_spec(Spec)
    load = loop.run(call(spec))
    speech.answer(
        statuses=load.statuses,
        waits=load.waits,
        seconds=load.last_at - load.counts_from,
        last_body=load.last_body[:2000].decode(errors="replace"),
    )


if __name__ == "__main__":
    main()
