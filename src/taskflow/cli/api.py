"""`taskflow api`: the HTTP API."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated

import typer

from taskflow.cli.options import options_of, start_logging

if TYPE_CHECKING:
    import uvicorn

    from taskflow.cli.leash import Leash

_STARTED_CHECK = 0.02
"""How often (s) to look whether the server answers."""


def api(
    ctx: typer.Context,
    host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Where to listen; 0.0.0.0 is everywhere.")] = None,
    port: Annotated[int | None, typer.Option(metavar="PORT", help="The port; 0 takes a free one.")] = None,
    leash: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve the HTTP API; its description is at /docs.

    What is not given here comes from the settings `server.http` and `api` (see: taskflow config show).

    \b
    Examples:
      taskflow api
      taskflow api --port 9000 --redis-url redis://redis.internal:6379/0
      TASKFLOW_SERVER_HTTP_HOST=0.0.0.0 taskflow api
    """  # noqa: D301 - \b marks lines that help must not fold
    from taskflow.cli import loop
    from taskflow.cli.leash import Leash
    from taskflow.cli.ports import is_free
    from taskflow.errors import ConfigError

    options = options_of(ctx)
    settings = options.settings({"server.http.host": host, "server.http.port": port})
    start_logging(settings)
    http = settings.server.http
    if not is_free(http.host, http.port):
        raise ConfigError(
            f"port {http.port} of {http.host} is taken, or not allowed; choose another: --port PORT (0: any)"
        )
    try:
        from taskflow.asgi import serve
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("taskflow"):
            raise
        raise ConfigError(f"the API needs more packages ({error.name}): pip install 'taskflow-queue[api]'") from error
    server = serve(settings, handle_signals=False)
    loop.run(_serve(server, Leash(leash)))
    if not server.started:
        raise typer.Exit(1)


async def _serve(server: uvicorn.Server, leash: Leash) -> None:
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
        await server.serve()
    finally:
        telling.cancel()
