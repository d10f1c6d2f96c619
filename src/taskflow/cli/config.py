"""`taskflow config`: the settings in effect."""

from __future__ import annotations

from typing import Annotated

import typer

from taskflow.cli.options import options_of

commands = typer.Typer(help="The settings in effect.", no_args_is_help=True, rich_markup_mode=None)


@commands.callback()
def config() -> None:
    """The settings in effect."""


@commands.command()
def show(
    ctx: typer.Context,
    changed: Annotated[bool, typer.Option("--changed", help="Only what is not the default.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show every setting, its value (secrets masked) and where it comes from.

    Sources, the last one wins: the default, the YAML file, the environment, the command line.

    \b
    Examples:
      taskflow config show
      taskflow config show --changed
      TASKFLOW_SERVER_HTTP_PORT=9000 taskflow config show --json
      taskflow --config production.yaml config show
    """  # noqa: D301 - \b marks lines that help must not fold
    from taskflow.cli.output import print_json, print_table
    from taskflow.config import describe

    settings = [
        setting for setting in describe(options_of(ctx).settings()) if not changed or setting.source != "default"
    ]
    if as_json:
        print_json([setting._asdict() for setting in settings])
    else:
        print_table(["setting", "value", "source"], settings, empty="every setting has its default")
