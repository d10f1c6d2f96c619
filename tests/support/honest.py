"""A client that asks for nothing special, and looks at each answer: `python honest.py PORT`.

It creates tasks and reads them back, on a connection that it keeps and on fresh ones, until its input ends. Then it prints what it
has seen: how many requests, what was wrong with their answers, and how long each took (s).
"""

from __future__ import annotations

import json
import select
import sys
import time
from http.client import HTTPConnection, HTTPException
from typing import Any

PAUSE = 0.01
"""Time (s) between two requests."""
FRESH = 10
"""Each so many tasks have connections of their own."""


class Honest:
    """The client, and what it has seen."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._kept = HTTPConnection("127.0.0.1", port, timeout=30)
        self.took: list[float] = []
        self.wrong: list[str] = []

    def make_and_read(self, number: int) -> None:
        """Create a task, and read it."""
        name, secret = f"honest-{number}", f"secret {number}"
        connection = self._kept if number % FRESH else HTTPConnection("127.0.0.1", self._port, timeout=30)
        body = {"type": "demo", "task_id": name, "payload": {"secret": secret}}
        made = self._ask(connection, "POST", "/api/v1/tasks", f"{name}-made", 201, body)
        read = self._ask(connection, "GET", f"/api/v1/tasks/{name}", f"{name}-read", 200)
        if made.get("task_id") != name or read.get("id") != name or read.get("payload") != {"secret": secret}:
            self.wrong.append(f"{name}: {made} {read}")
        if connection is not self._kept:
            connection.close()

    def _ask(
        self, connection: HTTPConnection, method: str, path: str, name: str, status: int, body: Any = None
    ) -> dict[str, Any]:
        headers = {"X-Request-ID": name, "Content-Type": "application/json"}
        started = time.perf_counter()
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            found: dict[str, Any] = json.loads(answer.read())
        except (HTTPException, OSError, ValueError) as error:
            connection.close()
            self.wrong.append(f"{name}: {error!r}")
            return {}
        self.took.append(time.perf_counter() - started)
        if (answer.status, answer.headers["X-Request-ID"]) != (status, name):
            self.wrong.append(f"{name}: {answer.status} {answer.headers['X-Request-ID']} {found}")
        return found


def main(port: str) -> None:
    """Ask until the input ends."""
    honest = Honest(int(port))
    number = 0
    while not select.select([sys.stdin], [], [], PAUSE)[0]:
        honest.make_and_read(number)
        number += 1
    print(json.dumps({"took": honest.took, "wrong": honest.wrong}))  # noqa: T201 - whoever started it reads this


if __name__ == "__main__":
    main(*sys.argv[1:])
