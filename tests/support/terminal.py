"""A program in a terminal of its own: what its screen shows, and keys for it."""

from __future__ import annotations

import asyncio
import codecs
import fcntl
import os
import pty
import re
import struct
import sys
import termios
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from support.waiting import wait_until

_TIMEOUT = 10.0
_TAKE_CONTROL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
_IN_CONTROL = (sys.executable, "-IS", "-c", _TAKE_CONTROL)
"""Starts a program whose controlling terminal, `/dev/tty`, is its standard input."""
_SEQUENCE = re.compile(r"\x1b(?:\[(?P<numbers>[?>\d;]*)(?P<verb>[@-~])|[()].|\][^\x07]*\x07|[=>78M])")


class Screen:
    """What a screen shows after the output of a program for xterm; colours and modes are left out."""

    def __init__(self, rows: int, columns: int) -> None:
        self._size = (rows, columns)
        self._row = self._column = 0
        self._rest = ""
        self._clear()

    @property
    def text(self) -> str:
        """The lines, without trailing spaces."""
        return "\n".join("".join(line).rstrip() for line in self._lines)

    def feed(self, text: str) -> None:
        """Take output; a sequence may come in parts."""
        text, self._rest = self._rest + text, ""
        position = 0
        while position < len(text):
            if text[position] == "\x1b":
                sequence = _SEQUENCE.match(text, position)
                if sequence is None:
                    self._rest = text[position:]
                    return
                self._obey(
                    sequence["verb"], [int(number or 0) for number in re.findall(r"\d+", sequence["numbers"] or "")]
                )
                position = sequence.end()
            else:
                self._print(text[position])
                position += 1

    def _clear(self) -> None:
        rows, columns = self._size
        self._lines = [[" "] * columns for _ in range(rows)]

    def _print(self, letter: str) -> None:
        if letter == "\r":
            self._column = 0
        elif letter == "\n":
            self._row = min(self._row + 1, self._size[0] - 1)
        elif letter == "\b":
            self._column = max(self._column - 1, 0)
        elif letter >= " " and self._column < self._size[1]:
            self._lines[self._row][self._column] = letter
            self._column += 1

    def _obey(self, verb: str | None, numbers: list[int]) -> None:
        first, second = [*numbers, 0, 0][:2]
        if verb == "H":
            self._row, self._column = max(first, 1) - 1, max(second, 1) - 1
        elif verb == "J":
            self._clear()
        elif verb == "K":
            line = self._lines[self._row]
            line[self._column :] = [" "] * (len(line) - self._column)


class Terminal:
    """A running program with a screen."""

    def __init__(self, fd: int, process: Process, screen: Screen) -> None:
        self._fd = fd
        self._process = process
        self.screen = screen

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._fd, keys.encode())

    async def shows(self, *texts: str) -> str:
        """Wait until the screen shows all of these; return all that it shows."""
        try:
            await wait_until(lambda: all(text in self.screen.text for text in texts), _TIMEOUT)
        except AssertionError:
            raise AssertionError(f"the screen does not show {texts}:\n{self.screen.text}") from None
        return self.screen.text

    async def ends(self) -> int:
        """Wait for the program's end; return its exit code."""
        async with asyncio.timeout(_TIMEOUT):
            return await self._process.wait()


@asynccontextmanager
async def in_a_terminal(
    *command: str, environment: Mapping[str, str], rows: int = 40, columns: int = 120
) -> AsyncIterator[Terminal]:
    """Run a program in a terminal; it is killed at the end if it still runs."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = await asyncio.create_subprocess_exec(
        *_IN_CONTROL,
        *command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=dict(environment),
        start_new_session=True,
    )
    os.close(theirs)
    screen = Screen(rows, columns)
    loop = asyncio.get_running_loop()
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def read() -> None:
        data = b""
        with suppress(OSError):  # the program has ended
            data = os.read(ours, 65536)
        if not data:
            loop.remove_reader(ours)
        screen.feed(decoder.decode(data))

    loop.add_reader(ours, read)
    try:
        yield Terminal(ours, process, screen)
    finally:
        loop.remove_reader(ours)
        os.close(ours)
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
