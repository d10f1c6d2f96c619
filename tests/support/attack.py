"""Attack: sends abuses to a server, many at a time, and looks at what it answers."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import time
from collections.abc import Iterable
from contextlib import suppress

from support.abuse.row import Abuse

TOGETHER = 50
"""How many abuses are under way at a time."""
QUIET = 0.05
"""How long (s) to wait for more once there was an answer."""
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) [A-Za-z -]*\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: chunked\r\n", re.IGNORECASE)
_CHUNK = re.compile(rb"([0-9a-f]+)\r\n")
_NO_BODY = {100, 204, 304}


class Attack:
    """What has come of the abuses so far.

    Attributes:
        statuses: How often each status was answered.
        wrong: What must not be, in words.

    """

    def __init__(self, port: int, *, patience: float) -> None:
        self._port = port
        self._patience = patience
        self.statuses: dict[int, int] = {}
        self.wrong: list[str] = []
        self.silent = 0
        self.sent = 0

    async def send_all(self, abuses: Iterable[Abuse]) -> None:
        """Send them, `TOGETHER` at a time."""
        waiting = iter(abuses)

        async def worker() -> None:
            for abuse in waiting:
                await self._send(abuse)

        await asyncio.gather(*(worker() for _ in range(TOGETHER)))

    async def _send(self, abuse: Abuse) -> None:
        """Send one; the server must answer, or end the connection, in time."""
        self.sent += 1
        started = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            with suppress(OSError):  # it may be cut off, or be too slow
                async with asyncio.timeout(self._patience):
                    await _deliver(writer, abuse)
            if abuse.delivery == "reset":
                raw: socket.socket = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            found, ended = await self._answer(reader)
            self._look_at(abuse, found, ended=ended, took=time.monotonic() - started)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[bytes, bool]:
        """Return what is answered, and whether the connection was ended."""
        found = bytearray()
        until = time.monotonic() + self._patience
        while (left := until - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(QUIET if found else left):
                    data = await reader.read(1 << 16)
            except TimeoutError:
                return bytes(found), False
            except ConnectionError:
                return bytes(found), True
            if not data:
                return bytes(found), True
            found += data
        return bytes(found), False

    def _look_at(self, abuse: Abuse, found: bytes, *, ended: bool, took: float) -> None:
        statuses, rest = read_answers(found)
        problem = None
        if not found and not ended:
            problem = f"neither answered nor ended in {took:.1f} s"
        elif rest:
            problem = f"answered what is no answer: {rest[:200]!r}"
        elif len([status for status in statuses if status >= 200]) > abuse.answers:
            problem = f"answered {len(statuses)} times: {statuses[:10]}"
        elif bad := [status for status in statuses if status >= 500 and status != 503]:
            problem = f"answered {bad}"
        if problem:
            self.wrong.append(f"{abuse.number} {abuse.kind} ({abuse.delivery}) {abuse.data[:300]!r}: {problem}")
        self.silent += not statuses
        for status in statuses:
            self.statuses[status] = self.statuses.get(status, 0) + 1


async def _deliver(writer: asyncio.StreamWriter, abuse: Abuse) -> None:
    data = abuse.data
    if abuse.delivery == "cut":
        data = data[: len(data) // 2]
    if abuse.delivery == "pieces":
        step = max(1, len(data) // 7)
        for at in range(0, len(data), step):
            writer.write(data[at : at + step])
            await writer.drain()
            await asyncio.sleep(0.002)
    else:
        writer.write(data)
        await writer.drain()
    if abuse.delivery == "half-close":
        writer.write_eof()


def read_answers(found: bytes) -> tuple[list[int], bytes]:
    """Return the statuses of answers that stand one behind the other, and what stands there that is none.

    The last one may be cut off, as the connection may be; and it may be that of a HEAD request, without the body it speaks of.
    """
    statuses: list[int] = []
    at = 0
    while at < len(found):
        start = _STATUS.match(found, at)
        end = found.find(b"\r\n\r\n", at)
        if start is None:
            return statuses, found[at:]
        statuses.append(int(start[1]))
        if end < 0:
            break
        at = _behind_body(found, found[at : end + 2], end + 4, statuses[-1])
    return statuses, b""


def _behind_body(found: bytes, head: bytes, at: int, status: int) -> int:
    """Return where the body that begins at a place ends, as its head says; or may end."""
    if status in _NO_BODY or found.startswith(b"HTTP/1.1 ", at):
        return at
    if length := _LENGTH.search(head):
        return at + int(length[1])
    if not _CHUNKED.search(head):
        return len(found)
    while chunk := _CHUNK.match(found, at):
        at = chunk.end() + int(chunk[1], 16) + 2
        if chunk[1] == b"0":
            return at
    return min(len(found), at)
