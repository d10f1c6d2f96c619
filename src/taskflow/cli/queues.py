"""`taskflow queues`: look at queues, pause and resume them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from taskflow.cli.service import ask

if TYPE_CHECKING:
    from taskflow.task import QueueInfo

commands = typer.Typer(help="Look at queues; pause and resume them.", no_args_is_help=True, rich_markup_mode=None)
Queue = Annotated[str, typer.Argument(metavar="QUEUE", help="The queue's name.")]


@commands.command("ls")
def show_all(
    ctx: typer.Context,
    queues: Annotated[list[str] | None, typer.Argument(metavar="QUEUE", help="Only these.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
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
            *(getattr(info, name) for name in _STATES),
            info.processed,
            info.failed,
            span(info.latency),
        )
        for info in infos
    ]
    states = ["in groups" if name == "aggregating" else name for name in _STATES]
    columns = ["queue", *(f"#{name}" for name in states), "#done today", "#failed", "#latency"]
    print_table(columns, rows, empty="no queues yet; a queue exists from its first task on")


@commands.command()
def pause(ctx: typer.Context, queue: Queue) -> None:
    """Stop workers from taking tasks of a queue; what runs goes on.

    \b
    Example:
      taskflow queues pause low
    """  # noqa: D301 - \b marks lines that help must not fold
    ask(ctx, lambda service: service.pause(queue))
    typer.echo(f"queue {queue} is paused; taskflow queues resume {queue} lets its tasks run again")


@commands.command()
def resume(ctx: typer.Context, queue: Queue) -> None:
    """Let workers take tasks of a queue again.

    \b
    Example:
      taskflow queues resume low
    """  # noqa: D301 - \b marks lines that help must not fold
    ask(ctx, lambda service: service.resume(queue))
    typer.echo(f"queue {queue} runs")


_STATES = ("pending", "active", "scheduled", "retry", "archived", "completed", "aggregating")


def _counts(info: QueueInfo) -> dict[str, object]:
    names = ("queue", *_STATES, "processed", "failed", "paused")
    return {name: getattr(info, name) for name in names}
