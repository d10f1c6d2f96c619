"""Ports: which are free."""

from __future__ import annotations

import socket
from collections.abc import Container


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
    for port in range(first, 65536) if first else ():
        if port not in but and is_free(host, port):
            return port
    (family, kind, protocol, _, address), *_ = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    with socket.socket(family, kind, protocol) as probe:
        probe.bind(address)
        port = int(probe.getsockname()[1])
    return port if port not in but else free_port(host, port + 1, but=but)
