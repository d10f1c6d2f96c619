"""`taskflow schedules`: look at periodic tasks, keep them in Redis, steer them."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
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
    read_pairs,
    read_payload,
    read_span,
    read_unique,
)

if TYPE_CHECKING:
    from taskflow.application.schedules import ScheduleInfo
    from taskflow.application.service import TaskService

commands = typer.Typer(
    help="Periodic tasks: look at them, keep them in Redis, pause them, run them now.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Id = Annotated[str, typer.Argument(metavar="ID", help="The schedule's id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class _Missed(StrEnum):
    """The choices of --missed, as `cron.Missed` has them."""

    SKIP = "skip"
    ONCE = "once"
    ALL = "all"


@commands.callback()
def schedules() -> None:
    """Look at periodic tasks, keep them in Redis, pause them, run them now."""


@commands.command("list", hidden=True)
@commands.command("ls")
def show_all(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show the periodic tasks: those kept in Redis, those of the settings, and those of schedulers that run, Go's too.

    \b
    Examples:
      taskflow schedules ls
      taskflow schedules ls --json
    """  # noqa: D301 - \b marks lines that help must not fold
    from taskflow.cli.output import print_json, print_table, when

    infos = ask(ctx, lambda service: service.schedules.list())
    if as_json:
        print_json([_as_json(info) for info in infos])
        return
    rows = [
        (
            info.id,
            info.spec,
            info.type,
            when(info.next_fire),
            when(info.last_fired),
            "yes" if info.paused else "",
            info.origin,
        )
        for info in infos
    ]
    columns = ["id", "spec", "type", "next", "last", "paused", "origin"]
    print_table(columns, rows, empty="no periodic tasks; keep one in Redis: taskflow schedules add ID SPEC TYPE")


@commands.command()
def show(ctx: typer.Context, schedule: Id, as_json: AsJson = False) -> None:
    """Show all that is known of a periodic task.

    \b
    Example:
      taskflow schedules show nightly
    """  # noqa: D301 - \b marks lines that help must not fold
    from taskflow.cli.output import print_facts, print_json

    known = _as_json(ask(ctx, lambda service: service.schedules.get(schedule)))
    if as_json:
        print_json(known)
    else:
        print_facts({name.replace("_", " "): _as_fact(value) for name, value in known.items()})


@commands.command()
def add(
    ctx: typer.Context,
    schedule: Id,
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="When: '*/5 * * * *', @hourly, '@every 30s'.")],
    task_type: Annotated[str, typer.Argument(metavar="TYPE", help="The task type, such as report:build.")],
    payload: Payload = None,
    *,
    payload_file: PayloadFile = None,
    raw: Raw = False,
    timezone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Time zone of the spec: Europe/Berlin. Default: UTC.")
    ] = None,
    queue: Queue = None,
    max_retries: MaxRetries = None,
    timeout: Timeout = None,
    retention: Annotated[
        timedelta | None, typer.Option(parser=read_span, metavar="TIME", help="Keep a task so long after its end: 24h.")
    ] = None,
    unique: UniqueFor = None,
    unique_key: UniqueKey = None,
    unique_fields: UniqueFields = None,
    unique_until: UniqueUntil = None,
    on_conflict: Clash = None,
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="NAME=TEXT", help="Text that travels with a task; may be repeated.")
    ] = None,
    missed: Annotated[
        _Missed, typer.Option(help="Times at which no scheduler ran: none is made up for, the last, or all.")
    ] = _Missed.SKIP,
    catch_up: Annotated[int, typer.Option(metavar="N", help="How many missed times 'all' makes up for.")] = 100,
    jitter: Annotated[
        timedelta | None,
        typer.Option(parser=read_span, metavar="TIME", help="Let each task fall due up to so much later: 30s."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the schedule of this id, if there is one.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Keep a periodic task in Redis. Running schedulers take it up at once.

    Its type must be one that a worker has published (taskflow types ls), or that the setting api.allow_types lets through.

    \b
    Examples:
      taskflow schedules add nightly '0 3 * * *' report:build '{"days": 1}' --timezone Europe/Berlin
      taskflow schedules add pulse '@every 30s' metrics:push --missed skip --unique 25s
      taskflow schedules add nightly @daily report:build --replace
    """  # noqa: D301 - \b marks lines that help must not fold
    from taskflow.application.commands import PutSchedule
    from taskflow.cli.output import print_json, when
    from taskflow.wording import plain

    command = PutSchedule(
        id=schedule,
        spec=spec,
        type=task_type,
        payload=read_payload(payload, payload_file, raw=raw),
        timezone=timezone,
        queue=queue,
        max_retries=max_retries,
        timeout=timeout,
        retention=retention,
        unique=read_unique(unique, key=unique_key, fields=unique_fields, until=unique_until, on_conflict=on_conflict),
        metadata=read_pairs(metadata or ()),
        missed=missed.value,
        catch_up=catch_up,
        jitter=jitter or timedelta(0),
    )

    async def keep(service: TaskService) -> ScheduleInfo:
        await service.schedules.put(command, replace=replace)
        return await service.schedules.get(schedule)

    info = ask(ctx, keep)
    if as_json:
        print_json(_as_json(info))
    else:
        typer.echo(f"schedule {plain(info.id)} is kept; it fires next {when(info.next_fire) or 'never'}")


@commands.command("rm")
def remove(ctx: typer.Context, schedule: Id) -> None:
    """Forget a periodic task kept in Redis, with its events. Tasks that it has enqueued stay.

    \b
    Example:
      taskflow schedules rm nightly
    """  # noqa: D301 - \b marks lines that help must not fold
    from taskflow.wording import plain

    ask(ctx, lambda service: service.schedules.delete(schedule))
    typer.echo(f"schedule {plain(schedule)} is gone")


@commands.command()
def pause(ctx: typer.Context, schedule: Id) -> None:
    """Let a periodic task fire no more. Times that pass meanwhile are not made up for.

    \b
    Example:
      taskflow schedules pause nightly
    """  # noqa: D301 - \b marks lines that help must not fold
    from taskflow.wording import plain

    ask(ctx, lambda service: service.schedules.pause(schedule))
    typer.echo(f"schedule {plain(schedule)} is paused")


@commands.command()
def resume(ctx: typer.Context, schedule: Id) -> None:
    """Let a periodic task fire again, from now on.

    \b
    Example:
      taskflow schedules resume nightly
    """  # noqa: D301 - \b marks lines that help must not fold
    from taskflow.wording import plain

    ask(ctx, lambda service: service.schedules.resume(schedule))
    typer.echo(f"schedule {plain(schedule)} runs")


@commands.command()
def run(ctx: typer.Context, schedule: Id, as_json: AsJson = False) -> None:
    """Enqueue a periodic task now, beside its times; also while it is paused.

    \b
    Example:
      taskflow schedules run nightly
    """  # noqa: D301 - \b marks lines that help must not fold
    from taskflow.cli.output import print_json
    from taskflow.wording import plain

    info = ask(ctx, lambda service: service.schedules.run(schedule))
    if as_json:
        print_json({"task_id": info.id, "queue": info.queue, "status": info.state}, indent=0)
    else:
        typer.echo(f"task {plain(info.id)} is {info.state} in queue {plain(info.queue)}")


@commands.command("history", hidden=True)
@commands.command()
def events(
    ctx: typer.Context,
    schedule: Id,
    page: Annotated[int, typer.Option(metavar="N", help="The page, from 0 on.")] = 0,
    size: Annotated[int, typer.Option(metavar="N", help="Events on a page.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show what a periodic task has enqueued, the newest first. Of each, the newest 1,000 are kept.

    \b
    Examples:
      taskflow schedules events nightly
      taskflow schedules events nightly --page 1 --size 50
    """  # noqa: D301 - \b marks lines that help must not fold
    from taskflow.cli.output import print_json, print_table, when

    found = ask(ctx, lambda service: service.schedules.events(schedule, page=page, size=size))
    if as_json:
        print_json(found)
    else:
        rows = [(event.task_id, when(event.at), event.at.isoformat()) for event in found]
        print_table(["task", "when", "time"], rows, empty="nothing was enqueued yet")


@commands.command("next")
def show_next(
    ctx: typer.Context,
    schedule: Annotated[str | None, typer.Argument(metavar="ID", help="The schedule's id.")] = None,
    *,
    spec: Annotated[str | None, typer.Option(metavar="SPEC", help="Show the times of this spec instead.")] = None,
    timezone: Annotated[str | None, typer.Option(metavar="ZONE", help="Time zone of --spec. Default: UTC.")] = None,
    count: Annotated[int, typer.Option(metavar="N", help="How many times.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Show when a periodic task fires next, or when a spec would.

    \b
    Examples:
      taskflow schedules next nightly --count 3
      taskflow schedules next --spec '30 2 * * SUN' --timezone Europe/Berlin
    """  # noqa: D301 - \b marks lines that help must not fold
    from taskflow.cli.output import print_json, print_table, when

    if (schedule is None) == (spec is None):
        raise typer.BadParameter("give either ID or --spec", param_hint="ID")
    if timezone is not None and spec is None:
        raise typer.BadParameter("goes with --spec; a schedule has its own", param_hint="--timezone")

    async def times(service: TaskService) -> list[datetime]:
        if spec is not None:
            return service.schedules.preview(spec, timezone=timezone, count=count)
        return await service.schedules.next_times(schedule or "", count=count)

    found = ask(ctx, times)
    if as_json:
        print_json(found)
    else:
        rows = [(moment.isoformat(), moment.astimezone().isoformat(), when(moment)) for moment in found]
        print_table(["UTC", "local", "when"], rows, empty="never")


def _as_json(info: ScheduleInfo) -> dict[str, object]:
    from taskflow.application.unique import shown
    from taskflow.cli.output import readable
    from taskflow.durations import format_duration

    known: dict[str, object] = {
        "id": info.id,
        "spec": info.spec,
        "type": info.type,
        "payload": readable(info.payload),
        "origin": info.origin,
        "paused": info.paused,
        "next": info.next_fire,
        "last": info.last_fired,
    }
    entry = info.entry
    if entry is None:
        return {**known, "options": info.options}
    return {
        **known,
        "queue": entry.queue,
        "max_retries": entry.max_retries,
        "timeout": entry.timeout and format_duration(entry.timeout),
        "retention": format_duration(entry.retention),
        "unique": shown(entry.unique),
        "metadata": entry.headers,
        "missed": entry.missed,
        "catch_up": entry.catch_up,
        "jitter": format_duration(entry.jitter),
    }


def _as_fact(value: object) -> object:
    import msgspec

    from taskflow.cli.output import when

    if isinstance(value, datetime):
        return f"{value.isoformat()} ({when(value)})"
    if isinstance(value, dict | list | tuple):
        return msgspec.json.encode(value).decode() if value else None
    return value
