"""`taskflow types`: which task types there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from taskflow.cli.service import ask

if TYPE_CHECKING:
    from taskflow.broker.catalog import CatalogEntry, TaskType

commands = typer.Typer(help="Which task types workers serve.", invoke_without_command=True, rich_markup_mode=None)


@commands.callback()
def types(ctx: typer.Context) -> None:
    """Which task types workers serve; without a command: all of them."""
    if ctx.invoked_subcommand is None:
        _show_all(ctx, as_json=False)


@commands.command("list", hidden=True)
@commands.command("ls")
def show_all(ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the task types that workers have published: the fields of the payload, the defaults, and how many servers serve them.

    A field that must be given has a star. A type stays known for 30 days when its workers are gone. Go's workers publish none.

    \b
    Examples:
      taskflow types ls
      taskflow types ls --json      with the payload's JSON Schema
    """  # noqa: D301 - \b marks lines that help must not fold
    _show_all(ctx, as_json=as_json)


def _show_all(ctx: typer.Context, *, as_json: bool) -> None:
    from taskflow.cli.output import print_json, print_table, when

    entries = ask(ctx, lambda service: service.types())
    if as_json:
        print_json([_as_json(entry) for entry in entries])
        return
    rows = []
    for entry in entries:
        current = entry.current
        retries = "" if current.max_retries is None else current.max_retries
        doc = current.doc.partition("\n")[0]
        rows.append(
            (current.name, _fields(current), current.queue or "", retries, entry.serving, when(entry.last_seen), doc)
        )
    columns = ["type", "payload", "queue", "#retries", "#servers", "last seen", "what it does"]
    print_table(columns, rows, empty="no types yet; a worker publishes its types when it starts")


@commands.command("show")
def show(
    ctx: typer.Context,
    task_type: Annotated[str, typer.Argument(metavar="TYPE", help="The type; of a prefix with its star or without.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a task type: the schema of its payload with examples, its defaults, its versions, and which servers serve it now.

    While a new version of a program takes the place of an old one, a type has both. A payload is accepted if it fits any version
    that is served.

    \b
    Examples:
      taskflow types show email:send
      taskflow types show email:send --json
    """  # noqa: D301 - \b marks lines that help must not fold
    from taskflow.cli.output import print_facts, print_json, print_table, when

    entry = ask(ctx, lambda service: service.type(task_type))
    if as_json:
        print_json(_as_json(entry))
        return
    print_facts(_facts(entry))
    rows = [
        (
            version.id,
            version.entry.version or "",
            "yes" if version.live else "no",
            version.serving,
            when(version.entry.first_seen),
            when(version.entry.last_seen),
        )
        for version in entry.versions
    ]
    print_table(["version", "called", "accepted", "#servers", "first seen", "last seen"], rows, empty="")
    serving = [
        (server.host, server.pid, server.id, server.status, ",".join(server.queues), version.id)
        for version, server in entry.servers
    ]
    print_table(["host", "#pid", "server", "status", "queues", "version"], serving, empty="no server serves it now")


def _facts(entry: CatalogEntry) -> dict[str, object]:
    import msgspec

    from taskflow.application.unique import shown

    current = entry.current
    schema = None if current.schema is None else {**current.schema}
    examples = [] if schema is None else schema.pop("examples", [])
    return {
        "type": current.name,
        "what it does": current.doc or None,
        "payload": _fields(current),
        "schema": None if schema is None else msgspec.json.format(msgspec.json.encode(schema), indent=2).decode(),
        "examples": "\n".join(msgspec.json.encode(example).decode() for example in examples) or None,
        "queue": current.queue,
        "retries": current.max_retries,
        "timeout": None if current.timeout_seconds is None else f"{current.timeout_seconds:g}s",
        "unique": shown(current.unique),
        "callback URL": current.callback_url,
    }


def _as_json(entry: CatalogEntry) -> dict[str, object]:
    import msgspec

    from taskflow.application.unique import shown

    current = entry.current
    versions = [
        {
            "id": version.id,
            "version": version.entry.version,
            "schema": version.entry.schema,
            "accepted": version.live,
            "serving": version.serving,
            "first_seen": version.entry.first_seen,
            "last_seen": version.entry.last_seen,
        }
        for version in entry.versions
    ]
    servers = [
        {name: getattr(server, name) for name in ("id", "host", "pid", "status", "queues")} | {"version_id": version.id}
        for version, server in entry.servers
    ]
    return {
        **msgspec.to_builtins(current),
        "unique": shown(current.unique),
        "first_seen": entry.first_seen,
        "last_seen": entry.last_seen,
        "versions": versions,
        "serving": entry.serving,
        "servers": servers,
    }


def _fields(entry: TaskType) -> str:
    """The fields of a payload; `bytes` or `any` where it has none."""
    if entry.schema is None:
        return "bytes"
    properties = entry.schema.get("properties")
    if not isinstance(properties, dict):
        return "any"
    required = entry.schema.get("required") or ()
    return ", ".join(f"{name}*" if name in required else str(name) for name in properties)
