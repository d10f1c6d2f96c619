"""The table of abuses, and what its rows are made of.

`MARK` stands in every request that must never be carried out, and `FORGED` in every text that would be a line of the log if it
could get there as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

MARK = "smuggled"
FORGED = "forged"
TASKS = b"/api/v1/tasks"
LINE = '\r\n{"timestamp":"2030-01-01T00:00:00Z","level":"error","event":"forged"}\r\n'
HOST = b"Host: 127.0.0.1\r\n"
JSON = b"Content-Type: application/json\r\n"
HIDDEN = b"GET /smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
TASK = b'{"type":"demo","payload":{}}'

Make = Callable[[Random], bytes]
TABLE: dict[str, tuple[Make, int]] = {}
"""Makes the abuses of a kind; the most answers that one may get."""


def kind(answers: int = 1) -> Callable[[Make], Make]:
    """Put a function into the table; `answers` is the most that its requests may get."""

    def put(make: Make) -> Make:
        TABLE[make.__name__.replace("_", " ")] = (make, answers)
        return make

    return put


def get(target: bytes, *headers: bytes) -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"".join(header + b"\r\n" for header in headers) + b"\r\n"


def post(body: bytes, *headers: bytes, path: bytes = TASKS, method: bytes = b"POST") -> bytes:
    lines = b"".join(header + b"\r\n" for header in headers)
    length = b"Content-Length: %d\r\n" % len(body)
    return method + b" " + path + b" HTTP/1.1\r\n" + HOST + JSON + length + lines + b"\r\n" + body


def framed(random: Random, framing: bytes, body: bytes) -> bytes:
    """A POST with a framing of its own, in front of a hidden request."""
    version = random.choice([b"1.1"] * 4 + [b"1.0"])
    return b"POST " + TASKS + b" HTTP/" + version + b"\r\n" + HOST + JSON + framing + b"\r\n" + body + HIDDEN
