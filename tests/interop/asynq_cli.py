"""asynq's own command line tool, as tests run it: what it prints, read back."""

from __future__ import annotations

import asyncio
import re
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from datetime import UTC, datetime
from pathlib import Path

TIMEOUT = 15.0
"""How long (s) a command may take."""

Row = dict[str, str]
Table = list[Row]

_RULE = re.compile(r"-{2,}( +-{2,})* *")


def tables(text: str) -> list[Table]:
    """Return the tables in the tool's output: under each header a rule of dashes says where the columns begin."""
    lines = text.split("\n")
    found = []
    for number, line in enumerate(lines):
        if _RULE.fullmatch(line):
            starts = [match.start() for match in re.finditer(r"-+", line)]
            body = lines[number + 1 :]
            rows = body[: body.index("")] if "" in body else body
            names = _cells(lines[number - 1], starts)
            found.append([dict(zip(names, _cells(row, starts), strict=True)) for row in rows])
    return found


def _cells(line: str, starts: list[int]) -> list[str]:
    ends = [*starts[1:], len(line)]
    return [line[start:end].strip() for start, end in zip(starts, ends, strict=True)]


def moment(text: str) -> datetime:
    """A time as the tool prints it."""
    return datetime.strptime(text, "%a %b %d %H:%M:%S UTC %Y").replace(tzinfo=UTC)


def seconds(text: str) -> float:
    """The seconds in a Go duration such as `1h0m5s` or `850ms`."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)(h|ms|m|s)", text))


def address(url: str) -> str:
    """The test's server as the tools take it: a path is a unix socket. Of a cluster, some of its nodes."""
    return url.rpartition("://")[2].partition("?")[0]


def is_cluster(url: str) -> bool:
    return url.startswith("redis+cluster://")


class AsynqCli:
    """The tool on one Redis server.

    Args:
        program: Its path.
        url: The server's.
        home: A folder without settings of its user.

    """

    def __init__(self, program: Path, url: str, home: Path) -> None:
        where = ("--cluster", "--cluster_addrs") if is_cluster(url) else ("--uri",)
        self.command = (str(program), *where, address(url))
        self.environment = {"HOME": str(home), "TZ": "UTC", "TERM": "xterm"}

    async def __call__(self, *arguments: str) -> str:
        """Run a command that must succeed; return what it prints.

        Most of its commands print an error and exit with 0 all the same, so both are looked at.
        """
        code, text = await self.attempt(*arguments)
        assert code == 0, text
        assert not re.search("^error", text, re.MULTILINE), text
        return text

    async def attempt(self, *arguments: str) -> tuple[int, str]:
        """Run a command; return its exit code and all that it prints."""
        process = await asyncio.create_subprocess_exec(
            *self.command, *arguments, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, env=self.environment
        )
        async with asyncio.timeout(TIMEOUT):
            output, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode()

    async def tables(self, *arguments: str) -> list[Table]:
        """Run a command; return the tables it prints."""
        return tables(await self(*arguments))

    async def table(self, *arguments: str) -> Table:
        """Run a command that prints one table; return its rows."""
        (found,) = await self.tables(*arguments)
        return found
