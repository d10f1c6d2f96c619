"""Progress: a handler tells how far it has come, and whoever is interested follows it live."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from datetime import timedelta

from taskflow import TaskContext, TaskFlow
from taskflow.application.queries import GetTask
from taskflow.application.service import TaskService
from taskflow.broker.embedded import EmbeddedServer

app = TaskFlow()


@app.task("photos:import")
async def import_photos(ctx: TaskContext, files: list[str]) -> int:
    """Import photos, one after the other."""
    for number, file in enumerate(files, start=1):
        await asyncio.sleep(0.2)
        await ctx.progress(100 * number / len(files), "importing", file, metadata={"number": number})
    return len(files)


async def run() -> None:
    """Enqueue a task, and follow it to its end."""
    worker = app.worker()
    working = asyncio.create_task(worker.run())
    await worker.ready.wait()

    photos = [f"photo-{number}.jpg" for number in range(1, 6)]
    task = await import_photos.with_options(retention=timedelta(minutes=5)).enqueue(photos)
    async with TaskService.connect(app.settings) as service:
        async for event in await service.progress.follow(task.id, queue=task.queue, history=True):
            if event.entry is not None:
                progress = event.entry.progress
                print(f"{event.kind}: {progress.percentage:.0f}% {progress.stage} {progress.message}")
        ended = await service.get(GetTask(task.id, task.queue))
    print(f"{ended.state}: {ended.result!r} photos")

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
