"""Ports: which are free."""

from __future__ import annotations

import random
import socket
from collections.abc import Container

_QUIET = range(20_000, 32_000)
"""Where to look for any free port: systems take the ports of outgoing connections from above, so one found here stays free."""


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen on the port now; 0 always can."""
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError:
        return False
    return True


def free_port(host: str, first: int = 0, *, but: Container[int] = ()) -> int:
    """Return the first free port from `first` on (0: any free one) that is not among `but`.

    Raises:
        OSError: No port of this host can be used.

    """
    candidates = range(first, 65536) if first else random.sample(_QUIET, len(_QUIET))
    for port in candidates:
        if port not in but and is_free(host, port):
            return port
    raise OSError(f"{host} has no free port")


def listening(host: str, port: int, backlog: int) -> socket.socket:
    """Return a socket that listens; whoever inherits it can accept from it. Raises `OSError`."""
    (family, kind, protocol, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener
