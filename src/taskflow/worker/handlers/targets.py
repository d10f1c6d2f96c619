"""The handlers that the settings name: what services in other languages carry out.

`taskflow worker taskflow.worker.handlers.targets:app` serves them alone; every other worker serves them beside its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskflow.worker.registry import Registry

if TYPE_CHECKING:
    from taskflow.config import Settings


def register(registry: Registry, settings: Settings) -> None:
    """Let the services of the settings serve their types.

    Raises:
        ConfigError: Another handler serves a type, a setting cannot be used, or an extra is not installed.

    """
    if settings.http_targets:
        from taskflow.worker.handlers import http  # noqa: PLC0415 - imported where it is used

        http.register(registry, settings.http_targets)
    if services := settings.grpc_services.effective:
        from taskflow.worker.handlers import grpc_task  # noqa: PLC0415 - an extra

        grpc_task.register(registry, services)


app = Registry()
"""No handlers but those of the settings."""
