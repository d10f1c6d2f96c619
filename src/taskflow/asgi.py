"""The whole web side as one ASGI application: to serve with `serve`, or to mount in another application."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Generator

import uvicorn

from taskflow.api.app import create_api
from taskflow.api.connection import protocol
from taskflow.api.hosts import known_hosts
from taskflow.api.protocol import ASGIApp
from taskflow.application.service import TaskService
from taskflow.config import Settings
from taskflow.errors import ConfigError

KEEP_ALIVE_SECONDS = 75
"""How long an idle connection is kept: longer than the 60 s that load balancers use by default."""
SHUTDOWN_SECONDS = 5
"""How long requests may go on after the word to stop."""
BACKLOG = 2048


def create_app(settings: Settings, *, redis_url: str | None = None) -> ASGIApp:
    """Return the API and the dashboard as one ASGI application.

    Args:
        settings: All settings.
        redis_url: Where Redis is, if not where the settings say.

    Raises:
        ConfigError: The URL cannot be used.

    """
    return _create(settings, redis_url, asyncio.Event())


def _create(settings: Settings, redis_url: str | None, closing: asyncio.Event) -> ASGIApp:
    beside = None
    if settings.dashboard.enabled:
        from taskflow.dashboard.router import dashboard  # noqa: PLC0415 - Jinja2 only where pages are made of it

        beside = dashboard()
    return create_api(TaskService.connect(settings, redis_url), settings, closing=closing, beside=beside)


def serve(settings: Settings, *, redis_url: str | None = None, handle_signals: bool = True) -> uvicorn.Server:
    """Return a server for the application, ready for `await server.serve()`; `should_exit = True` stops it.

    It listens where `server.http` says. When it stops, open event streams end at once, other requests within 5 seconds.

    Args:
        settings: All settings.
        redis_url: Where Redis is, if not where the settings say.
        handle_signals: Stop at SIGINT and SIGTERM. False leaves the signals to the caller.

    Raises:
        ConfigError: The address is public although the API has no keys, or the Redis URL cannot be used.

    """
    http = settings.server.http
    check_address(settings)
    closing = asyncio.Event()
    app = _create(settings, redis_url, closing)
    if not (settings.api.auth.enabled or settings.api.auth.disabled):
        app = known_hosts(app, http.hosts)
    config = uvicorn.Config(
        app,
        host=http.host,
        port=http.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        http=protocol(http.read_timeout.total_seconds()),
        ws="none",
        lifespan="on",
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    return _Server(config, closing, handle_signals=handle_signals)


def check_address(settings: Settings) -> None:
    """Refuse to serve an API without keys to the world.

    Raises:
        ConfigError: `server.http.host` is not an address of this machine alone, there are no keys, and `api.auth.disabled` is
            not set.

    """
    host, auth = settings.server.http.host, settings.api.auth
    if not (auth.enabled or auth.disabled or _is_loopback(host)):
        raise ConfigError(
            f"server.http.host is {host!r}: everybody who reaches this address could use the API, as it has no keys. "
            "Use 127.0.0.1; or make keys (taskflow keys new) and name them in api.auth.keys or api.auth.key_file; "
            "or set api.auth.disabled to true if something in front of it checks who comes"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class _Server(uvicorn.Server):
    """uvicorn, which tells event streams to end before it waits for them."""

    def __init__(self, config: uvicorn.Config, closing: asyncio.Event, *, handle_signals: bool) -> None:
        super().__init__(config)
        self._closing = closing
        self._handle_signals = handle_signals

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop."""
        self._closing.set()
        await super().shutdown(sockets=sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals alone if told so."""
        if self._handle_signals:
            with super().capture_signals():
                yield
        else:
            yield
