"""One connection: what is no request ends it, with an answer in the form of all others; nobody holds it by sending or reading slowly."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn

from taskflow import Client, Progress
from taskflow.api import connection
from taskflow.api.connection import MAX_PARAMETERS, MAX_WAITING
from taskflow.broker.progress import ProgressStream

LIVE = b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n"
CLOSING = b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
LogLines = Callable[[], list[dict[str, Any]]]


@asynccontextmanager
async def connected(url: str, limit: int = 1 << 20) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A bare connection, on which nothing may take longer than ten seconds."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=limit)
    try:
        async with asyncio.timeout(10):
            yield reader, writer
    finally:
        writer.close()


async def talk(url: str, *pieces: bytes) -> bytes:
    """Send pieces; return all that is answered until the server hangs up."""
    async with connected(url) as (reader, writer):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await reader.read()


def statuses(answers: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)]


@pytest.mark.parametrize(
    "request_",
    [
        POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
        POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}" + HIDDEN,
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
        POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
        POST + b"Content-Length : 2\r\n\r\n{}" + HIDDEN,
        b"GET http://x HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_what_is_no_request_is_refused_as_all_errors_are(
    serving: Any, log_lines: LogLines, request_: bytes
) -> None:
    async with serving() as (_, url):
        answer = await talk(url, request_)
        lines = log_lines()

    head, _, body = answer.partition(b"\r\n\r\n")
    assert statuses(answer) == [400]
    assert b"content-type: application/json" in head
    assert json.loads(body)["code"] == "INVALID_REQUEST"
    assert [line["address"] for line in lines if line["event"] == "request refused"] == ["127.0.0.1"]
    assert not [line for line in lines if line["event"] == "request"]


async def test_a_url_has_only_so_many_parameters(serving: Any) -> None:
    """What is made of them is remembered: a thousand URLs of 4,000 each took 300 MB for good."""
    request = b"GET /api/v1/tasks?%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    async with serving() as (_, url):
        assert statuses(await talk(url, request % b"&".join([b"a=1"] * MAX_PARAMETERS))) == [200]
        assert statuses(await talk(url, request % b"&".join([b"a=1"] * (MAX_PARAMETERS + 1)))) == [414]


async def test_requests_before_a_broken_one_are_answered(serving: Any) -> None:
    async with serving() as (_, url):
        assert statuses(await talk(url, LIVE + LIVE + b"\x00\r\n\r\n" + HIDDEN)) == [200, 200]


async def test_what_is_behind_an_upgrade_is_no_request(serving: Any, log_lines: LogLines) -> None:
    """Behind it another protocol would be spoken, which nobody here knows."""
    upgrade = b"GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    async with serving() as (_, url):
        assert statuses(await talk(url, upgrade + HIDDEN)) == [404]

    lines = log_lines()
    assert [line["path"] for line in lines if line["event"] == "request"] == ["/nothing"]
    assert not [line for line in lines if line["level"] == "warning"]


async def test_only_so_many_requests_wait_for_their_turn(serving: Any) -> None:
    """Thousands of them fit into one packet, and each takes memory. Whoever sends more is told where the answers end."""
    async with serving() as (_, url):
        answers = await talk(url, LIVE * 5_000)

    assert statuses(answers) == [200] * (MAX_WAITING + 1)
    assert answers.count(b"connection: close") == 1
    assert answers.rpartition(b"HTTP/1.1")[2].count(b"connection: close") == 1


async def test_a_client_that_leaves_while_requests_wait_is_no_error(
    serving: Any, client: Client, log_lines: LogLines, wait_until: Any
) -> None:
    await client.enqueue("demo", task_id="1")
    waiting = b"GET /api/v1/tasks/1/result?wait=100ms HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with serving() as (server, url):
        async with connected(url) as (_, writer):
            writer.write(waiting * 3)
            await wait_until(lambda: server.server_state.tasks)
        await wait_until(lambda: not server.server_state.tasks)
        lines = log_lines()

    assert not [line for line in lines if line["level"] != "info"]


async def test_a_viewer_that_leaves_while_a_request_waits_is_seen_to_leave(
    serving: Any, client: Client, wait_until: Any
) -> None:
    await client.enqueue("demo", task_id="1")
    async with serving() as (server, url):
        async with connected(url) as (reader, writer):
            writer.write(b"GET /api/v1/tasks/1/progress/stream HTTP/1.1\r\nHost: localhost\r\n\r\n" + LIVE)
            await reader.readuntil(b"\r\n\r\n")
            writer.write(LIVE)
        await wait_until(lambda: not server.server_state.tasks)


@pytest.mark.parametrize("rest", [b"\r\n", b"\r\n\r\nG", b"GET"])
async def test_a_line_end_does_not_keep_a_connection_open(serving: Any, rest: bytes) -> None:
    """Parsers skip line ends before a request: one of them stopped the clock of an idle connection for good."""
    async with serving(server__http__read_timeout="100ms") as (_, url), connected(url) as (reader, writer):
        writer.write(LIVE)
        await reader.readuntil(b'{"status":"alive"}')
        writer.write(rest)
        assert await reader.read() == b""


async def large(client: Client) -> bytes:
    """A request whose answer is too large for the buffers on the way."""
    entry = Progress(task_id="1", percentage=1, message="x" * 50_000)
    await ProgressStream(client.broker).publish_all([(entry, None)] * 400)
    return b"GET /api/v1/tasks/1/progress/history HTTP/1.1\r\nHost: localhost\r\n"


def connections(server: uvicorn.Server) -> Callable[[], bool]:
    return lambda: not server.server_state.connections


@pytest.mark.parametrize("end", [b"\r\n", b"Connection: close\r\n\r\n"])
async def test_a_client_that_does_not_read_its_answer_is_dropped(
    serving: Any, client: Client, monkeypatch: pytest.MonkeyPatch, log_lines: LogLines, wait_until: Any, end: bytes
) -> None:
    monkeypatch.setattr(connection, "SLOW_SECONDS", 0.1)
    request = await large(client)
    async with serving() as (server, url), connected(url, limit=1) as (reader, writer):
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(request + end)
        await wait_until(connections(server))
        assert "a client that does not read was dropped" in [line["event"] for line in log_lines()]


async def test_a_client_that_reads_slowly_gets_all(
    serving: Any, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SLOW_SECONDS", 0.2)
    request = await large(client)
    async with serving() as (_, url), connected(url, limit=1 << 16) as (reader, writer):
        writer.write(request + b"Connection: close\r\n\r\n")
        size = 0
        while data := await reader.read(1 << 20):
            size += len(data)
            await asyncio.sleep(0.02)

    assert size > 400 * 50_000
