"""asynq's command line tool reads a TaskFlow system: every command that reads shows what our inspector says."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from interop.asynq_cli import AsynqCli, Row, Table, moment, seconds, tables
from interop.scene import GROUP, IN_STATE, ODD_GROUP, PENDING, QUEUES, STATES, Scene, shown
from taskflow import QueueInfo, TaskInfo, TaskState

pytestmark = pytest.mark.go


def counts(info: QueueInfo) -> Row:
    return {state: str(getattr(info, state)) for state in STATES}


def day(processed: int, failed: int) -> Row:
    rate = f"{100 * failed / processed:.2f}%" if processed else "N/A"
    return {"processed": str(processed), "failed": str(failed), "error rate": rate}


async def all_tasks(scene: Scene, queue: str, state: TaskState, group: str | None = None) -> dict[str, TaskInfo]:
    return {task.id: task for task in await scene.inspector.tasks(queue, state, size=1000, group=group)}


# -- queues -----------------------------------------------------------------------------------------------------------


async def test_stats_adds_up_all_queues(asynq: AsynqCli, scene: Scene) -> None:
    infos = await scene.inspector.queue_infos()
    by_state, by_queue, today, server = await asynq.tables("stats")

    assert by_state == [{state: str(sum(getattr(info, state) for info in infos)) for state in STATES}]
    titles = {info.queue + (" (paused)" if info.paused else ""): str(info.size) for info in infos}
    assert by_queue == [titles]
    assert today == [day(sum(info.processed for info in infos), sum(info.failed for info in infos))]
    assert server[0]["uptime"] == "0 days"
    assert all(info.size for info in infos)


async def test_stats_as_json_has_every_number_of_our_inspector(asynq: AsynqCli, scene: Scene) -> None:
    found = {stats["Queue"]: stats for stats in json.loads(await asynq("stats", "--json"))["queues"]}
    infos = await scene.inspector.queue_infos()

    assert set(found) == {info.queue for info in infos} == set(QUEUES)
    for info in infos:
        stats = found[info.queue]
        assert {state: stats[state.title()] for state in STATES} == {state: getattr(info, state) for state in STATES}
        totals = ("Processed", "Failed", "ProcessedTotal", "FailedTotal")
        assert [stats[name] for name in totals] == [
            info.processed,
            info.failed,
            info.processed_total,
            info.failed_total,
        ]
        assert (stats["Size"], stats["Groups"], stats["Paused"]) == (info.size, info.groups, info.paused)
        assert stats["MemoryUsage"] == pytest.approx(await scene.inspector.memory(info.queue), rel=0.5)
        assert stats["Latency"] / 1e9 == pytest.approx(info.latency.total_seconds(), abs=2)


async def test_queue_ls_names_every_queue(asynq: AsynqCli, scene: Scene) -> None:
    assert sorted((await asynq("queue", "ls")).split()) == await scene.inspector.queues() == sorted(QUEUES)


@pytest.mark.parametrize("queue", QUEUES)
async def test_queue_inspect_shows_a_queue(asynq: AsynqCli, scene: Scene, queue: str) -> None:
    text = await asynq("queue", "inspect", queue)

    info = await scene.info(queue)
    fields = dict(line.split(maxsplit=1) for line in text.split("\n")[1:5])
    paused = "true" if info.paused else "false"
    assert fields == {"Name:": queue, "Size:": str(info.size), "Groups:": str(info.groups), "Paused:": paused}
    assert tables(text) == [[counts(info)], [day(info.processed, info.failed)]]


async def test_queue_history_shows_each_day(asynq: AsynqCli, scene: Scene) -> None:
    info = await scene.info("default")
    today = datetime.now(UTC).date()

    rows = await asynq.table("queue", "history", "default", "--days", "4")

    expected = [day(info.processed, info.failed), day(3, 1), day(0, 0), day(0, 0)]
    assert rows == [{"date (UTC)": f"{today - timedelta(days=age)}", **numbers} for age, numbers in enumerate(expected)]


async def test_group_ls_names_the_groups(asynq: AsynqCli, scene: Scene) -> None:
    groups = [group.name for group in await scene.inspector.groups("default")]

    assert sorted((await asynq("group", "ls", "--queue=default")).strip().split("\n")) == groups
    assert groups == sorted([GROUP, ODD_GROUP])
    assert "No groups found" in await asynq("group", "ls", "--queue=low")


# -- tasks ------------------------------------------------------------------------------------------------------------


async def listed(asynq: AsynqCli, queue: str, state: str, *more: str) -> Table:
    return await asynq.table("task", "ls", f"--queue={queue}", f"--state={state}", *more)


def check_row(row: Row, task: TaskInfo) -> None:
    """Every column of a line about a task."""
    assert (row["Type"], row["Payload"]) == (task.type, shown(task.payload))
    if "Process In" in row or "Next Retry" in row:
        assert task.next_process_at is not None
        left = (task.next_process_at - datetime.now(UTC)).total_seconds()
        text = row.get("Process In") or row["Next Retry"]
        assert seconds(text.removeprefix("in ")) == pytest.approx(left, abs=2.5)
    if "Last Error" in row:
        assert task.last_failed_at is not None
        assert (row["Last Error"], moment(row["Last Failed"])) == (task.last_error, task.last_failed_at)
    if "Retried" in row:
        assert (row["Retried"], row["Max Retry"]) == (str(task.retried), str(task.max_retries))
    if "CompletedAt" in row:
        assert (moment(row["CompletedAt"]), row["Result"]) == (task.completed_at, shown(task.result))
    if "Group" in row:
        assert row["Group"] == task.group


@pytest.mark.parametrize("state", [state for state in STATES if state != "aggregating"])
async def test_task_ls_shows_the_tasks_in_a_state(asynq: AsynqCli, scene: Scene, state: str) -> None:
    queue, _, count = IN_STATE[state]
    tasks = await all_tasks(scene, queue, TaskState(state))
    assert len(tasks) == getattr(await scene.info(queue), state) == count

    rows = await listed(asynq, queue, state, "--size=100")

    assert sorted(row["ID"] for row in rows) == sorted(tasks)
    for row in rows:
        check_row(row, tasks[row["ID"]])


@pytest.mark.parametrize("group", [GROUP, ODD_GROUP])
async def test_task_ls_shows_the_members_of_a_group(asynq: AsynqCli, scene: Scene, group: str) -> None:
    tasks = await all_tasks(scene, "default", TaskState.AGGREGATING, group)

    rows = await listed(asynq, "default", "aggregating", f"--group={group}")

    assert [row["ID"] for row in rows] == list(tasks)
    for row in rows:
        check_row(row, tasks[row["ID"]])


async def test_task_ls_pages_as_we_do(asynq: AsynqCli, scene: Scene) -> None:
    pages = [await listed(asynq, "low", "pending", f"--page={page}", "--size=20") for page in (1, 2, 3)]

    ours = await scene.inspector.tasks("low", TaskState.PENDING, size=1000)
    assert [len(page) for page in pages] == [20, 20, PENDING + 1 - 40]
    assert [row["ID"] for page in pages for row in page] == [task.id for task in ours]


@pytest.mark.parametrize("state", STATES)
async def test_task_inspect_shows_a_task(asynq: AsynqCli, scene: Scene, state: str) -> None:
    queue, *_ = IN_STATE[state]
    group = GROUP if state == "aggregating" else None
    for task in list((await all_tasks(scene, queue, TaskState(state), group)).values())[:3]:
        lines = (await asynq("task", "inspect", f"--queue={queue}", f"--id={task.id}")).split("\n")

        fields = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
        assert [fields[name] for name in ("Queue", "ID", "Type", "State")] == [queue, task.id, task.type, state]
        assert fields["Retried"] == f"{task.retried}/{task.max_retries}"
        assert fields.get("Error message") == task.last_error
        next_time = fields["Next process time"]
        if task.next_process_at is None:
            assert next_time in {"n/a", "now"}  # now: a pending task
        else:
            shown = moment(next_time.partition(" (")[0])
            assert timedelta(0) <= shown - task.next_process_at < timedelta(seconds=1)


# -- servers and schedules --------------------------------------------------------------------------------------------


async def test_server_ls_shows_our_worker(asynq: AsynqCli, scene: Scene) -> None:
    (server,) = await scene.inspector.servers()

    (row,) = await asynq.table("server", "ls")

    assert seconds(row.pop("Started").removesuffix(" ago")) < 30
    assert row == {
        "Host": server.host,
        "PID": str(server.pid),
        "State": "active",
        "Active Workers": "2/2",
        "Queues": "default:3 held:1 low:1",
    }


async def test_cron_ls_shows_our_schedules(asynq: AsynqCli, scene: Scene) -> None:
    states = {state.entry.id: state for state in await scene.scheduler.states()}

    rows = {row["EntryID"]: row for row in await asynq.table("cron", "ls")}

    assert set(rows) == set(states) == {"daily", "nightly", "asleep", "yearly"}
    for entry_id, row in rows.items():
        entry, now = states[entry_id].entry, datetime.now(UTC)
        assert (row["Spec"], row["Type"], row["Payload"]) == (entry.asynq_spec(), entry.type, shown(entry.payload))
        nightly = '[Queue("low") MaxRetry(3) Timeout(30m0s) Retention(1h0m0s)]'
        assert row["Options"] == (nightly if entry_id == "nightly" else '[Queue("low") MaxRetry(25)]')
        next_fire, last = states[entry_id].next_fire, states[entry_id].last_fired
        if next_fire is None:
            assert row["Next"] == "Now"  # the tool's word for "never"
        else:
            assert seconds(row["Next"].removeprefix("In ")) == pytest.approx((next_fire - now).total_seconds(), abs=2)
        if last is None:
            assert row["Prev"] == "N/A"
        else:
            assert seconds(row["Prev"].removesuffix(" ago")) == pytest.approx((now - last).total_seconds(), abs=2)
    assert [states[entry_id].last_fired is None for entry_id in ("daily", "nightly")] == [False, True]


async def test_cron_history_shows_what_a_schedule_enqueued(asynq: AsynqCli, scene: Scene) -> None:
    await scene.scheduler.fire_now("daily")
    events = await scene.scheduler.store.events("daily")

    rows = await asynq.table("cron", "history", "daily")

    assert len(events) == 2
    assert [row["TaskID"] for row in rows] == [event.task_id for event in events]
    for row, event in zip(rows, events, strict=True):
        assert row["EnqueuedAt"].startswith(event.at.strftime("%Y-%m-%d %H:%M:%S"))
    assert "No scheduler enqueue events" in await asynq("cron", "history", "nightly")
