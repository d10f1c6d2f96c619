"""A program that moves tasks through the scripts alone: leases a batch, settles it with the next, runs nothing.

As a worker with many slots does, it has two round trips under way, each with a batch of its own.
"""

from __future__ import annotations

import asyncio
import time

import msgspec

from bench.roles import speech
from bench.tasks import QUEUE
from taskflow.broker.delivery import Delivery, Done, Outcome
from taskflow.broker.queue import Broker
from taskflow.cli import loop

_ROUND_TRIPS = 2


class Spec(msgspec.Struct, forbid_unknown_fields=True):
    """What to do: the size of a batch."""

    url: str
    batch: int


async def exchange(spec: Spec) -> float:
    """Drain the queue; return the seconds it took."""
    broker = Broker(spec.url)
    await broker.open()
    done = Done()

    async def trips(owner: str) -> None:
        outcomes: list[tuple[Delivery, Outcome]] = []
        while True:
            exchanged = await broker.exchange(outcomes, {QUEUE: spec.batch}, owner=owner)
            if not exchanged.deliveries:
                return
            outcomes = [(delivery, done) for delivery in exchanged.deliveries]

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(_ROUND_TRIPS):
            group.create_task(trips(f"bench:{number}"))
    seconds = time.perf_counter() - started
    await broker.close()
    return seconds


if __name__ == "__main__":
    speech.answer(seconds=loop.run(exchange(speech.read_spec(Spec))))
