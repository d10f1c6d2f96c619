"""A program that enqueues, in one of the ways there are, and says how long it took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine

import msgspec

from bench.roles import speech
from bench.tasks import NOOP, PAYLOAD
from taskflow.cli import loop
from taskflow.client import Client, SyncClient
from taskflow.task import Task

WARM_UP = 20
"""How many tasks are enqueued before the time runs."""


class Spec(msgspec.Struct, forbid_unknown_fields=True):
    """What to do: `client` and `sync` enqueue one by one, `together` from `width` coroutines, `many` in lists of `width`."""

    url: str
    way: str
    tasks: int
    width: int = 1


async def client(spec: Spec) -> float:
    """Enqueue one by one with `Client`."""
    return await together(spec)


async def together(spec: Spec) -> float:
    """Enqueue from several coroutines that share a `Client`."""
    async with Client(spec.url) as sender:

        async def send(count: int) -> None:
            for _ in range(count):
                await sender.enqueue(NOOP, PAYLOAD)

        await send(WARM_UP)
        share, more = divmod(spec.tasks, spec.width)
        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(spec.width):
                group.create_task(send(share + (number < more)))
        return time.perf_counter() - started


async def sync(spec: Spec) -> float:
    """Enqueue one by one with `SyncClient`."""
    with SyncClient(spec.url) as sender:
        for _ in range(WARM_UP):
            sender.enqueue(NOOP, PAYLOAD)
        started = time.perf_counter()
        for _ in range(spec.tasks):
            sender.enqueue(NOOP, PAYLOAD)
        return time.perf_counter() - started


async def many(spec: Spec) -> float:
    """Enqueue lists of tasks; making the tasks counts."""
    async with Client(spec.url) as sender:
        await sender.enqueue_many([Task(NOOP, PAYLOAD) for _ in range(WARM_UP)])
        started = time.perf_counter()
        for _ in range(spec.tasks // spec.width):
            await sender.enqueue_many([Task(NOOP, PAYLOAD) for _ in range(spec.width)])
        return time.perf_counter() - started


_WAYS: dict[str, Callable[[Spec], Coroutine[None, None, float]]] = {
    "client": client,
    "together": together,
    "sync": sync,
    "many": many,
}

if __name__ == "__main__":
    described = speech.read_spec(Spec)
    speech.answer(seconds=loop.run(_WAYS[described.way](described)))
