"""Everything that the dashboard shows agrees with what Go's Inspector says: its pages are read as HTML, and compared.

Queues were filled and worked on by Go and by us, and hold tasks in every state; times, errors and payloads are compared too.
"""

from __future__ import annotations

import base64
import math
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import httpx
import msgspec
import pytest
import redis

from interop.go_peer import TIMEOUT, GoPeer, Reply
from interop.two_queues import GROUP, HOUR, QUEUES
from support.api import http_client, settings_with
from support.markup import Element, read_markup
from support.schedulers import running
from support.store import Store
from support.waiting import wait_until
from taskflow import Client, ScheduleEntry, Scheduler, TaskState
from taskflow.dashboard.values import shown

pytestmark = pytest.mark.go

STATES = [state for state in TaskState if state is not TaskState.AGGREGATING]
HELD = "größe:7&<held>"
HELD_TASKS = 60
"""More than a page of the dashboard shows."""
_NO_END = 2**63 - 1
_ROUNDING = 1.0
"""How far (s) our times, which are exact, may be before asynq's, which are whole seconds."""


class Dashboard:
    """The dashboard's pages, as HTML."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def page(self, path: str, **query: object) -> Element:
        """The content of a page."""
        params = {name: str(value) for name, value in query.items()}
        answer = await self._http.get(path, params=params, headers={"Accept": "text/html"})
        assert answer.status_code == 200, answer.text
        return read_markup(answer.text).one("main")


@pytest.fixture
async def dashboard(redis_url: str) -> AsyncIterator[Dashboard]:
    """The dashboard on the test's server."""
    async with http_client(settings_with(), redis_url) as http:
        yield Dashboard(http)


@pytest.fixture
async def held(go: GoPeer, client: Client) -> None:
    """A third queue, which Go has paused, with an odd name and many tasks."""
    for number in range(HELD_TASKS):
        if number % 2:
            await client.enqueue("mail", {"n": number}, queue=HELD, task_id=f"py {number} <b>")
        else:
            await go.enqueue("mail", b'{"n":0}', queue=HELD, task_id=f"go/{number}?#&", timeout="90s")
    await go.inspect("pause", queue=HELD)


async def listed(go: GoPeer, queue: str, state: str, group: str = "") -> list[Reply]:
    """All tasks in a state, as Go's Inspector lists them."""
    found: list[Reply] = await go.inspect("list", queue=queue, state=state, group=group, page=1, size=1000)
    return found


def unix(moments: Sequence[datetime]) -> list[float]:
    """Moments as Unix times."""
    return [moment.timestamp() for moment in moments]


def shows_time(element: Element, at: float) -> None:
    """Asynq's whole second is among the times, or an exact one in it."""
    found = unix(element.times)
    assert any(abs(each - at) < _ROUNDING for each in found), f"{at} is not among {found}"


# -- queues -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("filled", "held", "invariants_hold")
async def test_the_numbers_of_queues_are_those_of_go(go: GoPeer, dashboard: Dashboard) -> None:
    overview = await dashboard.page("/")
    waiting = 0
    for page in (overview, await dashboard.page("/queues")):
        waiting = await compare_queues(go, page)
    assert overview.facts["Waiting"].text == f"{waiting} tasks"
    assert overview.facts["Running"].text == "4 of 4"


async def compare_queues(go: GoPeer, page: Element) -> int:
    """A table of queues has Go's numbers; return how many tasks wait in them."""
    waiting = 0
    rows = {row["Queue"].one("a").text: row for row in page.rows}
    assert sorted(rows) == await go.inspect("queues")
    for name, row in rows.items():
        theirs = await go.inspect("queue_info", queue=name)
        columns = {"Grouped": "aggregating"} | {
            state.capitalize(): state for state in TaskState if state is not TaskState.AGGREGATING
        }
        assert {column: int(row[column].text) for column in columns} == {
            column: theirs[state] for column, state in columns.items()
        }
        assert ("paused" in row["Queue"].text) is theirs["paused"] is (name == HELD)
        waiting += theirs["pending"]
    return waiting


@pytest.mark.usefixtures("filled", "held", "invariants_hold")
async def test_the_tasks_of_each_state_are_those_of_go(go: GoPeer, dashboard: Dashboard, raw: redis.Redis) -> None:
    for queue in (*QUEUES, HELD):
        archived_at = Store(raw, queue).scores("archived")  # Go's Inspector does not tell it
        for state in STATES:
            theirs = [task | {"archived_at": archived_at.get(task["id"])} for task in await listed(go, queue, state)]
            rows = [row for page in await pages_of(dashboard, queue, state, len(theirs)) for row in page.rows]
            compare_lists(rows, theirs, queue, state)
        groups = {group["group"]: group["size"] for group in await go.inspect("groups", queue=queue)}
        page = await dashboard.page("/queue", name=queue, state="aggregating")
        assert {row["Group"].text: int(row["Tasks"].text) for row in page.rows} == groups
        for group in groups:
            page = await dashboard.page("/queue", name=queue, state="aggregating", group=group)
            compare_lists(page.rows, await listed(go, queue, "aggregating", group), queue, TaskState.AGGREGATING)


async def pages_of(dashboard: Dashboard, queue: str, state: str, count: int) -> list[Element]:
    """The pages of a list, each as the one before leads to it; the tabs have Go's numbers."""
    found = [await dashboard.page("/queue", name=queue, state=state)]
    (tab,) = (tab for tab in found[0].one("nav", id="queue-tabs").all("a") if tab.attributes.get("aria-current"))
    assert tab.text == f"{state.capitalize()} {count}"
    while found[-1].all("a", rel="next"):
        found.append(await dashboard.page("/queue", name=queue, state=state, page=len(found)))
    return found


def compare_lists(rows: Sequence[dict[str, Element]], theirs: Sequence[Reply], queue: str, state: TaskState) -> None:
    """The rows of a list are Go's tasks; in the same order where both have the same."""
    ours = {row["Task"].queries[0]["id"]: row for row in rows}
    assert len(ours) == len(rows)
    assert sorted(ours) == sorted(task["id"] for task in theirs)
    if state in {TaskState.PENDING, TaskState.SCHEDULED, TaskState.RETRY}:
        assert list(ours) == [task["id"] for task in theirs]
    for task in theirs:
        row = ours[task["id"]]
        assert row["Task"].one("a").text == task["type"]
        assert row["Task"].queries[0]["queue"] == queue
        if state in {TaskState.RETRY, TaskState.ARCHIVED}:
            assert row["Last error"].text == task["last_err"]
            assert row["Retries"].text == f"{task['retried']:,} / {task['max_retry']:,}"
        column, at = {
            TaskState.SCHEDULED: ("Due", "next_process_at"),
            TaskState.RETRY: ("Due", "next_process_at"),
            TaskState.ARCHIVED: ("Archived", "archived_at"),
            TaskState.COMPLETED: ("Completed", "completed_at"),
        }.get(state, ("", ""))
        if column:
            shows_time(row[column], task[at])


# -- tasks ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("filled", "held", "invariants_hold")
async def test_each_task_is_as_go_says(go: GoPeer, dashboard: Dashboard) -> None:
    seen = 0
    for queue in QUEUES:
        tasks = [task for state in STATES for task in await listed(go, queue, state)]
        for task in [*tasks, *await listed(go, queue, "aggregating", GROUP)]:
            compare_task(await dashboard.page("/task", queue=queue, id=task["id"]), task)
            seen += 1
    assert seen == 2 * 2 * len(TaskState)
    for task in (await listed(go, HELD, "pending"))[:2]:
        compare_task(await dashboard.page("/task", queue=HELD, id=task["id"]), task)


def compare_task(page: Element, task: Reply) -> None:
    """A task's page says of it what Go says."""
    facts = page.facts
    assert page.one("h1").text == task["type"]
    assert page.one("span", class_name=f"state-{task['state']}").text == task["state"]
    assert {"id": task["id"], "queue": task["queue"]}.items() <= page_of(page).items()
    assert facts["Type"].text == task["type"]
    assert facts["Failed"].text.split()[0] == str(task["retried"])
    assert facts["Failed"].text.endswith(f"of at most {task['max_retry'] + 1:,}")
    errors = [each.one("pre", aria_label="Error").exact_text for each in page.all("section", id="last-error")]
    assert errors == ([task["last_err"]] if task["last_err"] else [])
    compare_times(page, facts, task)
    assert facts["Group"].text == task["group"] if task["group"] else "Group" not in facts
    assert {name.removeprefix("Header "): fact.text for name, fact in facts.items() if name.startswith("Header ")} == (
        task["headers"] or {}
    )
    for part in ("payload", "result"):
        compare_bytes(page.one("section", id=part), base64.b64decode(task[part] or ""))


def page_of(page: Element) -> dict[str, str]:
    """What the page's own links name as its task."""
    lead = page.one("p", class_name="lead")
    return {"id": lead.all("span", class_name="mono")[0].exact_text, "queue": lead.queries[0]["name"]}


def compare_times(page: Element, facts: dict[str, Element], task: Reply) -> None:
    if task["deadline"] in {0, _NO_END}:
        assert facts["Deadline"].text == "none"
    else:
        assert unix(facts["Deadline"].times) == [task["deadline"]]
    if task["state"] in {"scheduled", "retry"}:
        (due,) = unix(facts["Due"].times)
        assert math.ceil(due) == task["next_process_at"]
    life = page.one("section", id="life")
    for name in ("last_failed_at", "completed_at"):
        if task[name]:
            shows_time(life, task[name])


def compare_bytes(section: Element, data: bytes) -> None:
    """A payload, or a result, is shown as it is."""
    texts = [each.exact_text for each in section.all("pre")]
    if not data:
        assert texts == []
    elif (expected := shown(data)).kind == "json":
        assert [msgspec.json.decode(text) for text in texts] == [msgspec.json.decode(data)]
    else:
        assert texts == [expected.text]
        assert expected.kind == "text" or data.hex(" ") in texts[0]


# -- servers and schedules --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("filled", "invariants_hold")
async def test_servers_and_what_they_run_are_those_of_go(go: GoPeer, dashboard: Dashboard) -> None:
    async def both_told() -> bool:
        return [len(server["active_workers"]) for server in await go.inspect("servers")] == [2, 2]

    await wait_until(both_told, TIMEOUT)
    theirs = {(server["host"], server["pid"]): server for server in await go.inspect("servers")}

    page = await dashboard.page("/servers")

    ours = {
        (row["Server"].one("strong").text, int(row["Server"].all("span")[0].text.split()[1])): row for row in page.rows
    }
    assert ours.keys() == theirs.keys()
    for key, row in ours.items():
        server = theirs[key]
        assert row["Status"].text == server["status"]
        assert row["Busy"].text == f"{len(server['active_workers'])} / {server['concurrency']}"
        assert [chip.text for chip in row["Queues"].all("span", class_name="chip") or row["Queues"].all("a")] == [
            f"{name} {weight}" for name, weight in server["queues"].items()
        ]
        shows_time(row["Up since"], server["started"])
        running = {task["task_id"]: task for task in server["active_workers"]}
        assert {query["id"]: query["queue"] for query in row["Runs now"].queries} == {
            task_id: task["queue"] for task_id, task in running.items()
        }
        for task in running.values():
            shows_time(row["Runs now"], task["started"])


async def test_schedules_and_their_next_times_are_those_of_go(go: GoPeer, dashboard: Dashboard, redis_url: str) -> None:
    own = [
        ScheduleEntry(id="nightly", spec="0 3 * * *", type="report:größe", timezone="Europe/Berlin", retention=HOUR),
        ScheduleEntry(id="often", spec="@every 1h", type="tick"),
    ]
    theirs = await go.schedule("0 5 1 7 *", "yearly <b>", b"x", queue="gos")
    async with running(Scheduler(redis_url, own)):

        async def told() -> bool:
            return len(await go.inspect("scheduler_entries")) == len(own) + 1

        await wait_until(told, TIMEOUT)
        entries = {entry["id"]: entry for entry in await go.inspect("scheduler_entries")}
        page = await dashboard.page("/schedules")

    rows = {row["Schedule"].text: row for row in page.rows}
    assert rows.keys() == entries.keys() == {"nightly", "often", theirs}
    for name, entry in entries.items():
        assert rows[name]["Task"].all("a")[0].text == entry["task_type"]
        assert entry["spec"].endswith(rows[name]["When"].one("code").text)
        assert unix(rows[name]["Next"].times) == [entry["next"]]
    assert datetime.fromtimestamp(entries[theirs]["next"], UTC).month == 7
