"""What arrives is bounded: URL, headers, body, depth and numbers. The server goes on serving others."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from taskflow.api.bodies import MAX_DEPTH
from taskflow.api.connection import MAX_HEAD, MAX_URL

TASKS = "/api/v1/tasks"
GET = b"GET /live HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = b"POST /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


async def exchange(url: str, *pieces: bytes) -> bytes:
    """Send pieces, as far as the server takes them; return all that it answers until it hangs up."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        async with asyncio.timeout(10):
            try:
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                return await reader.read()
            except ConnectionError:
                return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ([b"GET /" + b"x" * (MAX_URL + 1) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"], b"414"),
        ([b"GET /" + b"x" * 10_000] + [b"x" * 10_000] * 10, b"414"),
        ([GET + b"A: " + b"x" * MAX_HEAD + b"\r\n\r\n"], b"431"),
        ([GET + b"A: 1\r\n" * (MAX_HEAD // 2) + b"\r\n"], b"431"),
        ([GET + b"A: "] + [b"x" * 10_000] * 10, b"431"),
    ],
    ids=["url", "endless url", "header", "many headers", "endless header"],
)
async def test_a_large_head_is_refused(serving: Any, pieces: list[bytes], status: bytes) -> None:
    async with serving() as (_, url), httpx.AsyncClient(base_url=url) as http:
        answer = await exchange(url, *pieces)
        assert (await http.get("/live")).status_code == 200

    assert not answer or answer.startswith(b"HTTP/1.1 " + status)


async def test_a_head_within_the_bounds_is_taken(serving: Any) -> None:
    head = GET + b"A: " + b"x" * (MAX_HEAD - 1000) + b"\r\nConnection: close\r\n\r\n"
    async with serving() as (_, url):
        assert (await exchange(url, head)).startswith(b"HTTP/1.1 200")
        assert (await exchange(url, *[head[at : at + 5000] for at in range(0, len(head), 5000)])).startswith(
            b"HTTP/1.1 200"
        )


async def test_endless_trailers_are_refused(serving: Any) -> None:
    async with serving() as (_, url), httpx.AsyncClient(base_url=url) as http:
        answer = await exchange(url, CHUNKED + b"2\r\n{}\r\n0\r\nA: ", *[b"x" * 10_000] * 30)
        assert (await http.get("/live")).status_code == 200

    assert b"200" not in answer


async def test_a_body_is_counted_while_it_arrives(serving: Any) -> None:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    async with serving(server__http__body_limit=100_000, server__http__read_timeout="2s") as (_, url):
        tracemalloc.start()
        answer = await exchange(url, CHUNKED, *[chunk] * 500)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

    assert not answer or answer.startswith(b"HTTP/1.1 413")
    assert peak < 8_000_000  # of 32 MB that were sent


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 990, 100_000])
@pytest.mark.parametrize("form", ["task", "batch", "schedule"])
async def test_a_payload_that_is_nested_too_deep_is_refused(http_with: Any, depth: int, form: str) -> None:
    task = f'{{"type": "demo", "payload": {nested(depth)}}}'
    schedule = f'{{"type": "demo", "payload": {nested(depth)}, "spec": "@hourly", "id": "s"}}'
    path, body = {
        "task": (TASKS, task),
        "batch": (f"{TASKS}/batch", f'{{"tasks": [{task}]}}'),
        "schedule": ("/api/v1/schedules", schedule),
    }[form]

    async with http_with(api__allow_types="*") as http:
        answer = await http.post(path, content=body, headers={"Content-Type": "application/json"})

    if form == "batch" and answer.status_code == 200:
        assert answer.json()["results"][0]["code"] == "INVALID_PAYLOAD"
    else:
        assert answer.status_code == 400


@pytest.mark.parametrize(
    "payload", [nested(MAX_DEPTH), json.dumps(["[{" * 500, '\\"[[['] * 100), json.dumps([[]] * 500)]
)
async def test_what_is_long_but_not_deep_is_taken(http_with: Any, payload: str) -> None:
    body = f'{{"type": "demo", "task_id": "1", "payload": {payload}}}'

    async with http_with(api__allow_types="*") as http:
        made = await http.post(TASKS, content=body, headers={"Content-Type": "application/json"})
        read = await http.get(f"{TASKS}/1")

    assert made.status_code == 201
    assert read.json()["payload"] == json.loads(payload)


@pytest.mark.parametrize("number", ["1e400", "1" * 5000, "-1", "1.5", "1e30", "NaN"])
async def test_a_number_out_of_range_is_refused(http_with: Any, number: str) -> None:
    body = f'{{"type": "demo", "payload": 1, "max_retries": {number}}}'

    async with http_with(api__allow_types="*") as http:
        answer = await http.post(TASKS, content=body, headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST")
