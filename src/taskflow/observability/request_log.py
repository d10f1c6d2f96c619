"""RequestLog: one line for each HTTP request, at a tenth of the cost of a line through structlog's processors.

In the JSON format the lines of one turn of the event loop are encoded by msgspec and written at once; in the others they
go the usual way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from msgspec import Struct

from taskflow.config import mask_url
from taskflow.observability.logs import Labels, render_json

_LOG = structlog.get_logger("taskflow.api")
_PROBES = frozenset({"/health", "/ready", "/live", "/metrics"})


class _Line(Struct, frozen=True):
    timestamp: datetime
    level: str
    event: str
    method: str
    path: str
    status: int
    duration_ms: float
    request_id: str


class RequestLog:
    """Writes the lines. Probes are logged at the level debug, all else at info."""

    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder().encode
        self._lines: list[bytes] = []
        self._write: Callable[[bytes], Any] | None = None
        self._end = b"}"
        """How each line ends: with the labels of this installation."""
        self._known = False

    def add(self, method: str, path: str, status: int, seconds: float, request_id: str) -> None:
        """Log a request that was answered. Called in the event loop."""
        probe = path in _PROBES
        milliseconds = round(seconds * 1000, 3)
        if not self._known:
            self._write, self._end = _json_sink(), _end_of_lines()
            self._known = True
        if self._write is None:
            log = _LOG.debug if probe else _LOG.info
            log("request", method=method, path=path, status=status, duration_ms=milliseconds, request_id=request_id)
            return
        level = logging.DEBUG if probe else logging.INFO
        if not logging.getLogger().isEnabledFor(level):
            return
        name = "debug" if probe else "info"
        line = _Line(datetime.now(UTC), name, "request", method, mask_url(path), status, milliseconds, request_id)
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._flush)
        self._lines.append(self._encode(line)[:-1] + self._end)

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        if self._write is not None:
            self._write(b"\n".join(lines))


def _end_of_lines() -> bytes:
    """Return the labels that every line has, and the brace behind them."""
    found = [each.labels for each in structlog.get_config()["processors"] if isinstance(each, Labels)]
    return b"," + msgspec.json.encode(found[0])[1:] if found else b"}"


def _json_sink() -> Callable[[bytes], Any] | None:
    """Return what writes a line of JSON where all lines go; None if they are no JSON."""
    config = structlog.get_config()
    if config["processors"][-1] is not render_json:
        return None
    write: Callable[[bytes], Any] = config["logger_factory"]().msg
    return write
