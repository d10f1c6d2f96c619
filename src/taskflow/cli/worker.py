"""`taskflow worker`: a worker server, in one process or several."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated

import typer

from taskflow.cli.options import Options, options_of, start_logging

if TYPE_CHECKING:
    from taskflow.cli.leash import Leash
    from taskflow.config import Settings, WorkerSettings
    from taskflow.scheduler import Scheduler
    from taskflow.worker.server import Worker

SETTLE_SECONDS = 10.0
"""How long a process may take to stop beyond its shutdown timeout: it settles what has ended, and says goodbye."""
_SECTION = "server.worker."


def worker(
    ctx: typer.Context,
    target: Annotated[
        str, typer.Argument(metavar="MODULE:APP", help="The TaskFlow object: app in tasks.py is tasks:app.")
    ],
    *,
    queues: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Queues with weights, such as critical=6,tenant-*=1.")
    ] = None,
    concurrency: Annotated[int | None, typer.Option(metavar="N", help="Tasks at once, in each process.")] = None,
    processes: Annotated[int | None, typer.Option(metavar="N", help="Worker processes.")] = None,
    max_tasks: Annotated[
        int | None, typer.Option(metavar="N", help="Replace a process by a fresh one after N tasks.")
    ] = None,
    max_memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Or when it uses so much memory, such as 512MB.")
    ] = None,
    strict: Annotated[
        bool | None, typer.Option("--strict", help="Empty the queue of the highest weight first, always.")
    ] = None,
    shutdown_timeout: Annotated[
        str | None, typer.Option(metavar="TIME", help="How long running tasks may go on after Ctrl-C, such as 8s.")
    ] = None,
    health_port: Annotated[
        int | None, typer.Option(metavar="PORT", help="Port of /health, /ready and /live; 0 takes a free one.")
    ] = None,
    with_scheduler: Annotated[
        bool, typer.Option("--with-scheduler", help="Enqueue periodic tasks too, as `taskflow scheduler` does.")
    ] = False,
    leash: Annotated[int | None, typer.Option(hidden=True)] = None,
    index: Annotated[int, typer.Option(hidden=True)] = 0,
) -> None:
    """Run tasks.

    Imports MODULE from the working directory and runs the handlers of APP. What is not given here comes from the settings
    `server.worker` (see: taskflow config show). Where neither names queues, those that the handlers name are served too.

    The first Ctrl-C or SIGTERM stops taking tasks and lets running ones end within the shutdown timeout; then they go back
    to their queues. A second one puts them back at once.

    \b
    Examples:
      taskflow worker tasks:app
      taskflow worker tasks:app --queues critical=6,default=3,low=1 --concurrency 50
      taskflow worker tasks:app --queues "default=3,tenant-*=1"    (all that match, as they come and go)
      taskflow worker shop.tasks:app --processes 4 --health-port 9000    (health on 9000 to 9003)
      taskflow worker tasks:app --processes 2 --max-tasks 10000 --max-memory 512MB    (for what leaks)
      taskflow worker tasks:app --with-scheduler
      taskflow worker taskflow.worker.handlers.demo:app
      taskflow worker taskflow.worker.handlers.targets:app    (only what the settings http_targets and grpc_services name)
    """  # noqa: D301 - \b marks lines that help must not fold
    given = {
        "queues": queues,
        "concurrency": concurrency,
        "processes": processes,
        "max_tasks": max_tasks,
        "max_memory": max_memory,
        "strict_priority": strict,
        "shutdown_timeout": shutdown_timeout,
        "health.port": health_port,
    }
    options = options_of(ctx)
    settings = options.settings({_SECTION + name: value for name, value in given.items()})
    options.export()
    start_logging(settings)
    if leash is None and _needs_supervisor(settings.server.worker):
        _supervise(settings.server.worker, target)
    else:
        _run(
            options,
            settings,
            [name for name, value in given.items() if value is not None],
            target,
            index=index,
            leash=leash,
            with_scheduler=with_scheduler and index == 0,
        )


def _needs_supervisor(section: WorkerSettings) -> bool:
    return bool(section.processes > 1 or section.max_tasks or section.max_memory)


def _supervise(section: WorkerSettings, target: str) -> None:
    import asyncio

    import structlog

    from taskflow.cli.supervisor import Part, Supervisor

    def announce() -> None:
        log = structlog.get_logger("taskflow.supervisor")
        log.info("all worker processes run", target=target, processes=section.processes)

    parts = [Part(f"worker {index}", [*sys.argv[1:], "--index", str(index)]) for index in range(section.processes)]
    grace = section.shutdown_timeout.total_seconds() + SETTLE_SECONDS
    asyncio.run(Supervisor(parts, grace=grace, on_ready=announce).run())


def _run(
    line: Options,
    given: Settings,
    changed: Collection[str],
    target: str,
    *,
    index: int,
    leash: int | None,
    with_scheduler: bool,
) -> None:
    import msgspec

    from taskflow.cli.leash import Leash
    from taskflow.cli.scheduler import scheduler_for
    from taskflow.cli.target import check_handlers, load_target
    from taskflow.worker.handlers import targets
    from taskflow.worker.options import WorkerOptions
    from taskflow.worker.server import Worker

    found = load_target(target)
    settings, url = given, given.redis.effective_url
    if found.app is None:
        targets.register(found.registry, settings)
    else:
        if line.redis_url:  # the clients that handlers use follow the command line too
            found.app.redis_url = line.redis_url
        settings, url = found.app.settings, found.app.redis_url
        found.app.add_targets()
    check_handlers(found, target)
    settings = _merged(settings, given, changed)
    if leash is None and _needs_supervisor(settings.server.worker):  # the application's own settings say so
        _supervise(settings.server.worker, target)
        return
    chosen = "health.port" in changed or _is_chosen(settings)
    health = _health_address(settings.server.worker, index, chosen=chosen)
    options = msgspec.structs.replace(WorkerOptions.of(settings, named=found.registry.queues), health=health)
    scheduler = scheduler_for(found.app, settings) if with_scheduler else None
    _work(Worker(found.registry, url, options), scheduler, Leash(leash))


def _merged(settings: Settings, given: Settings, changed: Collection[str]) -> Settings:
    """The application's own settings, with what the command line says on top."""
    names = {name.partition(".")[0] for name in changed}
    line = given.server.worker
    section = settings.server.worker.model_copy(update={name: getattr(line, name) for name in names})
    return settings.model_copy(update={"server": settings.server.model_copy(update={"worker": section})})


def _is_chosen(settings: Settings) -> bool:
    from taskflow.config import describe

    return any(
        setting.name == f"{_SECTION}health.port" and setting.source != "default" for setting in describe(settings)
    )


def _health_address(section: WorkerSettings, index: int, *, chosen: bool) -> tuple[str, int] | None:
    """Where to answer probes; None: nowhere. A second worker on this machine moves on from the default port.

    Raises:
        ConfigError: The port that was chosen is taken.

    """
    import structlog

    from taskflow.cli.ports import free_port, is_free
    from taskflow.errors import ConfigError

    health = section.health
    if not health.enabled:
        return None
    port = health.port + index if health.port else 0
    if is_free(health.host, port):
        return health.host, port
    if chosen:
        raise ConfigError(
            f"port {port} of {health.host} is taken; choose another for the worker's health: --health-port PORT (0: any)"
        )
    other = free_port(health.host, port + 1)
    structlog.get_logger("taskflow.worker").warning("the health port is taken; using another", taken=port, port=other)
    return health.host, other


def _work(worker: Worker, scheduler: Scheduler | None, leash: Leash) -> None:
    """Run a worker to its end. A handler that nothing can stop does not keep the process."""
    from taskflow.cli import loop

    if code := loop.run(_work_to_the_end(worker, scheduler, leash)):
        raise typer.Exit(code)


async def _work_to_the_end(worker: Worker, scheduler: Scheduler | None, leash: Leash) -> int:
    """Run a worker to its end, and return the exit code. The process ends here if the loop would wait for a handler for ever."""
    from taskflow.cli.leash import RETIRED
    from taskflow.cli.output import report
    from taskflow.errors import TaskFlowError

    code = 0
    try:
        await _run_and_tell(worker, scheduler, leash)
        code = RETIRED if worker.retired or (worker.drained and leash.held) else 0
    except TaskFlowError as error:
        code = report(error)
    except BaseException:
        if not worker.left_behind:
            raise
        sys.excepthook(*sys.exc_info())
        code = 1
    if worker.left_behind:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


async def _run_and_tell(worker: Worker, scheduler: Scheduler | None, leash: Leash) -> None:
    import asyncio

    async def tell() -> None:
        await worker.ready.wait()
        if scheduler is not None:
            await scheduler.ready.wait()
        leash.ready()

    telling = asyncio.create_task(tell())
    try:
        if scheduler is None:
            await worker.run_with_signals()
        else:
            await _run_both(worker, scheduler)
    finally:
        telling.cancel()


async def _run_both(worker: Worker, scheduler: Scheduler) -> None:
    """Run a worker and a scheduler; when one ends, for whatever reason, the other stops too."""
    import asyncio

    working = asyncio.create_task(worker.run_with_signals())
    scheduling = asyncio.create_task(scheduler.run())
    await asyncio.wait([working, scheduling], return_when=asyncio.FIRST_COMPLETED)
    scheduler.stop()
    if not working.done():
        worker.stop()
    await asyncio.wait([working, scheduling])
    errors = [part.exception() for part in (working, scheduling)]
    for error in filter(None, errors):
        raise error
