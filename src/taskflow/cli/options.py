"""The global options, and the settings that follow from them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

if TYPE_CHECKING:
    from taskflow.config import Settings


class Options(NamedTuple):
    """The global options as they were given; None: not given."""

    config: Path | None
    redis_url: str | None
    log_level: str | None

    def settings(self, overrides: Mapping[str, object] | None = None) -> Settings:
        """Return the settings, with these options and a command's own (dotted name to value) on top.

        Raises:
            ConfigError: Something cannot be used; the message has a line for each problem.

        """
        from taskflow.config import load_settings

        given = {"redis.url": self.redis_url, "logging.level": self.log_level}
        return load_settings(self.config, overrides={**given, **(overrides or {})})

    def export(self) -> None:
        """Put the options into the environment: for a user's module, which reads settings itself, and for children."""
        values = {
            "TASKFLOW_CONFIG": self.config and str(self.config.resolve()),
            "TASKFLOW_REDIS_URL": self.redis_url,
            "TASKFLOW_LOGGING_LEVEL": self.log_level,
        }
        os.environ.update({name: value for name, value in values.items() if value})


def options_of(ctx: typer.Context) -> Options:
    """Return the global options of a command's context."""
    options: Options = ctx.find_root().obj
    return options


def start_logging(settings: Settings) -> None:
    """Send the log lines of this process where the settings say."""
    import sys

    from taskflow.observability.logs import configure_logging

    stream = sys.stdout if settings.logging.output == "stdout" else sys.stderr
    configure_logging(settings.log_level, settings.logging.format, stream, labels=settings.app.labels)
