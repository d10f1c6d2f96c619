"""Hosts: which names a server without keys answers to.

Whoever owns a name can let it lead to 127.0.0.1 (DNS rebinding): then his pages and this server are one origin to a browser,
and nothing else tells them apart. An address, or `localhost`, is nobody's to give away.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from taskflow.api.errors import body_of
from taskflow.api.middleware import respond
from taskflow.api.protocol import ASGIApp, Receive, Scope, Send, header
from taskflow.errors import TaskFlowError

_SHOWN = 100


class UnknownHost(TaskFlowError):
    """The request is for a host that this server does not know as itself."""

    status = 421
    code = "UNKNOWN_HOST"

    def __init__(self, host: str) -> None:
        super().__init__(
            f"this server has no API keys, so it answers to addresses and localhost alone, not to {host[:_SHOWN]!r}; "
            "name it in server.http.hosts, or make keys (taskflow keys new)"
        )
        self.host = host


def known_hosts(app: ASGIApp, names: Sequence[str]) -> ASGIApp:
    """Answer only requests for an address, for `localhost`, or for one of the names."""
    known = {name.lower() for name in names}

    async def for_known_hosts(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            host = (header(scope, b"host") or b"").decode("latin-1")
            if host and not is_known(host, known):
                error = UnknownHost(host)
                await respond(send, error.status, body_of(error))
                return
        await app(scope, receive, send)

    return for_known_hosts


def is_known(host: str, names: set[str]) -> bool:
    """Whether the value of a header `Host` is an address, `localhost`, or one of the names; a port does not matter."""
    name, _, port = host.rpartition(":")
    if not port.isdigit():
        name = host
    name = name.lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost") or name in names:
        return True
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
