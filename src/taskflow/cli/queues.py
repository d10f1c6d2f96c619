"""`taskflow queues`: look at queues; pause, resume and remove them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from taskflow.cli.service import ask

if TYPE_CHECKING:
    from taskflow.application.service import TaskService
    from taskflow.task import QueueInfo

commands = typer.Typer(
    help="Look at queues; pause, resume and remove them.", no_args_is_help=True, rich_markup_mode=None
)
Queues = Annotated[list[str], typer.Argument(metavar="QUEUE", help="The queues' names.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@commands.command("list", hidden=True)
@commands.command("ls")
def show_all(
    ctx: typer.Context,
    queues: Annotated[list[str] | None, typer.Argument(metavar="QUEUE", help="Only these.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the queues: tasks by state, what was done today, and how long the oldest pending task has waited.

    \b
    Examples:
      taskflow queues ls
      taskflow queues ls critical default --json
    """  # noqa: D301 - \b marks lines that help must not fold
    from taskflow.cli.output import print_json, print_table, span

    infos = ask(ctx, lambda service: service.queue_stats(queues or None))
    if as_json:
        print_json([{**_counts(info), "latency_ms": round(info.latency.total_seconds() * 1000)} for info in infos])
        return
    rows = [
        (
            f"{info.queue} (paused)" if info.paused else info.queue,
            *(getattr(info, name) for name in STATES),
            info.processed,
            info.failed,
            span(info.latency),
        )
        for info in infos
    ]
    states = ["in groups" if name == "aggregating" else name for name in STATES]
    columns = ["queue", *(f"#{name}" for name in states), "#done today", "#failed", "#latency"]
    print_table(columns, rows, empty="no queues yet; a queue exists from its first task on")


@commands.command("inspect", hidden=True)
@commands.command()
def show(ctx: typer.Context, queues: Queues, as_json: AsJson = False) -> None:
    """Show all that is known of queues: tasks by state, groups, memory (estimated), latency, what was done.

    \b
    Examples:
      taskflow queues show critical
      taskflow queues show critical default --json
    """  # noqa: D301 - \b marks lines that help must not fold
    from taskflow.cli.output import print_facts, print_json, span
    from taskflow.wording import size

    async def look(service: TaskService) -> list[tuple[QueueInfo, int]]:
        return [(info, await service.memory(info.queue)) for info in await service.queue_stats(queues)]

    found = ask(ctx, look)
    if as_json:
        print_json([_as_json(info, memory) for info, memory in found])
        return
    for position, (info, memory) in enumerate(found):
        if position:
            typer.echo()
        print_facts(
            {
                **{name: value for name, value in _counts(info).items() if name not in {"processed", "failed"}},
                "groups": info.groups,
                "paused": "yes" if info.paused else "no",
                "latency": span(info.latency),
                "memory": f"about {size(memory)}",
                "done today": info.processed,
                "failed today": info.failed,
                "done in all": info.processed_total,
                "failed in all": info.failed_total,
            }
        )


@commands.command()
def history(
    ctx: typer.Context,
    queues: Queues,
    days: Annotated[int, typer.Option("--days", "-x", metavar="N", help="How many days.", min=1, max=3660)] = 10,
    as_json: AsJson = False,
) -> None:
    """Show what queues did on each of the last days (UTC), today first. Redis keeps the counters for 90 days.

    \b
    Examples:
      taskflow queues history default
      taskflow queues history critical default --days 90 --json
    """  # noqa: D301 - \b marks lines that help must not fold
    from taskflow.cli.output import print_json, print_table

    async def look(service: TaskService) -> list[dict[str, object]]:
        return [
            {"queue": queue, "day": one.day, "processed": one.processed, "failed": one.failed}
            for queue in queues
            for one in await service.history(queue, days)
        ]

    found = ask(ctx, look)
    if as_json:
        print_json(found)
        return
    rows = [
        (one["queue"], one["day"], one["processed"], one["failed"], rate(one["failed"], one["processed"]))
        for one in found
    ]
    print_table(["queue", "day", "#done", "#failed", "#failed of all"], rows, empty="")


@commands.command()
def pause(ctx: typer.Context, queues: Queues) -> None:
    """Stop workers from taking tasks of queues; what runs goes on.

    \b
    Examples:
      taskflow queues pause low
      taskflow queues pause low default
    """  # noqa: D301 - \b marks lines that help must not fold

    async def one(service: TaskService, queue: str) -> str:
        await service.pause(queue)
        return f"is paused; taskflow queues resume {queue} lets its tasks run again"

    _for_each(ctx, queues, one)


@commands.command("unpause", hidden=True)
@commands.command()
def resume(ctx: typer.Context, queues: Queues) -> None:
    """Let workers take tasks of queues again.

    \b
    Examples:
      taskflow queues resume low
      taskflow queues resume low default
    """  # noqa: D301 - \b marks lines that help must not fold

    async def one(service: TaskService, queue: str) -> str:
        await service.resume(queue)
        return "runs"

    _for_each(ctx, queues, one)


@commands.command("remove", hidden=True)
@commands.command("rm")
def remove(
    ctx: typer.Context,
    queues: Queues,
    force: Annotated[bool, typer.Option("--force", "-f", help="Even if it holds tasks: they are deleted.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --force: do not ask first.")] = False,
) -> None:
    """Remove queues with all their keys. One with running tasks is not removed; pause it and wait, or cancel them.

    \b
    Examples:
      taskflow queues rm low
      taskflow queues rm low --force
    """  # noqa: D301 - \b marks lines that help must not fold
    from taskflow.application.commands import RemoveQueue
    from taskflow.cli.output import bar, confirm
    from taskflow.wording import plain

    async def one(service: TaskService, queue: str) -> str:
        (info,) = await service.queue_stats([queue])
        if force and info.size:
            confirm(f"delete queue {plain(queue)} and the {info.size:,} tasks in it", yes=yes)
        with bar("deleting") as progress:
            count = await service.remove_queue(RemoveQueue(queue, force=force), progress)
        again = [info.queue for info in await service.queue_stats()]
        remark = "; it is there again: tasks were enqueued meanwhile" if queue in again else ""
        return f"is removed, with {count:,} tasks{remark}"

    _for_each(ctx, queues, one)


STATES = ("pending", "active", "scheduled", "retry", "archived", "completed", "aggregating")


def rate(part: object, whole: object) -> str:
    """Return a share in per cent; empty for a share of nothing."""
    return f"{100 * int(str(part)) / int(str(whole)):.1f} %" if whole else ""


def _counts(info: QueueInfo) -> dict[str, object]:
    names = ("queue", *STATES, "processed", "failed", "paused")
    return {name: getattr(info, name) for name in names}


def _as_json(info: QueueInfo, memory: int) -> dict[str, object]:
    names = ("queue", "size", *STATES, "groups", "processed", "failed", "processed_total", "failed_total", "paused")
    latency = round(info.latency.total_seconds() * 1000)
    return {**{name: getattr(info, name) for name in names}, "memory_bytes": memory, "latency_ms": latency}


def _for_each(ctx: typer.Context, queues: list[str], one: Callable[[TaskService, str], Awaitable[str]]) -> None:
    """Do something with each queue, and say what came of it; the exit code is 1 if any of it failed."""
    from taskflow.cli.output import report
    from taskflow.errors import BrokerUnavailable, TaskFlowError
    from taskflow.wording import plain

    async def each(service: TaskService) -> int:
        code = 0
        for queue in queues:
            try:
                typer.echo(f"queue {plain(queue)} {await one(service, queue)}")
            except BrokerUnavailable:
                raise
            except TaskFlowError as error:
                code = report(error)
        return code

    code = ask(ctx, each)
    if code:
        raise typer.Exit(code)
