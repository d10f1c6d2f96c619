"""RequestLog: one line for each HTTP request."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import structlog
from msgspec import Struct

from taskflow.config import mask_url
from taskflow.observability.json_lines import JsonLines

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
        self._lines = JsonLines()

    def add(self, method: str, path: str, status: int, seconds: float, request_id: str) -> None:
        """Log a request that was answered. Called in the event loop."""
        probe = path in _PROBES
        milliseconds = round(seconds * 1000, 3)
        if not self._lines.in_use:
            log = _LOG.debug if probe else _LOG.info
            log("request", method=method, path=path, status=status, duration_ms=milliseconds, request_id=request_id)
            return
        level = logging.DEBUG if probe else logging.INFO
        if not logging.getLogger().isEnabledFor(level):
            return
        name = "debug" if probe else "info"
        line = _Line(datetime.now(UTC), name, "request", method, mask_url(path), status, milliseconds, request_id)
        self._lines.add(line)
