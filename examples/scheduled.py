"""Periodic tasks: one in the code, one kept in Redis; changed, paused and run at once while everything works."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack

from taskflow import ScheduleEntry, ScheduleStore, TaskFlow
from taskflow.broker.embedded import EmbeddedServer

app = TaskFlow()
heard: asyncio.Queue[str] = asyncio.Queue()


@app.schedule("@every 1s", id="heartbeat")
@app.task("heartbeat")
async def heartbeat() -> None:
    """Tell that it runs."""
    await heard.put("heartbeat")


@app.task("greet")
async def greet(name: str) -> None:
    """Greet somebody."""
    await heard.put(f"hello {name}")


async def hear(text: str) -> None:
    """Wait until a handler has said this."""
    while await heard.get() != text:
        pass
    print(f"heard: {text}")


async def run() -> None:
    """Run a worker and a scheduler, as `taskflow worker scheduled:app --with-scheduler` does."""
    worker, scheduler = app.worker(), app.scheduler()
    working = [asyncio.create_task(worker.run()), asyncio.create_task(scheduler.run())]
    await worker.ready.wait()
    await scheduler.ready.wait()
    await hear("heartbeat")

    schedules = ScheduleStore(app.client.broker)
    await schedules.put(ScheduleEntry(id="greeting", spec="@every 1s", type="greet", payload=b'{"name": "Ada"}'))
    await hear("hello Ada")

    await schedules.put(ScheduleEntry(id="greeting", spec="@yearly", type="greet", payload=b'{"name": "Grace"}'))
    await scheduler.fire_now("greeting")
    await hear("hello Grace")

    await schedules.pause("greeting")
    for state in await scheduler.states():
        print(f"{state.entry.id}: {state.entry.spec} in {state.origin}{', paused' if state.paused else ''}")
    await schedules.delete("greeting")

    for part in (worker, scheduler):
        part.stop()
    await asyncio.gather(*working)
    await app.close()


def main() -> None:
    """Run the example against TASKFLOW_REDIS_URL, else against a server of its own."""
    with ExitStack() as stack:
        if "TASKFLOW_REDIS_URL" not in os.environ:
            os.environ["TASKFLOW_REDIS_URL"] = stack.enter_context(EmbeddedServer()).url
        asyncio.run(run())


if __name__ == "__main__":
    main()
