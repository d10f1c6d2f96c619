"""The leash: what ties a child process to its supervisor. The child says on it when it is ready, and feels its end.

It is one end of a pair of sockets. When the supervisor is gone, whatever way it died, the child reads the end of the
stream, and stops in order.
"""

from __future__ import annotations

import os
import signal
import socket
import threading

READY = b"r"
RETIRED = 75
"""The exit code of a child that has reached a limit of its life, or was drained, and makes way for a fresh one (EX_TEMPFAIL: try again)."""
_GRACE = 10.0
"""How long (s) a child whose supervisor is gone may take to stop in order."""


class Leash:
    """The child's end.

    Args:
        fd: The inherited file descriptor, None for a process that nobody supervises.

    """

    def __init__(self, fd: int | None) -> None:
        self._socket = socket.socket(fileno=fd) if fd is not None else None
        if self._socket is not None:
            self._socket.set_inheritable(False)
            threading.Thread(target=self._hold, args=(self._socket,), name="taskflow leash", daemon=True).start()

    @property
    def held(self) -> bool:
        """Whether a supervisor holds the other end."""
        return self._socket is not None

    def ready(self) -> None:
        """Tell the supervisor that this process does its work now."""
        if self._socket is not None:
            self._socket.send(READY)

    @staticmethod
    def _hold(end: socket.socket) -> None:
        while _read(end):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(_GRACE)
        os._exit(1)


def _read(end: socket.socket) -> bytes:
    try:
        return end.recv(16)
    except OSError:
        return b""
