"""AuditLog: one line for each change that somebody asked for: what, of what, by whom, from where."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import structlog

from taskflow.config import mask_url
from taskflow.observability.json_lines import JsonLines

_LOG = structlog.get_logger("taskflow.audit")


class AuditLog:
    """Writes the lines, at the level info."""

    def __init__(self) -> None:
        self._lines = JsonLines()

    def add(self, action: str, facts: dict[str, object]) -> None:
        """Log a change. Called in the event loop.

        Args:
            action: What was done, such as `task deleted`.
            facts: What it was done to, and who asked: JSON values.

        """
        if not self._lines.in_use:
            _LOG.info(action, **facts)
        elif logging.getLogger().isEnabledFor(logging.INFO):
            known = {name: mask_url(fact) if isinstance(fact, str) else fact for name, fact in facts.items()}
            self._lines.add({"timestamp": datetime.now(UTC), "level": "info", "event": action, **known})
