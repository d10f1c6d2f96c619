"""asynqmon's API on a TaskFlow system: it reads what our inspector reads, and every action of it works."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from interop.asynqmon import Asynqmon
from interop.go_peer import GoPeer
from interop.scene import GROUP, IN_STATE, NIGHTLY, STATES, Scene, shown
from support.waiting import wait_until
from taskflow import Client, QueueInfo, TaskInfo, TaskNotFound, TaskState

pytestmark = pytest.mark.go

VERBS = {
    "pending": ("delete", "archive"),
    "aggregating": ("delete", "archive", "run"),
    "scheduled": ("delete", "archive", "run"),
    "retry": ("delete", "archive", "run"),
    "archived": ("delete", "run"),
    "completed": ("delete",),
}
AFTER = {"archive": TaskState.ARCHIVED, "run": TaskState.PENDING, "delete": None}


def when(text: str) -> datetime | None:
    """A time of the API; asynq has two spellings of never."""
    return None if text in {"", "0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z"} else datetime.fromisoformat(text)


def whole(moment: datetime | None) -> datetime | None:
    """A due time as asynq has it: a whole second, rounded up."""
    return None if moment is None else datetime.fromtimestamp(-(-moment.timestamp() // 1), UTC)


def path_of(queue: str, state: str) -> list[str]:
    group = ["groups", GROUP] if state == "aggregating" else []
    return ["queues", queue, *group, f"{state}_tasks"]


def group_of(state: str) -> str | None:
    return GROUP if state == "aggregating" else None


# -- reading ----------------------------------------------------------------------------------------------------------


def check_queue(found: dict[str, Any], info: QueueInfo) -> None:
    names = ("queue", "size", "groups", "paused", "processed", "failed", *STATES)
    assert {name: found[name] for name in names} == {name: getattr(info, name) for name in names}
    assert found["succeeded"] == info.processed - info.failed
    assert found["latency_msec"] / 1000 == pytest.approx(info.latency.total_seconds(), abs=2)
    assert found["memory_usage_bytes"] > 0


def check_task(found: dict[str, Any], task: TaskInfo) -> None:
    """Every field of an answer about a task, as far as that answer has it."""
    expected = {
        "id": task.id,
        "queue": task.queue,
        "type": task.type,
        "payload": shown(task.payload),
        "state": task.state.value,
        "max_retry": task.max_retries,
        "retried": task.retried,
        "error_message": task.last_error or "",
        "timeout_seconds": task.timeout.total_seconds() if task.timeout else 0,
        "result": shown(task.result),
        "group": task.group,
        "is_orphaned": task.orphaned,
    }
    assert {name: found[name] for name in expected if name in found} == {n: expected[n] for n in expected if n in found}
    moments = {"last_failed_at": task.last_failed_at, "completed_at": task.completed_at}
    if task.state is not TaskState.PENDING:  # there it is the moment of the answer
        moments["next_process_at"] = whole(task.next_process_at)
    for name in moments.keys() & found.keys():
        assert when(found[name]) == moments[name]
    if "start_time" in found:
        assert task.started_at is not None
        assert when(found["start_time"]) == task.started_at.replace(microsecond=0)
    elif "deadline" in found:
        assert when(found["deadline"]) == task.deadline


async def test_queues_are_read(asynqmon: Asynqmon, scene: Scene) -> None:
    infos = {info.queue: info for info in await scene.inspector.queue_infos()}

    found = {queue["queue"]: queue for queue in (await asynqmon.get("queues"))["queues"]}

    assert set(found) == set(infos)
    for name, info in infos.items():
        check_queue(found[name], info)
        one = await asynqmon.get("queues", name)
        check_queue(one["current"], info)
        history = await scene.inspector.history(name, days=len(one["history"]))
        assert [(day["date"], day["processed"], day["failed"]) for day in one["history"]] == [
            (str(day.day), day.processed, day.failed) for day in history
        ]


@pytest.mark.parametrize("state", STATES)
async def test_tasks_are_read(asynqmon: Asynqmon, scene: Scene, state: str) -> None:
    queue, _, count = IN_STATE[state]
    tasks = await scene.inspector.tasks(queue, TaskState(state), size=1000, group=group_of(state))

    answer = await asynqmon.get(*path_of(queue, state), size=1000)

    check_queue(answer["stats"], await scene.info(queue))
    found = {task["id"]: task for task in answer["tasks"]}
    assert set(found) == {task.id for task in tasks}
    assert len(found) == count
    for task in tasks:
        check_task(found[task.id], task)
        check_task(await asynqmon.get("queues", queue, "tasks", task.id), task)


async def test_groups_are_read(asynqmon: Asynqmon, scene: Scene) -> None:
    found = (await asynqmon.get("queues", "default", "groups"))["groups"]

    groups = {group.name: group.size for group in await scene.inspector.groups("default")}
    assert {group["group"]: group["size"] for group in found} == groups


async def test_servers_are_read(asynqmon: Asynqmon, scene: Scene) -> None:
    (server,) = await scene.inspector.servers()

    (found,) = (await asynqmon.get("servers"))["servers"]

    running = {task.pop("task_id"): task for task in found.pop("active_workers")}
    assert found == {
        "id": server.id,
        "host": server.host,
        "pid": server.pid,
        "concurrency": server.concurrency,
        "queue_priorities": dict(server.queues),
        "strict_priority_enabled": server.strict_priority,
        "start_time": server.started_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "status": "active",
    }
    assert running == {
        task.id: {
            "queue": task.queue,
            "task_type": task.type,
            "task_payload": shown(task.payload),
            "start_time": task.started_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        for task in server.running
    }
    assert sorted(running) == ["runs_1", "runs_2"]


async def test_schedules_and_what_they_enqueued_are_read(asynqmon: Asynqmon, scene: Scene) -> None:
    await scene.scheduler.fire_now("daily")
    states = {state.entry.id: state for state in await scene.scheduler.states()}

    found = {entry["id"]: entry for entry in (await asynqmon.get("scheduler_entries"))["entries"]}

    assert set(found) == set(states)
    for entry_id, entry in found.items():
        ours = states[entry_id]
        assert (entry["spec"], entry["task_type"]) == (ours.entry.asynq_spec(), ours.entry.type)
        assert entry["task_payload"] == shown(ours.entry.payload)
        assert when(entry["next_enqueue_at"]) == ours.next_fire
        assert when(entry.get("prev_enqueue_at", "")) == ours.last_fired
    assert found[NIGHTLY.id]["options"] == ['Queue("low")', "MaxRetry(3)", "Timeout(30m0s)", "Retention(1h0m0s)"]
    events = (await asynqmon.get("scheduler_entries", "daily", "enqueue_events"))["events"]
    ours_of_daily = await scene.scheduler.store.events("daily")
    assert [event["task_id"] for event in events] == [event.task_id for event in ours_of_daily]
    assert len(events) == 2


async def test_the_redis_server_is_read(asynqmon: Asynqmon, scene: Scene) -> None:
    answer = await asynqmon.get("redis_info")

    assert answer["cluster"] is False
    assert answer["info"]["maxmemory_policy"] == "noeviction"


async def test_only_an_id_with_a_slash_is_too_much_for_it_whoever_chose_the_id(
    asynqmon: Asynqmon, client: Client, go: GoPeer
) -> None:
    """It lists such a task, but its own routes end at the slash: there it answers with its first page instead."""
    for task_id in ("py/1", "py:1 größe?#%"):
        await client.enqueue("mail", task_id=task_id)
    for task_id in ("go/1", "go:1 größe?#%"):
        await go.enqueue("mail", b"{}", task_id=task_id)

    tasks = (await asynqmon.get("queues", "default", "pending_tasks"))["tasks"]
    assert [task["id"] for task in tasks] == ["py/1", "py:1 größe?#%", "go/1", "go:1 größe?#%"]
    for task_id in ("py:1 größe?#%", "go:1 größe?#%"):
        assert (await asynqmon.get("queues", "default", "tasks", task_id))["id"] == task_id
    for task_id in ("py/1", "go/1"):
        with pytest.raises(ValueError, match="Expecting value"):
            await asynqmon.get("queues", "default", "tasks", task_id)


# -- acting -----------------------------------------------------------------------------------------------------------


async def check_state(scene: Scene, queue: str, task_id: str, state: TaskState | None) -> None:
    """Our inspector finds the task in the state; None: it is gone."""
    if state is None:
        with pytest.raises(TaskNotFound):
            await scene.inspector.task(task_id, queue)
    else:
        assert (await scene.inspector.task(task_id, queue)).state is state


@pytest.mark.usefixtures("consistent")
@pytest.mark.parametrize(("state", "verb"), [(state, verb) for state in VERBS for verb in VERBS[state]])
async def test_actions_on_one_on_some_and_on_all(asynqmon: Asynqmon, scene: Scene, state: str, verb: str) -> None:
    queue, _, count = IN_STATE[state]
    before = await scene.info(queue)
    tasks = await scene.inspector.tasks(queue, TaskState(state), size=1000, group=group_of(state))
    first, second, *others = (task.id for task in tasks)
    *parts, listed = path_of(queue, state)

    if verb == "delete":
        await asynqmon.ask("DELETE", *parts, listed, first)
    else:
        await asynqmon.ask("POST", *parts, listed, f"{first}:{verb}")
    await check_state(scene, queue, first, AFTER[verb])

    answer = await asynqmon.ask("POST", *parts, f"{listed}:batch_{verb}", body={"task_ids": [second]})
    assert [second] in answer.values()
    await check_state(scene, queue, second, AFTER[verb])
    await check_state(scene, queue, others[0], TaskState(state))

    await asynqmon.ask("DELETE" if verb == "delete" else "POST", *parts, f"{listed}:{verb}_all")
    for task_id in others:
        await check_state(scene, queue, task_id, AFTER[verb])
    after = await scene.info(queue)
    assert getattr(after, state) == getattr(before, state) - count
    if AFTER[verb]:
        assert after.size == before.size


@pytest.mark.usefixtures("consistent")
@pytest.mark.parametrize("how", ["one", "some", "all"])
async def test_cancelling_stops_our_handlers(asynqmon: Asynqmon, scene: Scene, how: str) -> None:
    """As asynq has it, that is a failed attempt."""
    path = ("queues", "default", "active_tasks")
    if how == "one":
        await asynqmon.ask("POST", *path, "runs_1:cancel")
    elif how == "some":
        answer = await asynqmon.ask("POST", *path[:-1], "active_tasks:batch_cancel", body={"task_ids": ["runs_1"]})
        assert answer == {"canceled_ids": ["runs_1"], "error_ids": []}
    else:
        await asynqmon.ask("POST", *path[:-1], "active_tasks:cancel_all")

    expected = ["runs_1", "runs_2"] if how == "all" else ["runs_1"]
    await wait_until(lambda: sorted(scene.stopped) == expected)

    async def retried() -> bool:
        tasks = [await scene.inspector.task(task_id, "default") for task_id in expected]
        return all((task.state, task.retried) == (TaskState.RETRY, 1) for task in tasks)

    await wait_until(retried)


@pytest.mark.usefixtures("consistent")
async def test_queues_are_paused_resumed_and_deleted(asynqmon: Asynqmon, scene: Scene) -> None:
    await asynqmon.ask("POST", "queues", "low:pause")
    assert (await scene.info("low")).paused
    await asynqmon.ask("POST", "queues", "low:resume")
    assert not (await scene.info("low")).paused

    with pytest.raises(AssertionError, match="400"):
        await asynqmon.ask("DELETE", "queues", "held")
    await scene.inspector.delete_all("held", TaskState.PENDING)
    await asynqmon.ask("DELETE", "queues", "held")
    assert await scene.inspector.queues() == ["default", "low"]
