"""Proxy: what a proxy in front of the API says of its clients, and the path that it has taken away."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from taskflow.api.protocol import ASGIApp, Message, Receive, Scope, Send, address_of, header

_HOST = re.compile(rb"[A-Za-z0-9.-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")
_SCHEMES = frozenset({b"http", b"https"})
_MOST_HOPS = 20
_REMEMBERED = 4096
_LONGEST = 64
"""The most characters of an address with its zone and port."""


def behind_proxies(app: ASGIApp, trusted: Sequence[str]) -> ASGIApp:
    """Believe the headers `X-Forwarded-For`, `-Proto` and `-Host` of requests that come from trusted addresses, and of no others."""
    is_trusted = _trust(trusted)

    async def forwarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and is_trusted(address_of(scope)):
            scope["client"] = (_client(scope, is_trusted), 0)
            if (proto := _last(header(scope, b"x-forwarded-proto"))) in _SCHEMES:
                scope["scheme"] = proto.decode()
            host = _last(header(scope, b"x-forwarded-host"))
            if _HOST.fullmatch(host):
                scope["headers"] = [*((n, v) for n, v in scope["headers"] if n != b"host"), (b"host", host)]
        await app(scope, receive, send)

    return forwarded


def at_root_path(app: ASGIApp, root: str) -> ASGIApp:
    """Answer as if the API stood under a path, which the proxy takes away before it passes a request on."""
    prefix = root.encode()

    async def with_root(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return

        async def send_with_root(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    (name, prefix + value if name == b"location" and value.startswith(b"/") else value)
                    for name, value in message["headers"]
                ]
            await send(message)

        inner = {**scope, "root_path": root, "path": root + scope["path"]}
        await app(inner, receive, send_with_root)
        if "path_template" in inner:  # the metrics name a request by it
            scope["path_template"] = inner["path_template"]

    return with_root


def _trust(trusted: Sequence[str]) -> Callable[[str], bool]:
    networks = [ipaddress.ip_network(name, strict=False) for name in trusted]

    @lru_cache(_REMEMBERED)
    def is_trusted(address: str) -> bool:
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in networks)

    return is_trusted


def _client(scope: Scope, is_trusted: Callable[[str], bool]) -> str:
    """Return the nearest address that is no trusted proxy: what stands left of it anybody may have written."""
    value = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
    client = address_of(scope)
    for part in reversed(value.decode("latin-1").split(",")[-_MOST_HOPS:]):
        address = _address(part.strip())
        if address is None:
            break
        client = address
        if not is_trusted(address):
            break
    return client


def _address(text: str) -> str | None:
    """Return the address in one place of the header, which may have a port."""
    return _read_address(text) if len(text) <= _LONGEST else None  # nobody may fill the memory of what was read


@lru_cache(_REMEMBERED)
def _read_address(text: str) -> str | None:
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def _last(value: bytes | None) -> bytes:
    return (value or b"").rpartition(b",")[2].strip()
