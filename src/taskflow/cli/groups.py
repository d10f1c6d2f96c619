"""`taskflow groups`: which groups of a queue fill."""

from __future__ import annotations

from typing import Annotated

import typer

from taskflow.cli.service import ask

commands = typer.Typer(help="Which groups of a queue fill.", no_args_is_help=True, rich_markup_mode=None)


@commands.callback()
def groups() -> None:
    """Which groups of a queue fill."""


@commands.command("list", hidden=True)
@commands.command("ls")
def show_all(
    ctx: typer.Context,
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="The queue's name.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the groups of a queue, and how many tasks wait in each to be aggregated.

    \b
    Examples:
      taskflow groups ls default
      taskflow tasks ls --queue default --state aggregating --group user:42
    """  # noqa: D301 - \b marks lines that help must not fold
    from taskflow.cli.output import print_json, print_table

    infos = ask(ctx, lambda service: service.groups(queue))
    if as_json:
        print_json([{"group": info.name, "size": info.size} for info in infos])
        return
    rows = [(info.name, info.size) for info in infos]
    print_table(["group", "#size"], rows, empty=f"no task of queue {queue} waits in a group")
