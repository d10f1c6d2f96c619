"""The inspector shows what the queues hold, and steers them: pause, resume, run, archive, edit, delete, remove."""

from __future__ import annotations

from datetime import timedelta

from conftest import StartWorker, WaitUntil
from taskflow import Client, Inspector, Task, TaskFlow, TaskNotFound, TaskOptions, TaskState


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


async def test_steering_tasks(client: Client, inspector: Inspector) -> None:
    await client.enqueue_many([Task("t", {"n": n}, TaskOptions(task_id=f"{n}")) for n in range(4)])
    await client.enqueue("t", {"n": 9}, task_id="later", process_in=timedelta(hours=1))

    # What waits for its time can be changed, or run at once.
    changed = await inspector.edit("later", payload={"n": 10})
    assert changed.payload == b'{"n":10}'
    assert await inspector.run("later") is TaskState.SCHEDULED

    # Some, each with its own answer: the state it was in, or the error.
    first, second, missing = await inspector.archive_many(["0", "1", "nobody"], "default")
    assert (first, second) == (TaskState.PENDING, TaskState.PENDING)
    assert isinstance(missing, TaskNotFound)

    # All of a state, in bounded chunks.
    assert await inspector.run_all("default", TaskState.ARCHIVED) == 2
    assert await inspector.cancel_all("default", TaskState.PENDING) == 5

    # The queue itself: with force, as it holds tasks.
    assert await inspector.remove_queue("default", force=True) == 5
    assert await inspector.queues() == []
