"""`taskflow servers`: which worker servers are alive; drain them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from taskflow.cli.service import ask

if TYPE_CHECKING:
    from taskflow.task import ServerInfo

commands = typer.Typer(
    help="Look at the worker servers that are alive, and drain them.", no_args_is_help=True, rich_markup_mode=None
)


@commands.callback()
def servers() -> None:
    """Look at the worker servers that are alive, and drain them."""


@commands.command("list", hidden=True)
@commands.command("ls")
def show_all(ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the worker servers, Go's too: their queues with weights, and what they run now.

    \b
    Examples:
      taskflow servers ls
      taskflow servers ls --json
    """  # noqa: D301 - \b marks lines that help must not fold
    from taskflow.cli.output import print_json, print_table, when

    infos = ask(ctx, lambda service: service.servers())
    if as_json:
        print_json([_as_json(info) for info in infos])
        return
    rows = [
        (
            info.host,
            info.pid,
            info.status,
            f"{info.active_count}/{info.concurrency}",
            ",".join(f"{name}={weight}" for name, weight in info.queues.items()),
            when(info.started_at),
            " ".join(f"{task.type} {task.id}" for task in info.running),
            info.id,
        )
        for info in infos
    ]
    columns = ["host", "#pid", "status", "#busy", "queues", "started", "runs now", "id"]
    print_table(columns, rows, empty="no worker is running; start one: taskflow worker MODULE:APP")


@commands.command()
def drain(
    ctx: typer.Context, server: Annotated[str, typer.Argument(metavar="ID", help="The server's id, as 'ls' shows it.")]
) -> None:
    """Let a worker server take no more tasks, end those that run, and end, as a first SIGTERM would.

    It begins at once. A process under a supervisor is followed by a fresh one. Go's workers cannot be told from here.

    \b
    Example:
      taskflow servers drain d23c77e1-4fe3-4847-bbc3-99b04db2fdac
    """  # noqa: D301 - \b marks lines that help must not fold
    from taskflow.wording import plain

    info = ask(ctx, lambda service: service.draining.begin(server))
    typer.echo(f"server {plain(info.host)}:{info.pid} drains, with {info.active_count} tasks running")


def _as_json(info: ServerInfo) -> dict[str, object]:
    from taskflow.cli.output import readable

    running = [
        {
            "id": task.id,
            "type": task.type,
            "queue": task.queue,
            "payload": readable(task.payload),
            "started_at": task.started_at,
            "deadline": task.deadline,
        }
        for task in info.running
    ]
    names = ("id", "host", "pid", "concurrency", "queues", "strict_priority", "status", "started_at", "active_count")
    return {**{name: getattr(info, name) for name in names}, "running": running}
