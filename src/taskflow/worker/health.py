"""HealthServer: /health, /ready and /live of a worker, on a port and a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

Check = Callable[[], str | None]
"""Returns None, or the reason why the worker cannot work."""


class HealthServer:
    """Answers probes, also while the event loop is blocked.

    Args:
        host: Address to listen on.
        port: Port, 0 for a free one.
        ready: Returns None, or why the worker takes no tasks.
        redis: Returns None, or why Redis counts as unreachable.

    Raises:
        OSError: The port is taken.

    """

    def __init__(self, host: str, port: int, *, ready: Check, redis: Check) -> None:
        self._server = ThreadingHTTPServer((host, port), _make_handler(ready, redis))
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="taskflow health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


def _make_handler(ready: Check, redis: Check) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 5
        server_version = "TaskFlow"
        sys_version = ""

        def do_GET(self) -> None:
            answers = {"/health": self._health, "/ready": self._ready, "/live": self._live}
            answer = answers.get(self.path.partition("?")[0])
            if answer is None:
                self._send(404, {"error": "not found; try /health, /ready or /live", "code": "NOT_FOUND"})
            else:
                answer()

        def _health(self) -> None:
            reason = redis()
            body = {
                "status": "healthy" if reason is None else "unhealthy",
                "timestamp": datetime.now(UTC).isoformat(),
                "services": {"redis": "healthy" if reason is None else "unhealthy"},
            }
            self._send(200 if reason is None else 503, body)

        def _ready(self) -> None:
            reason = ready()
            if reason is None:
                self._send(200, {"status": "ready"})
            else:
                self._send(503, {"status": "not ready", "reason": reason})

        def _live(self) -> None:
            self._send(200, {"status": "alive"})

        def _send(self, status: int, body: dict[str, Any]) -> None:
            data = msgspec.json.encode(body)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Log nothing: probes come every few seconds."""

    return Handler
