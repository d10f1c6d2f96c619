"""Shared resources: a database for the worker's life, a transaction for each attempt, prices loaded before the first task.

Run it: `python examples/shared_resources.py`.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Annotated

from taskflow import Depends, TaskContext, TaskFlow, WorkerOptions, current_context
from taskflow.broker.embedded import EmbeddedServer

KEPT = timedelta(minutes=5)
app = TaskFlow()
prices: dict[str, int] = {}


@app.lifespan
async def price_list() -> AsyncIterator[None]:
    prices.update(lamp=40, chair=90)
    print("prices loaded")
    yield
    print("good night")


def database() -> Iterator[sqlite3.Connection]:
    """One for each worker process; a `def` runs in a thread, so it may block."""
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.execute("CREATE TABLE orders (article TEXT, price INTEGER, task TEXT)")
    print("connected")
    yield connection
    connection.close()
    print("disconnected")


async def transaction(
    ctx: TaskContext, db: Annotated[sqlite3.Connection, Depends(database)]
) -> AsyncIterator[sqlite3.Connection]:
    """One for each attempt: what the handler raises is raised at the `yield`."""
    try:
        yield db
    except BaseException:
        db.rollback()
        print(f"{ctx.type}: rolled back")
        raise
    db.commit()
    print(f"{ctx.type}: committed")


def record(db: sqlite3.Connection, article: str, price: int) -> None:
    db.execute("INSERT INTO orders VALUES (?, ?, ?)", (article, price, current_context().id))


@app.task("order", max_retries=0)
async def order(articles: list[str], tx: sqlite3.Connection = Depends(transaction, scope="task")) -> int:
    total = 0
    for article in articles:
        record(tx, article, prices[article])
        total += prices[article]
    return total


@app.task("count")
def count(db: sqlite3.Connection = Depends(database)) -> int:
    (number,) = db.execute("SELECT count(*) FROM orders").fetchone()
    return int(number)


async def main() -> None:
    with ExitStack() as stack:
        app.redis_url = os.environ.get("TASKFLOW_REDIS_URL") or stack.enter_context(EmbeddedServer()).url
        worker = app.worker(WorkerOptions(log_tasks=False))
        running = asyncio.create_task(worker.run())
        await worker.ready.wait()

        good = await order.with_options(retention=KEPT).enqueue(["lamp", "chair"])
        print("total:", await app.client.result(good, timeout=10))
        bad = await order.with_options(retention=KEPT).enqueue(["lamp", "moon"])
        print("failed:", (await app.client.wait(bad.id, timeout=10)).last_error)
        counted = await count.with_options(retention=KEPT).enqueue()
        print("orders:", await app.client.result(counted, timeout=10))

        worker.stop()
        await running
        await app.close()


if __name__ == "__main__":
    asyncio.run(main())
