"""`taskflow enqueue`: create a task."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from taskflow.cli.service import ask
from taskflow.cli.task_options import (
    Clash,
    MaxRetries,
    Payload,
    PayloadFile,
    Queue,
    Raw,
    Timeout,
    UniqueFields,
    UniqueFor,
    UniqueKey,
    UniqueUntil,
    read_moment,
    read_pairs,
    read_payload,
    read_span,
    read_unique,
)

if TYPE_CHECKING:
    from taskflow.application.commands import CreateTask
    from taskflow.application.service import TaskService


def enqueue(
    ctx: typer.Context,
    task_type: Annotated[str, typer.Argument(metavar="TYPE", help="The task type, such as email:send.")],
    payload: Payload = None,
    *,
    payload_file: PayloadFile = None,
    raw: Raw = False,
    queue: Queue = None,
    max_retries: MaxRetries = None,
    timeout: Timeout = None,
    deadline: Annotated[
        datetime | None, typer.Option(parser=read_moment, metavar="WHEN", help="When the task must have ended.")
    ] = None,
    process_at: Annotated[
        datetime | None, typer.Option(parser=read_moment, metavar="WHEN", help="Run it then: 2030-01-31T09:00:00Z.")
    ] = None,
    process_in: Annotated[
        timedelta | None, typer.Option(parser=read_span, metavar="TIME", help="Run it so much later: 10m.")
    ] = None,
    unique: UniqueFor = None,
    unique_key: UniqueKey = None,
    unique_fields: UniqueFields = None,
    unique_until: UniqueUntil = None,
    on_conflict: Clash = None,
    task_id: Annotated[str | None, typer.Option(metavar="ID", help="The task's id. Default: a random one.")] = None,
    retention: Annotated[
        timedelta | None, typer.Option(parser=read_span, metavar="TIME", help="Keep it so long after its end: 24h.")
    ] = None,
    group: Annotated[str | None, typer.Option(metavar="NAME", help="Collect it in this group.")] = None,
    callback_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where a webhook tells of its end; webhooks.allow_hosts must allow it."),
    ] = None,
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="NAME=TEXT", help="Text that travels with the task; may be repeated.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Watch it until it ends; exit code 1 if it fails.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Create a task.

    Its type must be one that a worker has published (taskflow types ls), or that the setting api.allow_types lets through.

    \b
    Examples:
      taskflow enqueue demo '{"message": "hello", "count": 10}' --watch
      taskflow enqueue email:send '{"to": "ada@example.org"}' --queue critical --max-retries 5
      taskflow enqueue report:build --payload-file report.json --process-in 10m --unique 1h
      taskflow enqueue reindex '{"shop": 7}' --unique 1h --unique-fields shop --on-conflict replace --process-in 30s
      taskflow enqueue report:build '{"month": 1}' --callback-url https://hooks.example.org/done
      echo '{"message": "piped"}' | taskflow enqueue demo - --json
    """  # noqa: D301 - \b marks lines that help must not fold
    from taskflow.application.commands import CreateTask

    command = CreateTask(
        type=task_type,
        payload=read_payload(payload, payload_file, raw=raw),
        queue=queue,
        max_retries=max_retries,
        timeout=timeout,
        deadline=deadline,
        process_at=process_at,
        process_in=process_in,
        unique=read_unique(unique, key=unique_key, fields=unique_fields, until=unique_until, on_conflict=on_conflict),
        metadata=read_pairs(metadata or ()),
        task_id=task_id,
        retention=retention,
        group=group,
        callback_url=callback_url,
    )
    code = ask(ctx, lambda service: _create(service, command, watch=watch, as_json=as_json))
    if code:
        raise typer.Exit(code)


async def _create(service: TaskService, command: CreateTask, *, watch: bool, as_json: bool) -> int:
    from taskflow.cli.output import print_json
    from taskflow.cli.watch import watch_task
    from taskflow.wording import plain

    info = await service.create(command)
    if as_json:
        print_json({"task_id": info.id, "queue": info.queue, "status": info.state}, indent=0)
    else:
        there = " already" if info.existing else ""
        typer.echo(f"task {plain(info.id)} is{there} {info.state} in queue {plain(info.queue)}")
    return await watch_task(service, info.id, info.queue, as_json=as_json) if watch else 0
