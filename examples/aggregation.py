"""Groups: many small tasks become one: here one mail to each user instead of one for each note.

Run it: `python examples/aggregation.py`.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from datetime import timedelta

from taskflow import Inspector, Task, TaskFlow, TaskOptions, WorkerOptions
from taskflow.broker.embedded import EmbeddedServer

app = TaskFlow()
sent = asyncio.Queue[str]()


@app.task("mail:digest")
async def send_digest(user: str, notes: list[str]) -> None:
    """Send one mail with all that has happened."""
    await sent.put(f"{user}: {len(notes)} notes: {', '.join(sorted(notes))}")


@app.aggregate("user:*")
def make_digest(group: str, tasks: list[Task]) -> Task:
    """Make one task of a user's notes. It takes their place, in one step; if this fails, they stay in their group."""
    return send_digest.task(group.removeprefix("user:"), [task.payload.decode() for task in tasks])


async def run() -> None:
    """Enqueue notes for two users, and let a worker make digests of them."""
    notes = {"ada": ["liked", "shared", "followed"], "grace": ["liked", "mentioned"]}
    await app.client.enqueue_many(
        Task("note", note.encode(), TaskOptions(group=f"user:{user}"))
        for user, all_notes in notes.items()
        for note in all_notes
    )

    # A group is aggregated when it has 3 tasks, or when nothing has come into it for half a second.
    worker = app.worker(WorkerOptions(group_max_size=3, group_grace=timedelta(seconds=0.5)))
    working = asyncio.create_task(worker.run())
    for _ in notes:
        print(await asyncio.wait_for(sent.get(), 10))

    groups = await Inspector(app.client.broker).groups("default")
    print("members left:", sum(group.size for group in groups))
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
