"""The inspector shows what the queues hold, and steers them: pause, resume, delete, cancel."""

from __future__ import annotations

from datetime import timedelta

from conftest import StartWorker, WaitUntil
from taskflow import Client, Inspector, Task, TaskFlow, TaskOptions, TaskState


async def test_looking_into_queues(
    app: TaskFlow, client: Client, inspector: Inspector, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    @app.task("t")
    async def handler(n: int) -> int:
        return n

    kept = TaskOptions(retention=timedelta(minutes=5))
    await client.enqueue_many([Task("t", {"n": n}, kept) for n in range(3)])
    unwanted = await client.enqueue("t", {"n": 9}, process_in=timedelta(hours=1))

    assert await inspector.queues() == ["default"]
    (info,) = await inspector.queue_infos()
    assert (info.pending, info.scheduled, info.size) == (3, 1, 4)

    # Pages of tasks, those first that come first.
    pending = await inspector.tasks("default", TaskState.PENDING, size=2)
    assert [task.payload for task in pending] == [b'{"n":0}', b'{"n":1}']

    await inspector.delete(unwanted.id, "default")

    # A paused queue takes tasks, but gives none.
    await inspector.pause("default")
    await start_worker(app)
    assert (await inspector.queue_infos())[0].paused
    await inspector.resume("default")

    async def all_done() -> bool:
        return (await inspector.queue_infos())[0].completed == 3

    await wait_until(all_done)
    (server,) = await inspector.servers()
    assert server.status == "active"
