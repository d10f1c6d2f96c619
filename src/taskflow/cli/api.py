"""`taskflow api`: the HTTP API."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from taskflow.cli.options import options_of, start_logging

if TYPE_CHECKING:
    import socket

    import uvicorn

    from taskflow.cli.leash import Leash
    from taskflow.config import Http, Settings

_STARTED_CHECK = 0.02
"""How often (s) to look whether the server answers."""
_MARGIN = 5.0
"""How much longer (s) than its requests a process may take to stop."""


def api(
    ctx: typer.Context,
    *,
    host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Where to listen; 0.0.0.0 is everywhere.")] = None,
    port: Annotated[int | None, typer.Option(metavar="PORT", help="The port; 0 takes a free one.")] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="How many processes serve the port. Default: 1.")
    ] = None,
    leash: Annotated[int | None, typer.Option(hidden=True)] = None,
    listen_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve the HTTP API; its description is at /docs.

    What is not given here comes from the settings `server.http` and `api` (see: taskflow config show).

    With several processes one that dies is started again, and SIGHUP replaces them one after another without refusing a
    connection, so that they read the settings again.

    \b
    Examples:
      taskflow api
      taskflow api --port 9000 --redis-url redis://redis.internal:6379/0
      taskflow api --workers 4
      TASKFLOW_SERVER_HTTP_HOST=0.0.0.0 TASKFLOW_API_AUTH_KEY_FILE=keys.yaml taskflow api
    """  # noqa: D301 - \b marks lines that help must not fold
    from taskflow.errors import ConfigError

    options = options_of(ctx)
    settings = options.settings({"server.http.host": host, "server.http.port": port, "server.http.workers": workers})
    start_logging(settings)
    if listen_fd is None:
        _check_port(settings.server.http)
    try:
        from taskflow.asgi import check_address
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("taskflow"):
            raise
        raise ConfigError(f"the API needs more packages ({error.name}): pip install 'taskflow-queue[api]'") from error
    check_address(settings)
    if listen_fd is None and settings.server.http.workers > 1:
        options.export()
        _supervise(settings.server.http)
    else:
        _run(settings, leash, listen_fd)


def _check_port(http: Http) -> None:
    from taskflow.cli.ports import is_free
    from taskflow.errors import ConfigError

    if not is_free(http.host, http.port):
        raise ConfigError(
            f"port {http.port} of {http.host} is taken, or not allowed; choose another: --port PORT (0: any)"
        )


def _supervise(http: Http) -> None:
    """Listen, and keep processes running that serve the socket: it stays open while they come and go."""
    import asyncio

    import structlog

    from taskflow.asgi import BACKLOG, SHUTDOWN_SECONDS
    from taskflow.cli.ports import listening
    from taskflow.cli.supervisor import Part, Supervisor

    with listening(http.host, http.port, BACKLOG) as listener:
        host, port = listener.getsockname()[:2]

        def announce() -> None:
            log = structlog.get_logger("taskflow.supervisor")
            log.info("all API processes run", processes=http.workers, host=host, port=port)

        line = [*sys.argv[1:], "--listen-fd", str(listener.fileno())]
        parts = [Part(f"API {index}", line) for index in range(http.workers)]
        supervisor = Supervisor(
            parts, grace=SHUTDOWN_SECONDS + _MARGIN, on_ready=announce, fds=[listener.fileno()], restarts=True
        )
        asyncio.run(supervisor.run())


def _run(settings: Settings, leash: int | None, listen_fd: int | None) -> None:
    import socket

    from taskflow.asgi import serve
    from taskflow.cli import loop
    from taskflow.cli.descriptors import allow_many
    from taskflow.cli.leash import Leash

    allow_many()
    server = serve(settings, handle_signals=False)
    listener = None
    if listen_fd is not None:
        listener = socket.socket(fileno=listen_fd)
        listener.set_inheritable(False)
    loop.run(_serve(server, Leash(leash), listener))
    if not server.started:
        raise typer.Exit(1)


async def _serve(server: uvicorn.Server, leash: Leash, listener: socket.socket | None) -> None:
    """Serve until SIGTERM or SIGINT; a second one does not wait for requests."""
    import asyncio

    def stop() -> None:
        server.force_exit = server.should_exit
        server.should_exit = True

    async def tell() -> None:
        while not server.started:  # noqa: ASYNC110 - it has no event to wait for
            await asyncio.sleep(_STARTED_CHECK)
        leash.ready()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    telling = asyncio.create_task(tell())
    try:
        await server.serve(sockets=None if listener is None else [listener])
    finally:
        telling.cancel()
