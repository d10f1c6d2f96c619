"""Idle workers that note when each task's handler started.

The payload is the time (Unix ns) at which the task was sent, or 0. Answers: one when all workers are ready; with `each`, one a
task; at the end of the input, all samples: id, sent, started.
"""

from __future__ import annotations

import asyncio
import time

import msgspec

from bench.roles import speech
from taskflow.cli import loop
from taskflow.observability.logs import configure_logging
from taskflow.worker.context import TaskContext
from taskflow.worker.handler import Handler
from taskflow.worker.options import WorkerOptions
from taskflow.worker.registry import Registry
from taskflow.worker.server import Worker


class Spec(msgspec.Struct, forbid_unknown_fields=True):
    """What to do: how many workers to run, on which queues."""

    url: str
    queues: list[str]
    workers: int = 1
    concurrency: int = 10
    each: bool = False


async def listen(spec: Spec) -> None:
    """Run the workers until the input ends."""
    samples: list[tuple[str, int, int]] = []

    async def note(context: TaskContext, payload: bytes) -> None:
        started = time.time_ns()
        sample = (context.id, int(payload), started)
        samples.append(sample)
        if spec.each:
            speech.answer(sample=sample)

    options = WorkerOptions(queues=dict.fromkeys(spec.queues, 1), concurrency=spec.concurrency, log_tasks=False)
    workers = [Worker(_registry(Handler(note)), spec.url, options) for _ in range(spec.workers)]
    async with asyncio.TaskGroup() as group:
        for worker in workers:
            group.create_task(worker.run())
        for worker in workers:
            await worker.ready.wait()
        speech.answer(ready=True)
        ended = asyncio.Event()
        speech.at_end_of_input(ended.set)
        await ended.wait()
        for worker in workers:
            worker.stop()
    speech.answer(samples=samples)


def _registry(handler: Handler) -> Registry:
    registry = Registry()
    registry.add("noop", handler)
    return registry


if __name__ == "__main__":
    configure_logging("warning", "json")
    loop.run(listen(speech.read_spec(Spec)))
