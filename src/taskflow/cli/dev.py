"""`taskflow dev`: a store, the API and a worker in one command."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taskflow.cli.options import options_of, start_logging

if TYPE_CHECKING:
    from taskflow.cli.supervisor import Part
    from taskflow.config import Settings

DEMO = "taskflow.worker.handlers.demo:app"
_SHUTDOWN_TIMEOUT = "3s"
"""How long running tasks may go on after Ctrl-C; then they go back to their queues, where the next start finds them."""
_GRACE = 8.0
"""Seconds that the processes may take to stop; with the store's own end, all is gone within 10 s."""
_OWN_SERVER = ("redis.url", "redis.addr", "redis.username", "redis.password", "redis.db", "redis.tls")
"""Whoever sets one of these has a Redis server in mind."""


def dev(
    ctx: typer.Context,
    target: Annotated[
        str, typer.Argument(metavar="MODULE:APP", help="Your TaskFlow object.", show_default="the demo handler")
    ] = DEMO,
    *,
    port: Annotated[
        int | None,
        typer.Option(metavar="PORT", help="The API's port; 0 takes a free one.", show_default="8080 or the next free"),
    ] = None,
    redis_port: Annotated[int, typer.Option(metavar="PORT", help="The store's port; 0 takes a free one.")] = 0,
    data_dir: Annotated[Path, typer.Option(metavar="DIR", help="Where the store keeps tasks over restarts.")] = Path(
        ".taskflow"
    ),
    no_worker: Annotated[
        bool, typer.Option("--no-worker", help="Store and API only; start a worker yourself.")
    ] = False,
    reload: Annotated[
        bool, typer.Option("--reload", help="Restart when a Python file below the working directory changes.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the addresses as one line of JSON.")] = False,
) -> None:
    """Start a store, the API and a worker with a scheduler, and say where they are. Ctrl-C ends them all.

    The store is a private Valkey or Redis server whose tasks outlive a restart (in .taskflow/). Where the settings name a
    Redis server, or --redis-url does, that one is used.

    \b
    Examples:
      taskflow dev                       with the demo handler
      taskflow dev tasks:app --reload    with your own handlers, restarted at every change
      taskflow dev --port 9000 --no-worker
      taskflow dev --redis-url redis://127.0.0.1:6379/0
    """  # noqa: D301 - \b marks lines that help must not fold
    from taskflow.cli.banner import Addresses, print_banner

    if reload:
        _check_can_reload()
    options = options_of(ctx)
    settings = options.settings()
    options.export()
    start_logging(settings)
    http, health = settings.server.http, settings.server.worker.health
    api_port = _api_port(settings, port)
    health_port = _next_free(health.host, health.port, api_port, "the worker's health") if health.enabled else None
    with ExitStack() as stack:
        own = None if _names_server(settings) else _start_store(stack, data_dir, redis_port)
        addresses = Addresses(
            api=f"http://{_reachable(http.host)}:{api_port}",
            dashboard=settings.dashboard.enabled,
            health=f"http://{_reachable(health.host)}:{health_port}" if health_port and not no_worker else None,
            redis=own or settings.redis.effective_url,
            target=None if no_worker else target,
            own_store=own is not None,
        )
        parts = _parts(api_port, None if no_worker else target, health_port, own)
        _supervise(parts, Path.cwd() if reload else None, lambda: print_banner(addresses, as_json=as_json))


def _check_can_reload() -> None:
    from importlib.util import find_spec

    from taskflow.errors import ConfigError

    if find_spec("watchfiles") is None:
        raise ConfigError("--reload needs the package watchfiles: pip install 'taskflow-queue[api]'")


def _supervise(parts: list[Part], reload: Path | None, announce: Callable[[], None]) -> None:
    import asyncio

    from taskflow.cli.supervisor import Supervisor

    asyncio.run(Supervisor(parts, grace=_GRACE, on_ready=announce, reload=reload).run())


def _parts(api_port: int, target: str | None, health_port: int | None, own: str | None) -> list[Part]:
    """The command lines of the processes; `own` is the URL of the store that this command started."""
    from taskflow.cli.supervisor import Part

    store = ["--redis-url", own] if own else []
    parts = [Part("API", [*store, "api", "--port", str(api_port)])]
    if target is not None:
        health = ["--health-port", str(health_port)] if health_port else []
        options = ["--with-scheduler", "--shutdown-timeout", _SHUTDOWN_TIMEOUT, *health]
        parts.append(Part("worker", [*store, "worker", target, *options]))
    return parts


def _names_server(settings: Settings) -> bool:
    from taskflow.config import describe

    named = any(setting.name in _OWN_SERVER and setting.source != "default" for setting in describe(settings))
    return named and not settings.redis.embedded


def _start_store(stack: ExitStack, data_dir: Path, port: int) -> str:
    """Start a server that is stopped with the stack, and return its URL."""
    from taskflow.broker.embedded import EmbeddedServer

    return stack.enter_context(EmbeddedServer(data_dir, port=port)).url


def _api_port(settings: Settings, asked: int | None) -> int:
    """The API's port: the one that was asked for, else the settings' or the next that is free.

    Raises:
        ConfigError: The port that was asked for is taken.

    """
    from taskflow.cli.ports import free_port, is_free
    from taskflow.errors import ConfigError

    host = settings.server.http.host
    if asked is None:
        return _next_free(host, settings.server.http.port, 0, "the API")
    if not is_free(host, asked):
        raise ConfigError(f"port {asked} of {host} is taken; choose another with --port, or 0 for any free one")
    return asked or free_port(host)


def _next_free(host: str, port: int, but: int, what: str) -> int:
    from taskflow.cli.ports import free_port

    found = free_port(host, port, but={but})
    if port and found != port:
        typer.echo(f"note: port {port} of {host} is taken; {what} is on {found}", err=True)
    return found


def _reachable(host: str) -> str:
    """The name under which a server on this machine can be called that listens on an address."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"[{name}]" if ":" in name else name
