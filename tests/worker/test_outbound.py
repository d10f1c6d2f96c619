"""Outbound: requests to addresses that somebody else has named."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from support.receiver import Receiver, Reply, make_certificate, receiving
from support.topologies import free_ports
from taskflow.errors import TargetRefused, TargetUnreachable
from taskflow.worker.addresses import is_public
from taskflow.worker.outbound import Outbound, read_retry_after


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@asynccontextmanager
async def outbound(**arguments: Any) -> AsyncIterator[Outbound]:
    sender = Outbound(**{"allow_private": True, **arguments})
    try:
        yield sender
    finally:
        await sender.close()


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]
)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",  # noqa: S104 - it is refused
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",  # shared by the customers of a provider
        "100.100.100.200",  # a cloud's metadata
        "169.254.169.254",  # a cloud's metadata
        "168.63.129.16",  # a cloud's metadata, in a public range
        "192.0.0.192",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",  # a cloud's metadata
        "fec0::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:a00:1",
        "::127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b:1::a00:1",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
        "2001:db8::1",
        "no address",
        "",
    ],
)
def test_other_addresses_are_not(address: str) -> None:
    assert not is_public(address)


async def test_a_request_is_sent_and_its_answer_read(receiver: Receiver) -> None:
    receiver.reply_with(Reply(202, {"X-Note": "seen"}, b"thanks"))

    async with outbound() as sender:
        answer = await sender.request("POST", f"{receiver.url}/hook?a=b", headers={"X-Word": "wörd"}, body=b"{}")

    assert (answer.status, answer.ok, answer.headers["x-note"], answer.body) == (202, True, "seen", b"thanks")
    (request,) = receiver.requests
    assert (request.method, request.path, request.body) == ("POST", "/hook?a=b", b"{}")
    assert request.headers["host"] == receiver.url.removeprefix("http://")
    assert request.headers["content-length"] == "2"


async def test_connections_are_used_again(receiver: Receiver) -> None:
    async with outbound(connections=1) as sender:
        answers = await asyncio.gather(*(sender.request("POST", receiver.url, body=b"x") for _ in range(20)))

    assert all(answer.ok for answer in answers)
    assert len(receiver.requests) == 20


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",  # 127.0.0.1 as one number
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::]",
        "169.254.169.254",
        "10.0.0.1",
    ],
)
async def test_no_form_of_a_private_address_is_reached(host: str, receiver: Receiver) -> None:
    port = receiver.url.rpartition(":")[2]

    async with outbound(allow_private=False) as sender:
        with pytest.raises(TargetRefused, match="no address of the public internet"):
            await sender.request("POST", f"http://{host}:{port}/")

    assert receiver.requests == []


async def test_a_name_with_one_private_address_among_others_is_refused(receiver: Receiver) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["93.184.216.34", "127.0.0.1"]

    async with outbound(allow_private=False, resolve=resolve) as sender:
        with pytest.raises(TargetRefused, match=r"127\.0\.0\.1"):
            await sender.request("POST", "http://hooks.example.org/")


async def test_the_address_that_was_looked_up_is_the_one_that_is_called(receiver: Receiver) -> None:
    """Its name is asked for once: what it would say a moment later does not matter."""
    asked = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    port = receiver.url.rpartition(":")[2]
    async with outbound(resolve=resolve) as sender:
        answer = await sender.request("POST", f"http://hooks.example.org:{port}/")

    assert answer.ok
    assert asked == ["hooks.example.org"]
    assert receiver.requests[0].headers["host"] == f"hooks.example.org:{port}"


async def test_the_next_address_is_tried_where_nobody_listens(receiver: Receiver) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.2", "127.0.0.1"]  # it listens at the second alone

    port = receiver.url.rpartition(":")[2]
    async with outbound(resolve=resolve) as sender:
        assert (await sender.request("POST", f"http://hooks.example.org:{port}/")).ok


async def test_tls_verifies_the_name_and_not_the_address(tmp_path: Path) -> None:
    folder = make_certificate(tmp_path, "DNS:hooks.example.org")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    trusting = ssl.create_default_context(cafile=str(folder / "cert.pem"))

    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    with receiving(server) as receiver:
        port = receiver.url.rpartition(":")[2]
        async with outbound(resolve=resolve, tls=trusting) as sender:
            assert (await sender.request("POST", f"https://hooks.example.org:{port}/")).ok
            with pytest.raises(TargetUnreachable, match=r"(?i)certificate"):
                await sender.request("POST", f"https://other.example.org:{port}/")
        async with outbound(resolve=resolve) as sender:
            with pytest.raises(TargetUnreachable, match=r"(?i)certificate"):
                await sender.request("POST", f"https://hooks.example.org:{port}/")


async def test_redirects_are_not_followed(receiver: Receiver) -> None:
    receiver.reply_with(Reply(307, {"Location": f"{receiver.url}/elsewhere"}))

    async with outbound() as sender:
        answer = await sender.request("POST", receiver.url)

    assert (answer.status, answer.ok) == (307, False)
    assert [request.path for request in receiver.requests] == ["/"]


async def test_no_more_than_a_bounded_part_of_an_answer_is_read(receiver: Receiver) -> None:
    receiver.reply_with(Reply(200, body=b"x" * 5_000_000), Reply(200, {"Content-Length": "9999999999"}, b"y" * 100_000))

    async with outbound() as sender:
        first = await sender.request("POST", receiver.url, most=1000)
        second = await sender.request("POST", receiver.url, most=1000)
        third = await sender.request("POST", receiver.url, most=0)

    assert (first.body, second.body, third.body) == (b"x" * 1000, b"y" * 1000, b"")


async def test_the_environments_proxy_is_not_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")

    async with outbound() as sender:
        assert (await sender.request("POST", receiver.url)).ok


async def test_an_answer_that_does_not_come_in_time_is_given_up(receiver: Receiver) -> None:
    held = threading.Event()
    receiver.reply_with(Reply(hold=held))

    async with outbound(timeout=0.2) as sender:
        with pytest.raises(TargetUnreachable, match="no answer in time"):
            await sender.request("POST", receiver.url)
        held.set()
        assert (await sender.request("POST", receiver.url, timeout=10)).ok


async def test_where_nobody_listens_nothing_is_reached() -> None:
    (port,) = free_ports(1)

    async with outbound() as sender:
        with pytest.raises(TargetUnreachable):
            await sender.request("POST", f"http://127.0.0.1:{port}/")
        with pytest.raises(TargetUnreachable, match="cannot be resolved"):
            await sender.request("POST", "http://no-such-name.invalid/")


async def test_what_is_no_http_is_no_answer() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"220 mail.example.org ESMTP\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server, outbound() as sender:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(TargetUnreachable):
            await sender.request("POST", f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("url", ["ftp://example.org/", "http://user@127.0.0.1/", "//example.org"])
async def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    async with outbound() as sender:
        with pytest.raises(TargetRefused, match="must be an http or https URL"):
            await sender.request("POST", url)


@pytest.mark.parametrize("name", ["Bad\r\nName", "X"])
async def test_headers_cannot_smuggle_others(name: str, receiver: Receiver) -> None:
    async with outbound() as sender:
        with pytest.raises(TargetUnreachable):
            await sender.request("POST", receiver.url, headers={name: "a\r\nX-Other: b"})

    assert receiver.requests == []


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("120", timedelta(seconds=120)),
        (" 0 ", timedelta(0)),
        ("99999999999", timedelta(days=1)),
        ("Thu, 01 Jan 2026 00:01:00 GMT", timedelta(minutes=1)),
        ("Thu, 01 Jan 2026 00:01:00 -0000", timedelta(minutes=1)),
        ("Wed, 31 Dec 2025 00:00:00 GMT", timedelta(0)),
        ("Fri, 01 Jan 2027 00:00:00 GMT", timedelta(days=1)),
        ("-5", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("¹²", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, wait: timedelta | None) -> None:
    assert read_retry_after(value, 1767225600.0) == wait  # 2026-01-01 00:00:00 UTC
