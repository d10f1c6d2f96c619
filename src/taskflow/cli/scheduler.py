"""`taskflow scheduler`: fires periodic tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from taskflow.cli.options import Options, options_of, start_logging

if TYPE_CHECKING:
    from taskflow.app import TaskFlow
    from taskflow.config import Settings
    from taskflow.scheduler import Scheduler


def scheduler(
    ctx: typer.Context,
    target: Annotated[
        str | None,
        typer.Argument(metavar="[MODULE:APP]", help="The TaskFlow object whose schedules are fired too."),
    ] = None,
) -> None:
    """Enqueue periodic tasks when they fall due.

    Those kept in Redis (taskflow schedules) and those of the settings; with MODULE:APP, also those of its code. Run as many
    as you like, on as many machines: each firing is enqueued once. A worker can do it too: taskflow worker --with-scheduler.

    Ctrl-C or SIGTERM stops it.

    \b
    Examples:
      taskflow scheduler
      taskflow scheduler tasks:app
      taskflow scheduler tasks:app --redis-url redis://redis.internal:6379/0
    """  # noqa: D301 - \b marks lines that help must not fold
    from taskflow.cli import loop

    options = options_of(ctx)
    settings = options.settings()
    options.export()
    start_logging(settings)
    loop.run(_made(options, settings, target).run_with_signals())


def _made(options: Options, settings: Settings, target: str | None) -> Scheduler:
    from taskflow.cli.target import load_target

    app = load_target(target).app if target is not None else None
    if app is not None and options.redis_url:
        app.redis_url = options.redis_url
    return scheduler_for(app, settings)


def scheduler_for(app: TaskFlow | None, settings: Settings) -> Scheduler:
    """Return a scheduler for an application's periodic tasks, or, without one, for those of the settings and in Redis."""
    from taskflow.scheduler import Scheduler, effective_entries

    if app is not None:
        return app.scheduler()
    url = settings.redis.effective_url
    return Scheduler(url, effective_entries({}, settings), allow_eviction=settings.redis.allow_eviction)
