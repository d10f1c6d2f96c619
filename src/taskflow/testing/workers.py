"""running_worker: a worker in the test's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta

from taskflow.app import TaskFlow
from taskflow.broker.delivery import Delivery, Outcome
from taskflow.testing.observer import Observer
from taskflow.testing.reading import reader
from taskflow.worker.options import WorkerOptions
from taskflow.worker.server import Worker

CONCURRENCY = 10
_STOP_WITHIN = timedelta(seconds=2)
"""How long running tasks may go on at the end of the block, before they are put back."""


@asynccontextmanager
async def running_worker(app: TaskFlow, options: WorkerOptions | None = None) -> AsyncIterator[Worker]:
    """Let a worker run in the test's event loop while the block does: for code that waits for results or progress.

    Tasks that still run 2 s after the end of the block are put back.

    Args:
        app: The application.
        options: How the worker works. Default: ten tasks at once, from all queues that there are or that handlers name.

    Raises:
        BrokerUnavailable: Redis does not answer.
        StartFailed: A lifespan, a dependency or a warm-up raised.

    """
    if options is None:
        async with reader(app) as (inspector, _):
            options = worker_options(queues_of(app, await inspector.queues()))
    async with _started(app.worker(options)) as (worker, _):
        yield worker


@asynccontextmanager
async def observed_worker(
    app: TaskFlow, options: WorkerOptions, observer: Observer, settled: Callable[[Delivery, Outcome], None]
) -> AsyncIterator[asyncio.Task[None]]:
    """Let a worker run whose attempts and settlements are observed; give the asyncio task it runs in."""
    worker = app.worker(options)
    worker.registry = observer.around(app.registry)
    worker.on_settled = settled
    async with _started(worker) as (_, running):
        yield running


def worker_options(
    queues: Iterable[str], *, concurrency: int = CONCURRENCY, group_grace: timedelta = timedelta(seconds=60)
) -> WorkerOptions:
    """Return the options of a worker in a test."""
    return WorkerOptions(
        queues=dict.fromkeys(queues, 1),
        concurrency=concurrency,
        group_grace=group_grace,
        shutdown_timeout=_STOP_WITHIN,
        log_tasks=False,
    )


def queues_of(app: TaskFlow, existing: Iterable[str]) -> list[str]:
    """Return the queues that exist and those that tasks of the app go to, sorted."""
    return sorted({*existing, *app.registry.queues, app.settings.queues.default})


@asynccontextmanager
async def _started(worker: Worker) -> AsyncIterator[tuple[Worker, asyncio.Task[None]]]:
    running = asyncio.create_task(worker.run(), name="worker of the test")
    ready = asyncio.create_task(worker.ready.wait())
    try:
        await asyncio.wait([running, ready], return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        yield worker, running
    except BaseException:
        worker.stop()  # and again below: what runs is put back at once
        raise
    finally:
        ready.cancel()
        worker.stop()
        await running
