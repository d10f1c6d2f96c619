"""Outbound: sends HTTP requests to addresses that somebody else has named, without being led to where it must not go.

The name is resolved once, every address it has is checked, and the connection is made to a checked address, so that a name
cannot point elsewhere a moment later. TLS verifies the name nevertheless. Redirects are not followed, proxies of the
environment are not used, and no more than a bounded part of an answer is read, as it is: nothing is decompressed.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from msgspec import Struct

from taskflow.errors import ConfigError, TargetRefused, TargetUnreachable
from taskflow.urls import HttpUrl
from taskflow.worker.addresses import is_public

try:
    import httpcore
except ImportError as error:
    raise ConfigError("sending HTTP requests needs the extra http: pip install 'taskflow-queue[http]'") from error

TIMEOUT = 10.0
"""How long (s) a request may take in all, from the look-up of the name to the last byte of the answer that is read."""
CONNECT_TIMEOUT = 3.0
"""How long (s) one address may take to accept a connection, if there are others to try."""
MOST_ADDRESSES = 4
MOST_OF_BODY = 64 * 1024
"""How many bytes of an answer are read at most."""
LONGEST_RETRY_AFTER = timedelta(days=1)
_IDLE_CONNECTIONS = 20
_IDLE = 5.0
"""How many connections are kept for further requests, and for how long (s)."""

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Returns the addresses of a name, for a port. Raises `OSError` if there are none."""


class Answer(Struct, frozen=True):
    """What a target answered: the names of the headers are in lower case, `body` is cut where the bound was reached."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def ok(self) -> bool:
        """Whether the status says success: 200 to 299."""
        return 200 <= self.status < 300  # noqa: PLR2004 - HTTP's classes of status

    def retry_after(self, now: float) -> timedelta | None:
        """Return for how long from now (Unix s) the target asks to be left alone, at most a day; None if it does not say."""
        return read_retry_after(self.headers.get("retry-after"), now)


class Outbound:
    """Sends requests; it keeps connections, so use it in one event loop and close it.

    Args:
        allow_private: Send to any address, also to this machine and the networks it is in.
        timeout: See `TIMEOUT`.
        connections: How many may be open at once; more requests wait.
        tls: How certificates are verified. Default: by the system's authorities (`SSL_CERT_FILE` names others).
        resolve: Looks names up. Default: the system does.
        connect_timeout: How long (s) the last or only address of a name may take to accept a connection. Default: as long as the
            whole request.

    """

    def __init__(
        self,
        *,
        allow_private: bool = False,
        timeout: float = TIMEOUT,
        connections: int = 100,
        tls: ssl.SSLContext | None = None,
        resolve: Resolve | None = None,
        connect_timeout: float | None = None,
    ) -> None:
        self._timeout = timeout
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls or ssl.create_default_context(),
            max_connections=connections,
            max_keepalive_connections=_IDLE_CONNECTIONS,
            keepalive_expiry=_IDLE,
            network_backend=_Guarded(resolve or _resolve, allow_private=allow_private, patience=connect_timeout),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.aclose()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout: float | None = None,
        most: int = MOST_OF_BODY,
    ) -> Answer:
        """Send a request and return the answer, whatever its status.

        Args:
            method: `POST`, `GET`…
            url: Where to; see `HttpUrl` for what it may look like.
            headers: Sent with it; `Host` and `Content-Length` are added.
            body: Sent with it.
            timeout: See `TIMEOUT` (s). Default: this object's.
            most: How many bytes of the answer's body are read at most.

        Raises:
            TargetRefused: The URL cannot be used, or its host has an address that must not be called: trying again is no use.
            TargetUnreachable: There is no such name, nobody answers (in time), or what comes is no HTTP.

        """
        target = _target(url)
        sent = [(name.encode("latin-1", "replace"), value.encode()) for name, value in (headers or {}).items()]
        try:
            async with (
                asyncio.timeout(self._timeout if timeout is None else timeout),
                self._pool.stream(method, target, headers=sent, content=body) as response,
            ):
                return Answer(response.status, _headers(response.headers), await _read(response, most))
        except TimeoutError:
            raise TargetUnreachable(url, "no answer in time") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, ssl.SSLError) as error:
            raise TargetUnreachable(url, f"{type(error).__name__}: {error}".removesuffix(": ")) from error


def _target(url: str) -> httpcore.URL:
    try:
        parts = HttpUrl.parse(url)
    except ValueError as error:
        raise TargetRefused(url, str(error)) from None
    return httpcore.URL(scheme=parts.scheme, host=parts.host, port=parts.port, target=parts.target)


def _headers(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in pairs}


async def _read(response: httpcore.Response, most: int) -> bytes:
    """Return the first bytes of an answer's body; what is beyond is left to the closing of its connection."""
    body = bytearray()
    if most > 0:
        async for part in response.aiter_stream():
            body += part
            if len(body) >= most:
                break
    return bytes(body[:most])


def read_retry_after(value: str | None, now: float) -> timedelta | None:
    """Return the wait that a `Retry-After` header asks for at a time (Unix s): seconds or a date; at most a day.

    None if there is none, or one that cannot be read. Source: RFC 9110, 10.2.3.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return min(timedelta(seconds=int(text[:9])), LONGEST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    wait = moment - datetime.fromtimestamp(now, UTC)
    return min(max(wait, timedelta(0)), LONGEST_RETRY_AFTER)


async def _resolve(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class _Guarded(httpcore.AsyncNetworkBackend):
    """Connects to the addresses of a host only if all of them may be reached."""

    def __init__(self, resolve: Resolve, *, allow_private: bool, patience: float | None) -> None:
        self._resolve = resolve
        self._allow_private = allow_private
        self._patience = patience
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the whole request has one
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to a host, trying its addresses in turn."""
        addresses = await self._addresses(host, port)
        for address in addresses[:-1]:
            try:
                return await self._backend.connect_tcp(address, port, CONNECT_TIMEOUT, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._backend.connect_tcp(addresses[-1], port, self._patience, local_address, socket_options)

    async def _addresses(self, host: str, port: int) -> list[str]:
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"the name {host!r} cannot be resolved") from error
        if not self._allow_private:
            for address in addresses:
                if not is_public(address):
                    raise TargetRefused(host, f"{address} is no address of the public internet")
        return addresses[:MOST_ADDRESSES]
