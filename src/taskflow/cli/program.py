"""The program `taskflow`: its commands, its global options, and what becomes of errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from taskflow.cli import (
    api,
    catalog,
    config,
    dev,
    doctor,
    enqueue,
    groups,
    keys,
    queues,
    scheduler,
    schedules,
    servers,
    stats,
    steering,
    tasks,
    worker,
)
from taskflow.cli.options import Options

_GLOBAL = ("--config", "--redis-url", "--log-level")


def with_global_options_first(arguments: Sequence[str]) -> list[str]:
    """Move the global options before the command, so that they may stand anywhere on the line (but behind `--`)."""
    first: list[str] = []
    rest: list[str] = []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        if argument == "--":
            rest += [argument, *waiting]
            break
        if argument in _GLOBAL and waiting:
            first += [argument, waiting.pop(0)]
        elif argument.startswith(tuple(f"{name}=" for name in _GLOBAL)):
            first.append(argument)
        else:
            rest.append(argument)
    return first + rest


class _Commands(TyperGroup):
    """Turns errors into one plain line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that the line names."""
        from taskflow.errors import TaskFlowError

        try:
            return super().invoke(ctx)
        except TaskFlowError as error:
            from taskflow.cli.output import report

            raise typer.Exit(report(error)) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(130) from error


program = typer.Typer(
    cls=_Commands,
    help="""TaskFlow: a distributed task queue on Redis, in asynq's format.

\b
Begin here:
  taskflow dev                              a store, the API and a worker, in one command
  taskflow enqueue demo '{"message": "hi"}' --watch
\b
In production:
  taskflow api                              the HTTP API
  taskflow worker tasks:app                 run the tasks of app in tasks.py
  taskflow scheduler tasks:app              enqueue its periodic tasks
\b
Settings come from taskflow.yaml, then TASKFLOW_* variables, then options: taskflow config show.
Global options may stand anywhere on the line. Exit codes: 0 done, 1 failed, 2 not understood, 130 Ctrl-C.
""",
    no_args_is_help=True,
    rich_markup_mode=None,  # Rich's help takes twice as long to start, and folds the examples
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@program.callback()
def global_options(
    ctx: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="The settings' YAML file. Default: taskflow.yaml.")
    ] = None,
    redis_url: Annotated[
        str | None,
        typer.Option("--redis-url", metavar="URL", help="The Redis server, such as redis://127.0.0.1:6379/0."),
    ] = None,
    log_level: Annotated[
        str | None, typer.Option("--log-level", metavar="LEVEL", help="debug, info, warning, error or critical.")
    ] = None,
) -> None:
    """Keep the global options for the command."""
    ctx.obj = Options(config, redis_url, log_level)


program.command()(dev.dev)
program.command()(api.api)
program.command()(worker.worker)
program.command()(scheduler.scheduler)
program.command()(enqueue.enqueue)
steering.add_commands(tasks.commands)
program.add_typer(tasks.commands, name="tasks")
program.add_typer(queues.commands, name="queues")
program.add_typer(groups.commands, name="groups")
program.add_typer(catalog.commands, name="types")
program.add_typer(servers.commands, name="servers")
program.add_typer(schedules.commands, name="schedules")
program.add_typer(keys.commands, name="keys")
program.command()(stats.stats)
program.command()(doctor.doctor)
program.add_typer(config.commands, name="config")
for _noun, _commands in {
    "task": tasks.commands,
    "queue": queues.commands,
    "group": groups.commands,
    "server": servers.commands,
    "cron": schedules.commands,
}.items():
    program.add_typer(_commands, name=_noun, hidden=True)  # asynq's own words


@program.command()
def version() -> None:
    """Print the version."""
    import taskflow

    typer.echo(f"taskflow {taskflow.__version__}")
