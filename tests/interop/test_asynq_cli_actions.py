"""asynq's command line tool steers a TaskFlow system: every action works, and our inspector agrees."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import redis

from interop.asynq_cli import AsynqCli
from interop.scene import GROUP, HOUR, IN_STATE, STATES, Scene
from support.waiting import wait_until
from taskflow import Task, TaskInfo, TaskNotFound, TaskOptions, TaskState
from taskflow.errors import QueueNotFound

pytestmark = [pytest.mark.go, pytest.mark.usefixtures("consistent")]

WAITING = ("pending", "aggregating", "scheduled", "retry")
RUNNABLE = ("aggregating", "scheduled", "retry", "archived")
NOT_RUNNING = [state for state in STATES if state != "active"]


def of_task(queue: str, task_id: str) -> tuple[str, str]:
    return f"--queue={queue}", f"--id={task_id}"


def of_all(state: str) -> tuple[str, ...]:
    flags = (f"--queue={IN_STATE[state][0]}", f"--state={state}")
    return (*flags, f"--group={GROUP}") if state == "aggregating" else flags


async def find(scene: Scene, queue: str, task_id: str) -> TaskInfo | None:
    try:
        return await scene.inspector.task(task_id, queue)
    except TaskNotFound:
        return None


async def group_size(scene: Scene) -> int:
    return {group.name: group.size for group in await scene.inspector.groups("default")}.get(GROUP, 0)


# -- queues -----------------------------------------------------------------------------------------------------------


async def test_queue_pause_and_unpause(asynq: AsynqCli, scene: Scene) -> None:
    assert "Successfully paused" in await asynq("queue", "pause", "low")
    assert (await scene.info("low")).paused
    assert "already paused" in (await asynq.attempt("queue", "pause", "held"))[1]

    for queue in ("low", "held"):
        assert "Successfully unpaused" in await asynq("queue", "unpause", queue)
    assert not any(info.paused for info in await scene.inspector.queue_infos())


async def test_queue_rm_refuses_a_queue_that_is_not_empty(asynq: AsynqCli, scene: Scene) -> None:
    sizes = [info.size for info in await scene.inspector.queue_infos()]

    assert '"low" is not empty' in (await asynq.attempt("queue", "rm", "low"))[1]
    assert "queue with active tasks" in (await asynq.attempt("queue", "rm", "default", "--force"))[1]

    assert [info.size for info in await scene.inspector.queue_infos()] == sizes


async def test_queue_rm_removes_an_empty_queue(asynq: AsynqCli, scene: Scene) -> None:
    for state in ("pending", "retry"):
        await asynq("task", "deleteall", "--queue=low", f"--state={state}")

    assert 'Successfully removed queue "low"' in await asynq("queue", "rm", "low")

    assert await scene.inspector.queues() == ["default", "held"]
    with pytest.raises(QueueNotFound):
        await scene.info("low")


async def test_queue_rm_with_force_removes_the_tasks_of_a_queue(
    asynq: AsynqCli, scene: Scene, raw: redis.Redis
) -> None:
    """Asynq leaves that the queue is paused, and the locks until they expire; and it does not know our due times."""
    await scene.app.client.enqueue("mail", queue="held", process_in=timedelta(seconds=3600.25), unique=HOUR)

    assert 'Successfully removed queue "held"' in await asynq("queue", "rm", "--force", "held")

    assert await scene.inspector.queues() == ["default", "low"]
    left = {key.decode() for key in raw.scan_iter("*{held}*")}
    assert left == {"asynq:{held}:paused", "asynq:{held}:unique:mail:", "taskflow:{held}:due"}


async def test_a_queue_that_the_tool_has_removed_is_seen_again_with_its_next_task(
    asynq: AsynqCli, scene: Scene
) -> None:
    """Not so in asynq, whose clients write a queue's name once. Ours writes it again after ten seconds."""
    client = scene.app.client
    await asynq("queue", "rm", "--force", "held")
    client.broker._known_queues._until = 0.0  # the ten seconds are over

    await client.enqueue("mail", queue="held")

    assert await scene.inspector.queues() == ["default", "held", "low"]
    assert "held" in await asynq("queue", "ls")


# -- single tasks -----------------------------------------------------------------------------------------------------


async def test_task_cancel_stops_a_running_handler(asynq: AsynqCli, scene: Scene) -> None:
    """As asynq has it, that is a failed attempt. The slot is free for what waits."""
    assert "Sent cancelation signal for task runs_1" in await asynq("task", "cancel", "runs_1")

    await wait_until(lambda: scene.stopped == ["runs_1"])

    async def drained() -> bool:
        return (await scene.info("low")).pending == 0

    await wait_until(drained, 15)
    info = await find(scene, "default", "runs_1")
    assert info is not None
    assert (info.state, info.retried) == (TaskState.RETRY, 1)
    assert (await scene.inspector.task("runs_2")).state is TaskState.ACTIVE


@pytest.mark.parametrize("state", RUNNABLE)
async def test_task_run_makes_a_task_pending(asynq: AsynqCli, scene: Scene, state: str) -> None:
    queue, task_id, _ = IN_STATE[state]

    assert "task is now pending" in await asynq("task", "run", *of_task(queue, task_id))

    assert (await scene.inspector.task(task_id, queue)).state is TaskState.PENDING
    assert (await scene.info(queue)).pending == 1


@pytest.mark.parametrize("state", WAITING)
async def test_task_archive_archives_a_task(asynq: AsynqCli, scene: Scene, state: str) -> None:
    queue, task_id, _ = IN_STATE[state]
    before = await scene.info(queue)

    assert "task archived" in await asynq("task", "archive", *of_task(queue, task_id))

    assert (await scene.inspector.task(task_id, queue)).state is TaskState.ARCHIVED
    after = await scene.info(queue)
    assert (after.archived, after.size) == (before.archived + 1, before.size)


@pytest.mark.parametrize("state", NOT_RUNNING)
async def test_task_delete_deletes_a_task(asynq: AsynqCli, scene: Scene, state: str) -> None:
    queue, task_id, _ = IN_STATE[state]
    before = await scene.info(queue)

    assert "task deleted" in await asynq("task", "delete", *of_task(queue, task_id))

    assert await find(scene, queue, task_id) is None
    assert (await scene.info(queue)).size == before.size - 1


async def test_a_running_task_is_left_alone_by_run_archive_and_delete(asynq: AsynqCli, scene: Scene) -> None:
    for verb in ("run", "archive", "delete"):
        code, text = await asynq.attempt("task", verb, *of_task("default", "runs_1"))
        assert (code, "error:" in text) == (1, True)

    assert (await scene.inspector.task("runs_1")).state is TaskState.ACTIVE


async def test_task_delete_frees_the_unique_lock(asynq: AsynqCli, scene: Scene) -> None:
    """`later_3` holds one."""
    await asynq("task", "delete", *of_task("default", "later_3"))

    info = await scene.app.client.enqueue(
        Task("mail", None, TaskOptions(task_id="again", unique=HOUR, process_in=HOUR))
    )
    assert info.state is TaskState.SCHEDULED


async def test_task_enqueue_hands_us_a_task_with_all_its_options(asynq: AsynqCli, scene: Scene) -> None:
    due = (datetime.now(UTC) + timedelta(hours=3)).replace(microsecond=0)
    options = {
        "id": "from-the-tool",
        "queue": "low",
        "retry": "7",
        "timeout": "90s",
        "deadline": (due + HOUR).isoformat(),
        "process_at": due.isoformat(),
        "retention": "1h30m",
        "unique": "4h",
    }
    flags = [f"--{name}={value}" for name, value in options.items()]

    await asynq("task", "enqueue", "--type_name=mail", '--payload={"to":"größe"}', *flags)

    task = await scene.inspector.task("from-the-tool", "low")
    assert (task.state, task.type, task.payload) == (TaskState.SCHEDULED, "mail", '{"to":"größe"}'.encode())
    assert (task.max_retries, task.timeout, task.deadline) == (7, timedelta(seconds=90), due + HOUR)
    assert (task.next_process_at, task.retention) == (due, timedelta(minutes=90))
    assert "already" in (await asynq.attempt("task", "enqueue", "-t", "mail", "-l", '{"to":"größe"}', *flags))[1]


async def test_our_worker_runs_what_the_tool_enqueues_and_runs(asynq: AsynqCli, scene: Scene) -> None:
    await asynq("task", "enqueue", "-t", "report", "-l", "{}", "--id=from-the-tool", "--retention=1h")
    for task_id in ("later_1", "dead_1"):
        await asynq("task", "run", *of_task("default", task_id))
    await asynq("task", "cancel", "runs_1")

    async def ran() -> bool:
        done = await find(scene, "default", "from-the-tool")
        return done is not None and done.state is TaskState.COMPLETED

    await wait_until(ran)
    (found,) = [task for task in await scene.inspector.tasks("default", TaskState.COMPLETED) if task.id[0] == "f"]
    assert found.result == '{"größe":"42 €"}'.encode()

    async def settled() -> bool:
        dead = await find(scene, "default", "dead_1")
        return await find(scene, "default", "later_1") is None and dead is not None and dead.state.finished

    await wait_until(settled)


# -- all tasks in a state ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", RUNNABLE)
async def test_task_runall_makes_all_pending(asynq: AsynqCli, scene: Scene, state: str) -> None:
    queue, _, count = IN_STATE[state]
    before = await scene.info(queue)

    assert f"{count} tasks are now pending" in await asynq("task", "runall", *of_all(state))

    after = await scene.info(queue)
    assert (after.pending, getattr(after, state)) == (before.pending + count, getattr(before, state) - count)


@pytest.mark.parametrize("state", WAITING)
async def test_task_archiveall_archives_all(asynq: AsynqCli, scene: Scene, state: str) -> None:
    queue, _, count = IN_STATE[state]
    before = await scene.info(queue)

    text = await asynq("task", "archiveall", *of_all(state))

    after = await scene.info(queue)
    assert (after.archived, getattr(after, state)) == (before.archived + count, getattr(before, state) - count)
    assert f"{count} tasks archived" in text


@pytest.mark.parametrize("state", NOT_RUNNING)
async def test_task_deleteall_deletes_all(asynq: AsynqCli, scene: Scene, state: str) -> None:
    queue, _, count = IN_STATE[state]
    before = await scene.info(queue)

    text = await asynq("task", "deleteall", *of_all(state))

    after = await scene.info(queue)
    assert (after.size, getattr(after, state)) == (before.size - count, getattr(before, state) - count)
    assert await group_size(scene) == (0 if state == "aggregating" else 3)
    assert f"{count} tasks deleted" in text
