"""A worker that drains a queue, and says when it had handled how many tasks.

It says that it is ready, waits for a line, and then starts the worker; times count from there. The answer has a mark for each
count asked for: seconds since the start and memory when the handler of that task ended. The worker stops after the last.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from bench.roles import speech
from taskflow.cli import loop
from taskflow.observability.logs import configure_logging
from taskflow.worker.handler import Handler
from taskflow.worker.options import WorkerOptions
from taskflow.worker.registry import Registry
from taskflow.worker.server import Worker


class Spec(msgspec.Struct, forbid_unknown_fields=True):
    """What to do: which handler to run (`noop`, `fields`, `result`, `thread`), how many at once, and when to take marks.

    With `rest`, the worker starts on an empty queue, and tells its memory after so many seconds.
    """

    url: str
    marks: list[int]
    handler: str = "noop"
    concurrency: int = 100
    log: bool = False
    rest: float = 0.0


class Drain:
    """The handlers and their count."""

    def __init__(self, marks: list[int]) -> None:
        self.ended = asyncio.Event()
        self.taken: list[dict[str, float]] = []
        self._loop = asyncio.get_running_loop()
        self._marks = iter(marks)
        self._next = next(self._marks)
        self._counter = itertools.count(1)  # one step of it is atomic, for handlers in threads
        self._started = time.perf_counter()

    def begin(self) -> None:
        """Take the time from now."""
        self._started = time.perf_counter()

    async def noop(self, payload: bytes) -> None:  # noqa: ARG002 - the handler's signature is the benchmark's
        """Take the payload as it is."""
        self._count()

    async def fields(self, to: str, n: int) -> None:  # noqa: ARG002
        """Take the payload's fields, decoded and checked."""
        self._count()

    async def result(self, payload: bytes) -> dict[str, Any]:
        """Return something to keep."""
        self._count()
        return {"ok": True, "size": len(payload)}

    def thread(self, payload: bytes) -> None:  # noqa: ARG002
        """Run in a thread."""
        self._count()

    def _count(self) -> None:
        count = next(self._counter)
        if count == self._next:
            seconds = time.perf_counter() - self._started
            self.taken.append({"count": count, "seconds": seconds, "memory": speech.resident_mb()})
            self._next = next(self._marks, -1)
            if self._next < 0:
                self._loop.call_soon_threadsafe(self.ended.set)


async def drain(spec: Spec) -> None:
    """Run the worker until the last mark."""
    tally = Drain(spec.marks)
    registry = Registry()
    registry.add("noop", Handler(getattr(tally, spec.handler)))
    options = WorkerOptions(concurrency=spec.concurrency, log_tasks=spec.log, shutdown_timeout=timedelta(seconds=30))
    speech.answer(ready=True)
    speech.wait_for_word()
    speech.at_end_of_input(tally.ended.set)
    tally.begin()
    worker = Worker(registry, spec.url, options)
    work = asyncio.create_task(worker.run())
    ended = asyncio.create_task(tally.ended.wait())
    if spec.rest:
        await asyncio.sleep(spec.rest)
        speech.answer(memory=speech.resident_mb())
    await asyncio.wait([work, ended], return_when=asyncio.FIRST_COMPLETED)
    worker.stop()
    await work
    speech.answer(marks=tally.taken)


def main() -> None:
    """Do what the command line describes."""
    spec = speech.read_spec(Spec)
    if spec.log:
        with Path(os.devnull).open("w") as nowhere:
            configure_logging("info", "json", nowhere)
            loop.run(drain(spec))
            logging.shutdown()
    else:
        configure_logging("warning", "json")
        loop.run(drain(spec))


if __name__ == "__main__":
    main()
