"""`taskflow types`: which task types there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from taskflow.cli.service import ask

if TYPE_CHECKING:
    from taskflow.broker.catalog import TaskType

commands = typer.Typer(help="Which task types workers serve.", no_args_is_help=True, rich_markup_mode=None)


@commands.callback()
def types() -> None:
    """Which task types workers serve."""


@commands.command("ls")
def show_all(ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the task types that workers have published: the fields of the payload, and the defaults.

    A field that must be given has a star. A type stays known when its workers are gone.

    \b
    Examples:
      taskflow types ls
      taskflow types ls --json      with the payload's JSON Schema
    """  # noqa: D301 - \b marks lines that help must not fold
    import msgspec

    from taskflow.application.unique import shown
    from taskflow.cli.output import print_json, print_table, when

    entries = ask(ctx, lambda service: service.types())
    if as_json:
        print_json([{**msgspec.to_builtins(entry), "unique": shown(entry.unique)} for entry in entries])
        return
    rows = [
        (
            entry.name,
            _fields(entry),
            entry.queue or "",
            "" if entry.max_retries is None else entry.max_retries,
            when(entry.last_seen),
            entry.doc.partition("\n")[0],
        )
        for entry in entries
    ]
    columns = ["type", "payload", "queue", "#retries", "last seen", "what it does"]
    print_table(columns, rows, empty="no types yet; a worker publishes its types when it starts")


def _fields(entry: TaskType) -> str:
    """The fields of a payload; `bytes` or `any` where it has none."""
    if entry.schema is None:
        return "bytes"
    properties = entry.schema.get("properties")
    if not isinstance(properties, dict):
        return "any"
    required = entry.schema.get("required") or ()
    return ", ".join(f"{name}*" if name in required else str(name) for name in properties)
