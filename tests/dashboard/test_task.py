"""The page of a task: all that is known of it, live; what strangers have written is harmless; and what can be done to it."""

from __future__ import annotations

import asyncio
import html
import json
import re
import shlex
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import httpx
import pytest
from playwright.async_api import expect
from structlog.testing import capture_logs

from dashboard.conftest import GUARDED, Look, Pages, PagesWith
from interop.scene import Scene
from support.api import api_at, settings_with
from support.waiting import wait_until
from taskflow import Inspector, Progress, TaskContext, TaskFlow, TaskInfo, TaskState
from taskflow.broker.progress import ProgressStream
from taskflow.client import Client
from taskflow.dashboard.curl import curl
from taskflow.dashboard.lifeline import lifeline
from taskflow.errors import TaskNotFound
from taskflow.task import Attempt

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOSTILE = "<script>alert(1)</script>\u202egnp.exe\u2066 \x1b[31m' onmouseover=\"alert(2)"
VALUE = re.compile(r' value="[^"]*"')
"""What stands in a form's field must come back as it was."""
DEEP = b"[" * 100_000


def address(task_id: str, queue: str = "default", path: str = "/task") -> str:
    return f"{path}?{urlencode({'queue': queue, 'id': task_id})}"


# -- what is shown ----------------------------------------------------------------------------------------------------


async def test_a_task_is_found_by_its_id_alone(pages: Pages, client: Client) -> None:
    await client.enqueue("demo", queue="a/b", task_id="../x y?&ü")

    found = await pages.get("/task", params={"id": " ../x y?&ü "})
    assert (found.status_code, found.headers["location"]) == (303, address("../x y?&ü", "a/b"))
    assert "<bdi>../x y?&amp;ü</bdi>" in (await pages.get(found.headers["location"])).text
    assert (await pages.get("/task?id=nowhere")).status_code == 404


async def test_everything_that_is_known_is_shown(pages: Pages, client: Client) -> None:
    await client.enqueue(
        "demo",
        {"to": "ada"},
        task_id="1",
        process_in=HOUR,
        deadline=datetime(2040, 1, 2, tzinfo=UTC),
        timeout=timedelta(minutes=5),
        retention=2 * HOUR,
        max_retries=7,
        headers={"trace": "abc"},
    )

    text = (await pages.get(address("1"))).text

    for part in (
        "&#34;to&#34;: &#34;ada&#34;",
        "at most 8",
        "5m an attempt",
        "2040-01-02 00:00:00 UTC",
        "<dd>2h",
        "Header <bdi>trace</bdi></dt><dd><bdi>abc</bdi>",
        "Falls due",
        "Run now",
        "Edit or reschedule",
    ):
        assert part in text, part


async def test_tasks_of_a_system_at_work(pages: Pages, scene: Scene) -> None:
    (server,) = await scene.inspector.servers()
    wanted = {
        "retry_1": ["no mail for größe ✉", "Traceback", "raise ValueError", "Is tried again", "Retry now"],
        "dead_1": ["Why it was given up", "Archived: it is not tried again", ">Retry<"],
        "done_1": ["Completed", "größe", "Is forgotten", "Run again"],
        "done_2": ["00 ff 80", "Binary"],
        "member_0": ["user:42", "Waits for others of its group"],
        "runs_1": ["A worker began with it", f"<bdi>{server.host}</bdi></a> pid {server.pid}"],
    }
    for name, parts in wanted.items():
        text = html.unescape((await pages.get(address(name))).text)
        for part in parts:
            assert part in text, (name, part)


async def test_progress_is_shown_without_script(pages: Pages, client: Client) -> None:
    await client.enqueue("demo", task_id="1")
    stream = ProgressStream(client.broker)
    await stream.publish(
        Progress(task_id="1", percentage=25, stage="load", message=HOSTILE, timestamp_ms=1_700_000_000_000)
    )
    await stream.publish(
        Progress(task_id="1", percentage=62.5, stage="send", message="half", timestamp_ms=2**62, metadata={"n": [3]})
    )

    text = (await pages.get(address("1"))).text

    assert '<progress max="100" value="62.5"' in text
    assert "62.5 %" in text
    assert "<dt><bdi>n</bdi></dt><dd><bdi>[3]</bdi></dd>" in text
    assert "2 messages" in text
    assert "2023-11-14" in text
    assert "<script>alert" not in text


async def test_a_task_that_is_gone_says_so_where_it_was(pages: Pages, client: Client) -> None:
    await ProgressStream(client.broker).publish(Progress(task_id="1", percentage=100), status="completed")

    assert (await pages.get(address("1"))).status_code == 404
    live = await pages.get(address("1"), headers={"X-TaskFlow-Live": "1"})
    assert live.status_code == 200
    assert "It was completed, and is not kept any longer." in live.text


HOSTILE_PAYLOADS = [
    (
        HOSTILE.encode(),
        "&lt;script&gt;alert(1)&lt;/script&gt;\\u202egnp.exe\\u2066 \\x1b[31m&#39; onmouseover=&#34;",
    ),
    (json.dumps({HOSTILE: HOSTILE}, ensure_ascii=False).encode(), "&lt;script&gt;"),
    (b"\xff\xfe<script>", "ff fe 3c 73 63"),
    (b'"\xed\xa0\x80"', "22 ed a0 80 22"),
    (DEEP, "[[[["),
    (b'{"a":"' + b"<script>" * 650_000 + b'"}', "only the beginning is shown"),
]
"""Payloads, and what of them is shown."""


async def test_hostile_payloads_are_shown_harmless(pages: Pages, client: Client) -> None:
    for number, (payload, shown) in enumerate(HOSTILE_PAYLOADS):
        task_id = f"{HOSTILE}{number}"
        await client.enqueue(HOSTILE, payload, task_id=task_id, headers={"h" + HOSTILE: HOSTILE}, process_in=HOUR)

        for path in ("/task", "/task/edit", "/new-task"):
            answer = await pages.get(address(task_id, path=path) + "&" + urlencode({"copy": task_id}))
            assert answer.status_code == 200, (path, shown)
            assert "<script>alert" not in answer.text
            assert "\u202e" not in VALUE.sub("", answer.text), (path, shown)
            assert len(answer.content) < 600_000
            if path == "/task":
                assert shown in answer.text


async def test_a_payload_is_downloaded_as_it_is_and_never_shown_as_a_page(pages: Pages, client: Client) -> None:
    await client.enqueue("demo", b"<script>\xff", task_id="1")

    answer = await pages.get(address("1", path="/task/bytes") + "&part=payload")

    assert answer.content == b"<script>\xff"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (await pages.get(address("1", path="/task/bytes") + "&part=secret")).status_code == 400


async def test_who_may_not_see_payloads_is_shown_none(
    pages_with: PagesWith, client: Client, inspector: Inspector
) -> None:
    await client.enqueue("demo", {"secret": 42}, task_id="1", process_in=HOUR)
    async with pages_with("otto", dashboard__payloads="admin", **GUARDED) as one:
        for path in ("/task", "/task/edit"):
            text = (await one.get(address("1", path=path))).text
            assert "may not see payloads" in text
            assert "secret" not in text
        assert (await one.get(address("1", path="/task/bytes") + "&part=payload")).status_code == 403
        assert (await one.get("/new-task?queue=default&copy=1")).status_code == 403

        await one.post(address("1", path="/task/edit"), {"payload": "{}", "process_in": "3h"})
    assert (await inspector.task("1")).payload == b'{"secret":42}'


def test_a_life_is_told_in_the_order_of_time() -> None:
    info = TaskInfo(
        id="1",
        queue="q",
        type="t",
        state=TaskState.RETRY,
        last_error="boom",
        last_failed_at=NOW,
        attempts=(Attempt(at=NOW - HOUR, worker="w", error="first\nsecond line"),),
        next_process_at=NOW + HOUR,
        deadline=NOW + 2 * HOUR,
    )

    found = lifeline(info, NOW)

    assert [(moment.at, moment.what, moment.detail, moment.ahead) for moment in found] == [
        (NOW - HOUR, "An attempt failed", "first", False),
        (NOW, "An attempt failed", "boom", False),
        (NOW + HOUR, "Is tried again", "", True),
        (NOW + 2 * HOUR, "Deadline", "", True),
    ]


def test_an_archived_task_ends_with_its_archiving() -> None:
    failed = Attempt(at=NOW + timedelta(milliseconds=700), worker="w", error="boom")
    info = TaskInfo(id="1", queue="q", type="t", state=TaskState.ARCHIVED, attempts=(failed,), archived_at=NOW)

    assert [(moment.at, moment.what) for moment in lifeline(info, NOW)] == [
        (failed.at, "An attempt failed"),
        (NOW, "Archived: it is not tried again"),
    ]


def test_the_command_creates_the_same_task_and_hides_nothing() -> None:
    payload = json.dumps({"a": "it's $HOME `x` \u202e\x85"}, ensure_ascii=False).encode()
    info = TaskInfo(id="1", queue="low", type="a'b", state=TaskState.PENDING, payload=payload, headers={"n": "v"})

    command = curl(info, "http://127.0.0.1:8080", guarded=True)

    assert command is not None
    assert command.isascii()
    words = shlex.split(command.replace("\\\n", " "))
    assert words[1] == "http://127.0.0.1:8080/api/v1/tasks"
    assert words[3] == "Authorization: Bearer $TASKFLOW_KEY"
    body = json.loads(words[-1])
    assert (body["payload"], body["type"], body["queue"]) == (json.loads(payload), "a'b", "low")
    assert (
        curl(TaskInfo(id="1", queue="q", type="t", state=TaskState.PENDING, payload=b"\xff"), "", guarded=False) is None
    )


async def test_the_command_is_one_that_works(redis_url: str, client: Client, inspector: Inspector) -> None:
    payload = json.dumps({"a": "it's $HOME `x` \u202e\x85 \\"}, ensure_ascii=False).encode()
    await client.enqueue("it's", payload, task_id="1", queue="low", headers={"größe": "'"}, timeout=HOUR, max_retries=2)
    settings = settings_with(server__http__port=0, server__http__request_log=False, api__allow_types=["*"])
    async with api_at(settings, redis_url) as (_, url), httpx.AsyncClient(base_url=url) as http:
        text = (await http.get(address("1", "low"))).text
        command = html.unescape(text.partition('id="curl-command">')[2].partition("</pre>")[0])
        running = await asyncio.create_subprocess_shell(command + " -fsS", stdout=asyncio.subprocess.PIPE)
        answer, _ = await running.communicate()

    made = await inspector.task(json.loads(answer)["task_id"], "low")
    assert (made.type, json.loads(made.payload), made.headers) == ("it's", json.loads(payload), {"größe": "'"})
    assert (made.timeout, made.max_retries) == (HOUR, 2)


# -- what is done -----------------------------------------------------------------------------------------------------


async def test_a_task_is_archived_and_put_back(pages_with: PagesWith, client: Client, inspector: Inspector) -> None:
    await client.enqueue("demo", task_id="1")
    async with pages_with("otto", **GUARDED) as one:
        with capture_logs() as logs:
            answer = await one.post(address("1", path="/task/archive"))
            assert answer.headers["location"] == address("1")
            assert (await inspector.task("1")).state is TaskState.ARCHIVED
            text = (await one.get(address("1"))).text
            assert "Put it back" in text
            await one.post(address("1", path="/task/run"))

    assert (await inspector.task("1")).state is TaskState.PENDING
    audited = {line["event"]: line for line in logs if line.get("key") == "otto"}
    assert audited["task archived"]["task_id"] == "1"
    assert (audited["task run"]["queue"], audited["task run"]["state"]) == ("default", "archived")


@pytest.mark.parametrize("action", ["cancel", "delete"])
async def test_what_destroys_is_asked_for_first(
    pages: Pages, client: Client, inspector: Inspector, action: str
) -> None:
    await client.enqueue("demo", task_id="a b/c", queue="low")

    asked = await pages.post(address("a b/c", "low", f"/task/{action}"))
    assert "It is pending: demo, a b/c" in asked.text
    assert (await inspector.task("a b/c")).state is TaskState.PENDING

    done = await pages.post(address("a b/c", "low", f"/task/{action}"), {"confirmed": "yes"})
    if action == "cancel":
        assert done.headers["location"] == address("a b/c", "low")
        assert (await inspector.task("a b/c")).cancelled
    else:
        assert done.headers["location"] == "/queue?name=low&state=pending"
        with pytest.raises(TaskNotFound):
            await inspector.task("a b/c")


async def test_what_a_task_does_not_allow_is_said_on_its_page(pages: Pages, client: Client) -> None:
    await client.enqueue("demo", task_id="1")

    await pages.post(address("1", path="/task/run"), page=address("1"))

    text = (await pages.get(address("1"))).text
    assert 'class="message failed"' in text
    assert "pending already" in text


async def test_who_may_not_change_tasks_is_refused_and_not_offered_it(
    pages_with: PagesWith, client: Client, inspector: Inspector
) -> None:
    for queue in ("low", "high"):
        await client.enqueue("demo", task_id="1", queue=queue, process_in=HOUR)
    before = [await inspector.task("1", queue) for queue in ("low", "high")]
    actions = ("run", "archive", "cancel", "delete", "edit")
    fields = {"confirmed": "yes", "process_in": "2h"}
    async with pages_with("vera", **GUARDED) as one:
        text = (await one.get(address("1", "low"))).text
        assert "Create a copy" not in text
        for action in actions:
            assert (await one.post(address("1", "low", f"/task/{action}"), fields)).status_code == 403
            assert f"/task/{action}" not in text
    async with pages_with("lina", **GUARDED) as one:
        assert (await one.get(address("1", "high"))).status_code == 403
        assert "/task/run" in (await one.get(address("1", "low"))).text
        for action in actions:
            await one.post(address("1", "high", f"/task/{action}"), fields, page=address("1", "low"))
            assert "may not use the queue" in html.unescape((await one.get(address("1", "low"))).text)

    assert [await inspector.task("1", queue) for queue in ("low", "high")] == before


# -- edit -------------------------------------------------------------------------------------------------------------


async def test_a_task_is_edited_and_taken_back(pages: Pages, client: Client, inspector: Inspector) -> None:
    await client.enqueue("demo", {"n": 1}, task_id="1", process_in=HOUR)
    before = await inspector.task("1")
    assert before.next_process_at is not None

    done = await pages.post(
        address("1", path="/task/edit"), {"payload": '{\r\n "n": 2\r\n}', "process_at": "2040-01-31T12:00"}
    )
    assert done.headers["location"] == address("1")
    after = await inspector.task("1")
    assert (after.payload, after.next_process_at) == (b'{"n":2}', datetime(2040, 1, 31, 12, tzinfo=UTC))

    text = html.unescape((await pages.get(address("1"))).text)
    assert "Take it back" in text
    await pages.post(
        address("1", path="/task/edit"), {"payload": '{"n":1}', "process_at": before.next_process_at.isoformat()}
    )  # fmt: skip
    again = await inspector.task("1")
    assert (again.payload, again.next_process_at) == (before.payload, before.next_process_at)


async def test_what_was_not_touched_stays(pages: Pages, client: Client, inspector: Inspector) -> None:
    await client.enqueue("demo", {"n": 1}, task_id="1", process_at=datetime(2040, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC))
    form = (await pages.get(address("1", path="/task/edit"))).text
    assert 'value="2040-01-01T00:00:00"' in form

    await pages.post(
        address("1", path="/task/edit"), {"payload": '{ "n" : 1 }', "process_at": "2040-01-01T00:00:00.000Z"}
    )

    assert "Nothing was changed." in (await pages.get(address("1"))).text
    moment = (await inspector.task("1")).next_process_at
    assert moment is not None
    assert moment.microsecond == 250_000


WRONG = [
    ({"payload": "{"}, "payload"),
    ({"payload": ""}, "payload"),
    ({"payload": "[" * 200 + "]" * 200}, "payload"),
    ({"process_at": "tomorrow"}, "process_at"),
    ({"process_in": "soon"}, "process_in"),
    ({"process_in": "1h", "process_at": "2040-01-01T00:00"}, "process_in"),
]
"""What may be written, and the field at which it is said that it is wrong."""


async def test_what_is_wrong_with_an_edit_is_said_at_the_field(
    pages: Pages, client: Client, inspector: Inspector
) -> None:
    await client.enqueue("demo", {"n": 1}, task_id="1", process_in=HOUR)
    before = await inspector.task("1")
    for fields, place in WRONG:
        answer = await pages.post(address("1", path="/task/edit"), fields)

        assert answer.status_code == 422
        assert f'id="{place}-error"' in answer.text
    assert await inspector.task("1") == before


async def test_an_edit_of_what_has_changed_meanwhile_is_refused(
    pages: Pages, client: Client, inspector: Inspector
) -> None:
    await client.enqueue("demo", {"n": 1}, task_id="1", process_in=HOUR)
    form = (await pages.get(address("1", path="/task/edit"))).text
    seen = form.partition('name="seen" value="')[2].partition('"')[0]
    await inspector.edit("1", "default", payload={"n": 2})

    answer = await pages.post(address("1", path="/task/edit"), {"seen": seen, "payload": '{"n": 3}'})

    assert answer.status_code == 409
    assert "has changed since" in answer.text
    assert (await inspector.task("1")).payload == b'{"n":2}'


# -- in a browser -----------------------------------------------------------------------------------------------------


@pytest.mark.browser
async def test_a_task_is_followed_while_it_runs(look: Look, app: TaskFlow, start_worker: object) -> None:
    steps: list[TaskContext] = []

    @app.task("slow")
    async def slow(context: TaskContext) -> str:
        steps.append(context)
        await context.progress(10, "load", "begin")
        await wait_until(lambda: len(steps) > 1)
        await context.progress(70, "send", HOSTILE)
        await wait_until(lambda: len(steps) > 2)
        return "<b>done</b>"

    await start_worker(app, app.redis_url)  # type: ignore[operator]
    await app.client.enqueue("slow", task_id="1", retention=HOUR)
    await wait_until(lambda: steps)
    async with look() as window:
        page = await window.go(address("1"))
        await expect(page.locator("[data-percentage]")).to_have_text("10 %")
        steps.append(steps[0])
        await expect(page.locator("[data-percentage]")).to_have_text("70 %")
        await expect(page.locator("[data-message]")).to_contain_text("<script>alert(1)</script>\\u202egnp.exe")
        steps.append(steps[0])
        await expect(page.locator("#task-head .badge")).to_have_text("completed")
        await expect(page.locator("#result")).to_contain_text("<b>done</b>")


@pytest.mark.browser
@pytest.mark.parametrize("script", [True, False])
async def test_hostile_tasks_are_harmless_in_a_browser(look: Look, client: Client, script: bool) -> None:
    payload = b'{"a":"' + b"</pre><script>alert(1)</script>" * 170_000 + b'"}'
    await client.enqueue(HOSTILE, payload, task_id=HOSTILE, headers={HOSTILE: HOSTILE}, process_in=HOUR)
    await client.enqueue("x", b"\xff\xfe\x00<script>", task_id="binary")
    async with look(script=script) as window:
        page = await window.go(address(HOSTILE))
        await expect(page.locator("h1")).to_contain_text("<script>alert(1)</script>\\u202egnp.exe")
        await expect(page.locator("#payload")).to_contain_text("only the beginning is shown")
        assert not script or await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page = await window.go(address("binary"))
        await expect(page.locator("#payload pre")).to_contain_text("ff fe 00 3c")


@pytest.mark.browser
@pytest.mark.parametrize("script", [True, False])
async def test_a_task_is_rescheduled_and_deleted_by_hand(
    look: Look, client: Client, inspector: Inspector, script: bool
) -> None:
    await client.enqueue("demo", {"n": 1}, task_id="1", process_in=HOUR)
    async with look(script=script) as window:
        page = await window.go(address("1"))
        await page.get_by_role("link", name="Edit or reschedule").click()
        await page.get_by_label("Payload, as JSON").fill('{"n": 5}')
        await page.get_by_label("Due (UTC)", exact=True).fill("2040-01-31T12:00:00")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("status").filter(has_text="The task is changed")).to_be_visible()
        after = await inspector.task("1")
        assert (after.payload, after.next_process_at) == (b'{"n":5}', datetime(2040, 1, 31, 12, tzinfo=UTC))
        await page.get_by_role("button", name="Take it back").click()
        await expect(page.locator("#payload")).to_contain_text('"n": 1')

        await page.get_by_role("button", name="Run now").click()
        await expect(page.locator("#task-head .badge")).to_have_text("pending")
        await page.get_by_role("button", name="Archive").click()
        await page.get_by_role("button", name="Put it back").click()
        await expect(page.locator("#task-head .badge")).to_have_text("pending")
        await page.get_by_role("button", name="Cancel").click()
        await page.get_by_role("button", name="Stop it").click()
        await expect(page.locator("#task-head")).to_contain_text("cancelled")


@pytest.mark.browser
async def test_times_are_written_in_the_zone_of_the_viewer(look: Look, client: Client, inspector: Inspector) -> None:
    await client.enqueue("demo", {}, task_id="1", process_at=datetime(2040, 1, 31, 12, tzinfo=UTC))
    async with look(zone="Asia/Kolkata") as window:
        page = await window.go(address("1"))
        await page.locator("#curl summary").click()
        await page.get_by_role("button", name="Copy", exact=True).click()
        await expect(page.locator("[data-copied]")).not_to_be_empty()
        await page.get_by_role("link", name="Edit or reschedule").click()
        due = page.get_by_label("Due (GMT+5:30)", exact=True)
        await expect(due).to_have_value(re.compile("^2040-01-31T17:30"))
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("status").filter(has_text="Nothing was changed")).to_be_visible()

        await page.get_by_role("link", name="Edit or reschedule").click()
        await due.fill("2040-02-01T00:30:00")
        await page.get_by_label("Payload, as JSON").fill("{")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_label("Payload, as JSON")).to_have_attribute("aria-invalid", "true")
        window.complaints.clear()  # the browser notes the 422
        await expect(due).to_have_value(re.compile("^2040-02-01T00:30"))
        await page.get_by_label("Payload, as JSON").fill("{}")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("status").filter(has_text="The task is changed")).to_be_visible()
    assert (await inspector.task("1")).next_process_at == datetime(2040, 1, 31, 19, tzinfo=UTC)
