"""A worker process for the fault tests: `python fault_worker.py REDIS_URL LOG [OPTION=VALUE ...]`.

Each handler appends a line `id attempt pid start|end` to the log, which is the truth outside Redis. Short lease and grace make
a death known within seconds; both are options, in seconds. `webhooks=SECRET` lets it send webhooks to this machine.
"""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import timedelta
from typing import Any

from taskflow import TaskContext, TaskFlow, WorkerOptions
from taskflow.worker.webhooks import WebhookOptions


class Log:
    """A file that every process appends whole lines to."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, context: TaskContext, event: str) -> None:
        os.write(self._file, f"{context.id} {context.retried} {os.getpid()} {event}\n".encode())


def make_app(url: str, log: Log) -> TaskFlow:
    """The app whose handlers the fault tests enqueue."""
    app = TaskFlow(url)

    @app.task("work")
    async def work(context: TaskContext, seconds: float = 0.0) -> str:
        log.write(context, "start")
        await asyncio.sleep(seconds)
        log.write(context, "end")
        return context.id

    @app.task("die")
    async def die(context: TaskContext, when: str = "start") -> None:
        """End the process, each time it runs, or only in the first attempt."""
        log.write(context, "start")
        if when == "start":
            os._exit(9)

    return app


def die_at(step: str) -> None:
    """Let the process end, the first time it comes to a step on the way of a task."""
    from taskflow.broker.queue import Broker
    from taskflow.worker.executor import Executor

    def end(*_: Any, **__: Any) -> None:
        os._exit(9)

    exchange = Broker.exchange
    if step == "run":
        Executor.start = end  # type: ignore[method-assign]
        return

    async def exchange_then_die(self: Broker, outcomes: Any, wants: Any, *, owner: str) -> Any:
        if step == "settle" and outcomes:
            end()
        answer = await exchange(self, outcomes, wants, owner=owner)
        if (step == "fetched" and answer.deliveries) or (step == "settled" and outcomes):
            end()
        return answer

    Broker.exchange = exchange_then_die  # type: ignore[method-assign]


def main(url: str, log: str, *settings: str) -> None:
    """Run the worker until it is told to stop."""
    given = dict(setting.split("=", 1) for setting in settings)
    if step := given.pop("die_at", None):
        die_at(step)
    secret = given.pop("webhooks", None)
    options: dict[str, Any] = {"lease": 2.0, "heartbeat": 0.5, "grace": 1.0, "recover_every": 0.2, "concurrency": 10}
    options |= {name: float(value) for name, value in given.items()}
    options["concurrency"] = int(options["concurrency"])
    for name in ("lease", "heartbeat", "grace", "recover_every"):
        options[name] = timedelta(seconds=options[name])
    if secret is not None:
        options["webhooks"] = WebhookOptions(
            secrets=(secret,), allow_hosts=("127.0.0.1",), allow_private=True, sweep_every=timedelta(seconds=0.1)
        )
    app = make_app(url, Log(log))
    asyncio.run(app.worker(WorkerOptions(log_tasks=False, **options)).run_with_signals())


if __name__ == "__main__":
    main(*sys.argv[1:])
