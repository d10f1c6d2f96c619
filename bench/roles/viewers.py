"""Viewers of one task each: some read all they are sent, some never read.

Answers: once when all are open; at the end of the input, how many events each reader has got, and how many sleepers were dropped.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import msgspec

from bench.roles import speech
from taskflow.cli import loop

_HOST = "127.0.0.1"


class Spec(msgspec.Struct, forbid_unknown_fields=True):
    """What to do: how many viewers of which tasks."""

    port: int
    task: str
    readers: int
    sleepers_task: str = ""
    sleepers: int = 0


class Reader(asyncio.Protocol):
    """A viewer that reads."""

    def __init__(self) -> None:
        self.events = 0
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        """Count the events; they come whole, but for a few that are cut in two."""
        self.events += data.count(b"\nevent: progress")
        if not self.opened.done():
            self.opened.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail, if it was never open."""
        if not self.opened.done():
            self.opened.set_exception(exc or ConnectionError("the server closed the connection"))


async def view(spec: Spec) -> None:
    """Keep the viewers open until the input ends."""
    running = asyncio.get_running_loop()
    readers: list[Reader] = []
    for _ in range(spec.readers):
        transport, reader = await running.create_connection(Reader, _HOST, spec.port)
        transport.write(_request(spec.task))
        readers.append(reader)
    sleepers = [_sleeper(spec) for _ in range(spec.sleepers)]
    await asyncio.gather(*(reader.opened for reader in readers))
    for reader in readers:
        reader.events = 0
    speech.answer(ready=True)
    ended = asyncio.Event()
    speech.at_end_of_input(ended.set)
    await ended.wait()
    speech.answer(events=[reader.events for reader in readers], dropped=sum(_is_dropped(each) for each in sleepers))


def _request(task: str, query: str = "") -> bytes:
    return f"GET /api/v1/tasks/{task}/progress/stream{query} HTTP/1.1\r\nHost: {_HOST}\r\n\r\n".encode()


def _sleeper(spec: Spec) -> socket.socket:
    """A viewer with more to come than fits into the buffers on the way."""
    each = socket.socket()
    each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    each.connect((_HOST, spec.port))
    each.sendall(_request(spec.sleepers_task, "?history=true"))
    return each


def _is_dropped(sleeper: socket.socket) -> bool:
    sleeper.setblocking(False)
    with sleeper:
        try:
            with suppress(BlockingIOError):
                while sleeper.recv(1 << 20):
                    pass
                return True
        except ConnectionError:
            return True
    return False


if __name__ == "__main__":
    loop.run(view(speech.read_spec(Spec)))
