"""Proxy: a TCP server in front of a Redis server that cuts, delays and drops what goes through it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

DropReply = Callable[[bytes], bool]
"""Says for a chunk of requests whether the connection is to be cut before their replies pass."""


class Proxy:
    """Listens at `url` on the loopback interface and passes on to the server at `target`.

    It begins by passing everything on; `drop_replies`, `stall`, `cut` and `delay` change that, `pass_on` changes it back.
    """

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._drop: DropReply | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._refuse = False
        self.delay = 0.0
        """Seconds by which each chunk of replies is late."""
        self.dropped = 0
        """How often a reply was dropped, and its connection with it."""
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self._abort_all()
        for pump in list(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        await self._server.wait_closed()

    def drop_replies(self, when: DropReply = lambda _: True) -> None:
        """Let requests through, but cut the connection when their reply comes: the client never learns of it."""
        self._drop = when

    def stall(self) -> None:
        """Keep connections open and pass nothing on."""
        self._open.clear()

    def cut(self) -> None:
        """Cut all connections and refuse new ones."""
        self._refuse = True
        self._abort_all()

    def pass_on(self) -> None:
        """Pass everything on from now on."""
        self._drop = None
        self._refuse = False
        self._open.set()

    def _abort_all(self) -> None:
        for link in list(self._links):
            link.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuse:
            writer.transport.abort()
            return
        try:
            behind_reader, behind_writer = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        marked = asyncio.Event()
        links = {writer, behind_writer}
        self._links |= links
        pumps = [
            asyncio.create_task(self._pass_requests(reader, behind_writer, marked)),
            asyncio.create_task(self._pass_replies(behind_reader, writer, marked)),
        ]
        self._pumps.update(pumps)
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._pumps.difference_update(pumps)
            self._links -= links
            for link in links:
                link.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._target.scheme == "unix":
            return await asyncio.open_unix_connection(self._target.path)
        return await asyncio.open_connection(self._target.hostname, self._target.port)

    async def _pass_requests(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, marked: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                await self._open.wait()
                if self._drop is not None and self._drop(data):
                    marked.set()
                sink.write(data)
                await sink.drain()

    async def _pass_replies(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, marked: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                await self._open.wait()
                if marked.is_set():
                    self.dropped += 1
                    return
                if self.delay:
                    await asyncio.sleep(self.delay)
                sink.write(data)
                await sink.drain()
