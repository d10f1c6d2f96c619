"""`taskflow keys`: the API's keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taskflow.cli.options import options_of

if TYPE_CHECKING:
    from taskflow.config.keys import KeyRecord

commands = typer.Typer(help="Who may use the HTTP API.", no_args_is_help=True, rich_markup_mode=None)
_File = Annotated[
    Path | None, typer.Option("--file", metavar="FILE", help="The key file. Default: the setting api.auth.key_file.")
]


@commands.callback()
def keys() -> None:
    """Who may use the HTTP API."""


@commands.command()
def new(
    ctx: typer.Context,
    name: Annotated[str, typer.Option(help="What the key is called, in logs too.")],
    scope: Annotated[
        list[str], typer.Option(metavar="SCOPE", help="read, write or admin (which includes both); may be repeated.")
    ],
    queue: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="The only queues it may see and touch; may be repeated. Default: all."),
    ] = None,
    file: _File = None,
) -> None:
    """Make a key and print it, this once: only its digest is kept.

    The record is added to the key file, which a running API reads again by itself; without a key file it is printed, to be
    stored in one or in the setting api.auth.keys.

    \b
    Examples:
      taskflow keys new --name shop --scope write --file keys.yaml
      taskflow keys new --name tenant-7 --scope read --scope write --queue 'tenant-7-*'
      taskflow keys new --name ops --scope admin
    """  # noqa: D301 - \b marks lines that help must not fold
    from taskflow.api.keys import append_key, digest_of, line_of, new_key

    path = file or _key_file(ctx)
    key = new_key()
    record = _record(name, digest_of(key), scope, queue or [])
    if path is not None:
        append_key(path, record)
        typer.echo(f"added to {path}; the key, which nobody can show again:", err=True)
    else:
        typer.echo("the key, which nobody can show again, and the record to store:", err=True)
    typer.echo(key)
    if path is None:
        typer.echo(line_of(record), nl=False)


@commands.command("list", hidden=True)
@commands.command("ls")
def show_all(
    ctx: typer.Context,
    file: _File = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the keys of the settings and of the key file: names, scopes and queues, no secrets.

    \b
    Examples:
      taskflow keys ls
      taskflow keys ls --file keys.yaml --json
    """  # noqa: D301 - \b marks lines that help must not fold
    from taskflow.api.keys import KeyRing, read_keys
    from taskflow.cli.output import print_json, print_table

    records = read_keys(file) if file is not None else KeyRing(options_of(ctx).settings().api.auth).records
    if as_json:
        print_json([{"name": each.name, "scopes": each.scopes, "queues": each.queues} for each in records])
        return
    rows = [(each.name, ",".join(each.scopes), ",".join(each.queues) or "all") for each in records]
    print_table(["name", "scopes", "queues"], rows, empty="there are no keys; make one: taskflow keys new")


def _key_file(ctx: typer.Context) -> Path | None:
    """Return the key file of the settings."""
    name = options_of(ctx).settings().api.auth.key_file
    return Path(name) if name else None


def _record(name: str, digest: str, scopes: list[str], queues: list[str]) -> KeyRecord:
    """Return the record of a new key. Raises `ConfigError`."""
    from pydantic import ValidationError

    from taskflow.config.keys import KeyRecord
    from taskflow.errors import ConfigError

    try:
        return KeyRecord.model_validate({"name": name, "digest": digest, "scopes": scopes, "queues": queues})
    except ValidationError as error:
        problems = (f"--{str(each['loc'][0]).removesuffix('s')}: {each['msg']}" for each in error.errors())
        raise ConfigError("; ".join(problems)) from None
