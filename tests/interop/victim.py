"""A worker of ours in a process of its own, for tests that kill it: `python victim.py URL`.

It prints `begun: ID` for each task of type `echo:stuck`; such a task never ends here.
"""

from __future__ import annotations

import asyncio
import sys

from taskflow import TaskContext, TaskFlow, WorkerOptions


def main(url: str) -> None:
    app = TaskFlow(url)

    @app.task("echo:stuck")
    async def stuck(context: TaskContext, payload: bytes) -> None:
        sys.stdout.write(f"begun: {context.id}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()

    asyncio.run(app.worker(WorkerOptions(concurrency=2, log_tasks=False)).run())


if __name__ == "__main__":
    main(sys.argv[1])
