"""asynqmon's pages in a real browser show a TaskFlow system as our inspector sees it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Page

from interop.asynq_cli import seconds
from interop.asynqmon import facts, table
from interop.scene import GROUP, IN_STATE, PENDING, STATES, Scene, shown
from support.browser import Window
from support.waiting import wait_until
from taskflow import QueueInfo, TaskInfo, TaskState

pytestmark = [pytest.mark.go, pytest.mark.browser]

Row = dict[str, str]


def rate(info: QueueInfo) -> str:
    return f"{100 * info.failed / info.processed:.2f} %" if info.processed else "0.00%"


def same(text: str, data: bytes | None) -> bool:
    """Whether the page's text is the bytes; it lays JSON out."""
    expected = shown(data)
    try:
        return bool(json.loads(text) == json.loads(expected))
    except ValueError:
        return text == expected


def check_time(text: str, moment: datetime | None) -> None:
    """A time as the page has it: so long ago, or in so long a time."""
    assert moment is not None
    span = text.removeprefix("in ").removesuffix(" ago").removesuffix(" left")
    distance = abs(moment - datetime.now(UTC))
    if "day" in span:
        assert int(span.split()[0]) == distance.days
    else:
        assert seconds(span) == pytest.approx(distance.total_seconds(), abs=3)


def check_row(row: Row, task: TaskInfo) -> None:
    """Every column of a line about a task."""
    assert row["Type"] == task.type
    assert same(row["Payload"], task.payload)
    for name, value in {
        "Status": "Running",
        "Last Error": task.last_error,
        "Retried": str(task.retried),
        "Max Retry": str(task.max_retries),
        "Group": task.group,
    }.items():
        assert name not in row or row[name] == value
    kept_until = task.completed_at + task.retention if task.completed_at else None
    deadline = task.started_at + task.timeout if task.started_at and task.timeout else None
    for name, moment in {
        "Process In": task.next_process_at,
        "Retry In": task.next_process_at,
        "Last Failed": task.last_failed_at,
        "Completed": task.completed_at,
        "Started": task.started_at,
        "Deadline": deadline,
        "TTL": kept_until,
    }.items():
        if name in row:
            check_time(row[name], moment)
    if "Result" in row:
        assert same(row["Result"], task.result)


async def choose_group(page: Page, group: str) -> None:
    await page.get_by_label("Select group").click()
    await page.get_by_role("option").filter(has_text=group).click()


# -- queues and tasks -------------------------------------------------------------------------------------------------


async def test_the_first_page_shows_our_queues(web: Window, scene: Scene) -> None:
    infos = {info.queue: info for info in await scene.inspector.queue_infos()}
    page = await web.go("/")

    rows = {row["Queue"]: row for row in await table(page, "queues overview table")}

    assert set(rows) == set(infos)
    for name, info in infos.items():
        row = rows[name]
        assert row["State"] == ("paused" if info.paused else "run")
        assert (row["Size"], row["Processed"], row["Failed"]) == (str(info.size), str(info.processed), str(info.failed))
        assert row["Error rate"] == rate(info)
        assert seconds(row["Latency"]) == pytest.approx(info.latency.total_seconds(), abs=3)
    sizes, processed = page.locator(".recharts-wrapper").first, page.locator(".recharts-wrapper").last
    for name in infos:
        await sizes.locator("tspan", has_text=name).wait_for()
    await processed.locator("tspan", has_text=f"{datetime.now(UTC).date()}").wait_for()


async def test_a_queues_page_shows_its_tasks_in_each_state(web: Window, scene: Scene) -> None:
    info = await scene.info("default")
    page = await web.go("/queues/default")
    for state in STATES:
        chip = f"{state.title()} {getattr(info, state)}"
        await page.get_by_role("button", name=chip, exact=True).click()
        queue, _, count = IN_STATE[state]
        if queue != "default":
            await page.get_by_text(f"No {state} tasks at this time.").wait_for()
            continue
        if state == "aggregating":
            await choose_group(page, GROUP)
        rows = {row["ID"]: row for row in await table(page, f"{state} tasks table")}

        group = GROUP if state == "aggregating" else None
        tasks = await scene.inspector.tasks("default", TaskState(state), group=group)
        assert set(rows) == {task.id for task in tasks}
        assert len(rows) == count
        for task in tasks:
            check_row(rows[task.id], task)
    figures = await facts(page)
    assert (figures["Queue name"], figures["Queue state"], figures["Queue size"]) == ("default", "run", str(info.size))
    assert (figures["Task groups"], figures["Error rate"]) == (str(info.groups), rate(info))
    assert (figures["Processed"], figures["Failed"]) == (str(info.processed), str(info.failed))


async def test_a_queues_page_turns_over(web: Window, scene: Scene) -> None:
    ours = [task.id for task in await scene.inspector.tasks("low", TaskState.PENDING, size=1000)]
    page = await web.go("/queues/low?status=pending")
    for first in range(0, PENDING + 1, 20):
        part = ours[first : first + 20]

        async def turned(part: list[str] = part) -> bool:
            rows = await table(page, "pending tasks table")
            return [row["ID"] for row in rows] == part

        await wait_until(turned)
        await page.get_by_text(f"{first + 1}-{first + len(part)} of {len(ours)}").wait_for()
        if len(part) == 20:
            await page.get_by_role("button", name="next page").click()


async def test_a_tasks_page_shows_all_of_it(web: Window, scene: Scene) -> None:
    for state, (queue, task_id, _) in IN_STATE.items():
        page = await web.go(f"/queues/{queue}/tasks/{task_id}")
        await page.get_by_text(task_id, exact=True).wait_for()
        found = await facts(page)
        assert (found["ID"], found["State"], found["Queue"]) == (task_id, state, queue)
        check_details(found, await scene.inspector.task(task_id, queue))


def check_details(found: Row, task: TaskInfo) -> None:
    assert (found["Type"], found["Retry"]) == (task.type, f"{task.retried}/{task.max_retries}")
    assert found["Timeout"] == ("1800 seconds" if task.timeout else "-")
    assert same(found["Payload"], task.payload)
    failed_at = f"{task.last_failed_at:%Y-%m-%dT%H:%M:%SZ}" if task.last_failed_at else None
    assert found["Last Failure"] == (f"{task.last_error} ({failed_at})" if failed_at else "-")
    if task.next_process_at:
        due = task.next_process_at + timedelta(seconds=1, microseconds=-1)
        assert found["Next Process Time"] == f"{due:%Y-%m-%dT%H:%M:%SZ}"
    if task.completed_at:
        assert found["Completed"].endswith(f"({task.completed_at:%Y-%m-%dT%H:%M:%SZ})")
        assert same(found["Result"], task.result)
        check_time(found["TTL"], task.completed_at + task.retention)


async def test_a_periodic_tasks_page_opens(web: Window, scene: Scene) -> None:
    """Its id holds a colon."""
    (event,) = await scene.scheduler.store.events("daily")
    assert ":" in event.task_id

    page = await web.go(f"/queues/low/tasks/{event.task_id}")

    await page.get_by_text(event.task_id, exact=True).wait_for()
    assert (await facts(page))["State"] == "pending"


# -- servers, schedules, Redis ----------------------------------------------------------------------------------------


async def test_the_servers_page_shows_our_worker(web: Window, scene: Scene) -> None:
    (server,) = await scene.inspector.servers()
    page = await web.go("/servers")

    (row,) = await table(page, "server info table")

    check_time(row["Started"], server.started_at)
    assert row["Host:PID"] == f"{server.host}:{server.pid}"
    assert (row["Status"], row["Queues"], row["Active Workers"]) == ("active", "default, held, low", "2/2")
    await page.get_by_role("button", name="expand row").click()
    running = {found["Task ID"]: found for found in await table(page, "active workers")}
    assert set(running) == {"runs_1", "runs_2"}
    for task in server.running:
        assert same(running[task.id]["Task Payload"], task.payload)
        assert running[task.id]["Queue"] == task.queue
        check_time(running[task.id]["Started"], task.started_at)


async def test_the_schedulers_page_shows_our_schedules(web: Window, scene: Scene) -> None:
    await scene.scheduler.fire_now("daily")
    states = {state.entry.id: state for state in await scene.scheduler.states()}
    page = await web.go("/schedulers")

    rows = {row["Entry ID"]: row for row in await table(page, "scheduler entries table")}

    assert set(rows) == set(states)
    for entry_id, row in rows.items():
        state = states[entry_id]
        assert (row["Spec"], row["Type"]) == (state.entry.asynq_spec(), state.entry.type)
        assert same(row["Payload"], state.entry.payload)
        assert f"MaxRetry({state.entry.max_retries})" in row["Options"]
        if state.next_fire is None:
            assert row["Next Enqueue"] == "now"  # the page's word for "never"
        else:
            check_time(row["Next Enqueue"], state.next_fire)
        if state.last_fired is None:
            assert row["Prev Enqueue"] == "N/A"
        else:
            check_time(row["Prev Enqueue"], state.last_fired)
    await page.get_by_role("row").filter(has_text="daily").get_by_role("button", name="expand row").click()
    events = await table(page, "scheduler enqueue events table")
    assert [row["Task ID"] for row in events] == [
        event.task_id for event in await scene.scheduler.store.events("daily")
    ]


async def test_the_redis_page_opens(web: Window, scene: Scene) -> None:
    page = await web.go("/redis")

    await page.get_by_text("Connected Clients", exact=True).wait_for()
    await page.get_by_text("maxmemory_policy:noeviction").wait_for()
