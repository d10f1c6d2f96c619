"""A module of tasks: what an application writes.

    taskflow dev tasks:app          a store, the API and a worker for these tasks
    taskflow worker tasks:app       a worker alone

Run by itself (`python examples/tasks.py`), it enqueues some tasks, works until they are done, and prints the results.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta

from taskflow import SkipRetry, TaskContext, TaskFailed, TaskFlow
from taskflow.broker.embedded import EmbeddedServer

app = TaskFlow()


@dataclass
class Line:
    article: str
    price: float
    count: int = 1


@app.task("email:send", max_retries=5, timeout=timedelta(seconds=30))
async def send_email(ctx: TaskContext, to: str, subject: str = "Hello") -> dict[str, str]:
    """Send one mail. An address that cannot be one is not tried again."""
    if "@" not in to:
        raise SkipRetry(f"{to!r} is no address")
    await ctx.progress(50, "sending", f"to {to}")
    return {"to": to, "subject": subject}


@app.task("invoice:total")
def total(lines: list[Line]) -> float:
    """Add up an invoice. A plain function: it runs in a thread, and its payload is checked against the annotations."""
    return sum(line.price * line.count for line in lines)


async def run() -> None:
    """Enqueue, work, and print what came of it."""
    worker = app.worker()
    working = asyncio.create_task(worker.run())
    await worker.ready.wait()

    keep = timedelta(minutes=5)  # results are kept only as long as asked
    mail = await send_email.with_options(retention=keep).enqueue("ada@example.org", subject="Notes")
    print("mail:", await app.client.result(mail, timeout=10))

    invoice = await total.with_options(retention=keep).enqueue([Line("pen", 1.5, 4), Line("book", 12.0)])
    print("invoice:", await app.client.result(invoice, timeout=10))

    refused = await send_email.enqueue("nobody")
    try:
        await app.client.result(refused, timeout=10)
    except TaskFailed as error:
        print("refused:", error.error)

    worker.stop()
    await working
    await app.close()


def main() -> None:
    """Run the example against TASKFLOW_REDIS_URL, else against a server of its own."""
    with ExitStack() as stack:
        if "TASKFLOW_REDIS_URL" not in os.environ:
            os.environ["TASKFLOW_REDIS_URL"] = stack.enter_context(EmbeddedServer()).url
        asyncio.run(run())


if __name__ == "__main__":
    main()
