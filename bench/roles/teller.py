"""A task that tells how far it has come: publishes entries at a steady rate, and measures how long each takes.

Each line of its input is a number of seconds; it answers with the waits (ms) of the entries published in that time.
"""

from __future__ import annotations

import asyncio
import sys
import time

import msgspec

from bench.roles import speech
from taskflow.broker.progress import ProgressStream
from taskflow.broker.queue import Broker
from taskflow.cli import loop
from taskflow.task import Progress


class Spec(msgspec.Struct, forbid_unknown_fields=True):
    """What to do: of which task to tell, how often a second, in how many letters."""

    url: str
    task: str
    rate: float
    letters: int


async def tell(spec: Spec) -> None:
    """Publish when told to."""
    broker = Broker(spec.url)
    await broker.open()
    stream = ProgressStream(broker)
    entry = Progress(task_id=spec.task, percentage=1, message="m" * spec.letters)
    speech.answer(ready=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        started = time.perf_counter()
        waits = []
        for number in range(round(float(line) * spec.rate)):
            await asyncio.sleep(max(0.0, started + number / spec.rate - time.perf_counter()))
            at = time.perf_counter()
            await stream.publish(entry)
            waits.append((time.perf_counter() - at) * 1000)
        speech.answer(waits=waits)
    await broker.close()


if __name__ == "__main__":
    loop.run(tell(speech.read_spec(Spec)))
