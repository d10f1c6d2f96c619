"""The form of a new task: made of the type's schema, checked by the API's own rules, with what is wrong said at the field."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pytest
from playwright.async_api import expect
from structlog.testing import capture_logs

from dashboard.conftest import GUARDED, Look, Pages, PagesWith
from taskflow import Inspector, TaskFlow, Unique
from taskflow.client import Client
from taskflow.dashboard.payload_form import PayloadForm
from taskflow.task import TaskInfo, TaskState

if TYPE_CHECKING:
    from conftest import StartWorker

HOUR = timedelta(hours=1)
WAITING = (TaskState.PENDING, TaskState.SCHEDULED)
OPEN = {"api__allow_types": ["*"]}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["to", "size"],
    "properties": {
        "to": {"type": "string", "title": "Address", "description": "Where it goes.", "maxLength": 40},
        "size": {"enum": ["small", "large", 3]},
        "count": {"type": "integer", "default": 2, "minimum": 1},
        "ratio": {"anyOf": [{"type": "number"}, {"type": "null"}], "default": None},
        "loud": {"type": "boolean", "default": False},
        "tags": {"type": "array", "items": {"type": "string"}},
        "more": {"$ref": "#/$defs/More"},
    },
    "$defs": {"More": {"type": "object", "properties": {"a": {"type": "integer"}}}},
    "additionalProperties": False,
}


async def only(inspector: Inspector, queue: str = "default") -> TaskInfo:
    """The one task of a queue."""
    (found,) = [info for state in WAITING for info in await inspector.tasks(queue, state)]
    return await inspector.task(found.id, queue)


@pytest.fixture
async def mail(app: TaskFlow, start_worker: StartWorker) -> None:
    """A worker that serves types with schemas, and no queue that the tests use."""

    @app.task("mail:send", queue="mails")
    async def send(
        to: str, size: Literal["small", "large"] = "small", count: int = 2, tags: list[str] | None = None
    ) -> None:
        """Send a mail.

        Args:
            to: Where it goes.
            size: How large it is.
            count: How many copies.
            tags: What it is about.

        Example:
            {"to": "ada@example.org", "count": 3}

        """

    @app.task("image:*")
    async def image(payload: bytes) -> None:
        """Work on an image."""

    await start_worker(app, app.redis_url, queues={"elsewhere": 1})


# -- the fields of a schema -------------------------------------------------------------------------------------------


def test_each_field_of_a_schema_is_asked_for_in_its_own_way() -> None:
    form = PayloadForm.of(SCHEMA)

    assert form is not None
    found = {field.name: field for field in form.fields}
    assert {name: field.kind for name, field in found.items()} == {
        "to": "text",
        "size": "choice",
        "count": "number",
        "ratio": "number",
        "loud": "choice",
        "tags": "json",
        "more": "json",
    }
    assert found["to"].required
    assert (found["to"].title, found["to"].description, found["to"].limits) == (
        "Address",
        "Where it goes.",
        "At most 40 characters",
    )
    assert (found["count"].default, found["count"].limits) == ("2", "A whole number, at least 1")
    assert [choice.value for choice in found["size"].choices] == ['"small"', '"large"', "3"]


def test_what_is_written_becomes_json_and_empty_fields_are_left_out() -> None:
    form = PayloadForm.of(SCHEMA)

    assert form is not None
    given = {"to": " a\r\nb", "size": "3", "count": "", "loud": "true", "tags": '["x"]', "no": "1"}
    assert form.read({"to": " a\r\nb"}) == (b'{"to":" a\\nb"}', {})
    data, errors = form.read(given | {"ratio": "12345678901234567890"})
    assert data == b'{"to":" a\\nb","size":3,"ratio":12345678901234567890,"loud":true,"tags":["x"]}'
    assert not errors


def test_what_cannot_be_read_is_named() -> None:
    form = PayloadForm.of(SCHEMA)

    assert form is not None
    _, errors = form.read({"count": "two", "ratio": "true", "size": '"huge"', "tags": "[", "more": "{'a': 1}"})
    assert errors.keys() == {"count", "ratio", "size", "tags", "more"}
    assert errors["count"] == "write a whole number, such as 3"


@pytest.mark.parametrize(
    ("payload", "exact"),
    [
        (b'{"to":"a\\nb","size":"small","tags":[1,"x"],"more":{"a":1.0}}', True),
        (b"{}", True),
        (b'{"to":""}', False),
        (b'{"to":1}', False),
        (b'{"other":1}', False),
        (b'{"to":"a\\rb"}', False),
        (b'{"size":"huge"}', False),
        (b"[1]", False),
        (b"no json", False),
    ],
)
def test_a_payload_is_written_into_the_fields_if_they_can_say_exactly_that(payload: bytes, exact: bool) -> None:
    form = PayloadForm.of(SCHEMA)

    assert form is not None
    given = form.write(payload)
    assert (given is not None) is exact
    if given is not None:
        assert msgspec.json.decode(form.read(given)[0]) == msgspec.json.decode(payload)


@pytest.mark.parametrize(
    "schema",
    [
        None,
        7,
        {},
        {"type": "array"},
        {"properties": {}},
        {"properties": []},
        {"$ref": "#"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {"$ref": "https://evil.example/schema"},
        {"anyOf": [{"type": "object"}, {"type": "string"}]},
        {"properties": {str(number): {} for number in range(101)}},
    ],
)
def test_what_is_no_object_with_fields_is_for_json(schema: object) -> None:
    assert PayloadForm.of(schema) is None


@pytest.mark.parametrize(
    "field",
    [
        None,
        {"type": 5},
        {"enum": []},
        {"enum": "x"},
        {"enum": [{}]},
        {"title": 1, "description": []},
        {"type": ["null", "string"]},
        {"anyOf": "x"},
        {"$ref": "#/properties/a"},
        {"minimum": {"a": "<b>"}},
    ],
)
def test_a_schema_that_makes_no_sense_is_borne(field: object) -> None:
    form = PayloadForm.of({"properties": {"a": field}, "required": "a"})

    assert form is not None
    assert form.read({"a": '"x"'})[1] == {}


# -- the page ---------------------------------------------------------------------------------------------------------


async def test_types_are_offered_with_what_they_do(pages: Pages, mail: None) -> None:
    text = (await pages.get("/new-task")).text

    assert '<a href="/new-task?type=mail%3Asend"><bdi>mail:send</bdi></a>' in text
    assert "<bdi>Send a mail.</bdi>" in text
    assert "<bdi>image:*</bdi>" in text


async def test_a_task_is_created_from_its_fields(pages_with: PagesWith, mail: None, inspector: Inspector) -> None:
    async with pages_with("otto", **GUARDED) as one:
        form = html.unescape((await one.get("/new-task?type=mail:send")).text)
        for part in ('for="field.to"', "Where it goes.", "required", 'placeholder="2"', 'placeholder="mails"'):
            assert part in form, part
        with capture_logs() as logs:
            done = await one.post(
                "/new-task?type=mail:send",
                {"field.to": "ada", "field.size": '"large"', "field.tags": '["x"]', "queue": "", "process_in": "1h"},
            )

    info = await only(inspector, "mails")
    assert done.headers["location"] == f"/task?queue=mails&id={info.id}"
    assert info.payload == b'{"to":"ada","size":"large","tags":["x"]}'
    (line,) = [line for line in logs if line["event"] == "task created"]
    assert (line["task_id"], line["queue"], line["type"], line["key"]) == (info.id, "mails", "mail:send", "otto")


async def test_all_options_are_kept(pages_with: PagesWith, inspector: Inspector) -> None:
    async with pages_with(webhooks__allow_hosts=["hooks.example"], webhooks__secret="s" * 32, **OPEN) as pages:
        await pages.post(
            "/new-task?type=demo",
            {
                "payload_as": "json",
                "payload": '{\r\n"n": 1}',
                "queue": "low",
                "process_at": "2040-01-31T12:00:00.500Z",
                "max_retries": "7",
                "timeout": "5m",
                "deadline": "2041-01-01T00:00",
                "retention": "2h",
                "task_id": " mine ",
                "callback_url": "https://hooks.example/x",
                "metadata": "trace: a:b\r\n\r\nother:c",
                "unique_ttl": "1h",
                "unique_fields": "n, m.x",
                "unique_until": "started",
                "unique_on_conflict": "return",
            },
        )

    info = await inspector.task("mine", "low")
    assert (info.payload, info.max_retries, info.timeout) == (b'{"n":1}', 7, timedelta(minutes=5))
    assert info.next_process_at == datetime(2040, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC)
    assert (info.deadline, info.retention) == (datetime(2041, 1, 1, tzinfo=UTC), 2 * HOUR)
    assert info.headers == {"trace": "a:b", "other": "c"}
    assert info.callback_url == "https://hooks.example/x"


async def test_the_task_that_holds_the_lock_is_shown(pages_with: PagesWith, client: Client) -> None:
    await client.enqueue("demo", {}, task_id="first", unique=Unique(HOUR))
    fields = {"payload_as": "json", "payload": "{}", "unique_ttl": "1h"}
    async with pages_with(**OPEN) as pages:
        refused = await pages.post("/new-task?type=demo", fields)
        assert refused.status_code == 422
        assert "holds the unique lock" in refused.text

        shown = await pages.post("/new-task?type=demo", fields | {"unique_on_conflict": "return"})
        assert shown.headers["location"] == "/task?queue=default&id=first"


WRONG: list[tuple[dict[str, str], str]] = [
    ({}, "field.to"),
    ({"field.to": "a", "field.count": "x"}, "field.count"),
    ({"field.to": "a", "field.tags": "[1]"}, "field.tags"),
    ({"field.to": "a", "field.tags": "["}, "field.tags"),
    ({"field.to": "a", "field.size": '"huge"'}, "field.size"),
    ({"payload_as": "json", "payload": "{"}, "payload"),
    ({"payload_as": "json", "payload": '{"to": 1}'}, "payload"),
    ({"field.to": "a", "queue": "a b"}, "queue"),
    ({"field.to": "a", "max_retries": "-1"}, "max_retries"),
    ({"field.to": "a", "max_retries": "many"}, "max_retries"),
    ({"field.to": "a", "timeout": "5"}, "timeout"),
    ({"field.to": "a", "deadline": "now"}, "deadline"),
    ({"field.to": "a", "process_in": "soon"}, "process_in"),
    ({"field.to": "a", "process_in": "1h", "process_at": "2040-01-01T00:00"}, "process_at"),
    ({"field.to": "a", "retention": "-1s"}, "retention"),
    ({"field.to": "a", "task_id": "x" * 257}, "task_id"),
    ({"field.to": "a", "metadata": "trace"}, "metadata"),
    ({"field.to": "a", "metadata": '{"a": 1}'}, "metadata"),
    ({"field.to": "a", "unique_ttl": "1ms"}, "unique_ttl"),
    ({"field.to": "a", "unique_key": "k"}, "unique_ttl"),
    ({"field.to": "a", "callback_url": "https://x.example"}, "callback_url"),
    ({"type": "unknown"}, "type"),
    ({"type": "taskflow:webhook"}, "type"),
]
"""What may be written, and the field at which it is said that it is wrong."""


async def test_what_is_wrong_is_said_at_the_field(pages: Pages, mail: None, inspector: Inspector) -> None:
    for fields, place in WRONG:
        answer = await pages.post("/new-task?type=mail:send", {"payload_as": "fields"} | fields)

        assert answer.status_code == 422, place
        assert re.search(rf'<p class="field-error" id="{place}-error">.+</p>', answer.text), place
        if place != "type":
            assert re.search(rf'id="{place}"[^>]*aria-invalid="true" aria-describedby="{place}-error', answer.text), (
                place
            )
        for name in fields.keys() - {"type", "payload_as", "deadline", "process_at", "field.size"}:
            assert html.escape(fields[name]).replace("&quot;", "&#34;") in answer.text, place
    assert not [queue for queue in await inspector.queues() if queue != "elsewhere"]


async def test_all_that_is_wrong_is_said_at_once(pages: Pages, mail: None) -> None:
    answer = await pages.post("/new-task?type=mail:send", {"field.count": "x", "field.tags": "[", "timeout": "5"})

    assert re.findall(r'class="field-error" id="([^"]+)-error"', answer.text) == [
        "field.to",
        "field.count",
        "field.tags",
        "timeout",
    ]


async def test_a_payload_is_written_in_either_way(pages: Pages, mail: None) -> None:
    address = "/new-task?type=mail:send"
    as_json = await pages.post(
        address, {"payload_as": "fields", "field.to": "ada", "field.count": "3", "switch": "json"}
    )
    text = html.unescape(as_json.text)
    assert '{\n  "to": "ada",\n  "count": 3\n}</textarea>' in text

    as_fields = await pages.post(address, {"payload_as": "json", "payload": '{"to":"bob"}', "switch": "fields"})
    assert 'name="field.to" value="bob"' in as_fields.text
    stays = await pages.post(address, {"payload_as": "json", "payload": '{"x":1}', "switch": "fields"})
    assert stays.status_code == 422
    assert "so it stays JSON" in stays.text


async def test_examples_fill_the_form(pages: Pages, mail: None) -> None:
    text = (await pages.get("/new-task?type=mail:send&example=1")).text

    assert 'value="ada@example.org"' in text
    assert "ada@example.org" in (await pages.get("/new-task?type=mail:send&raw=yes")).text


async def test_types_by_prefix_are_completed(pages: Pages, mail: None, inspector: Inspector) -> None:
    assert 'name="type" value="image:"' in (await pages.get("/new-task?type=image:*")).text

    await pages.post("/new-task?type=image:", {"type": "image:crop", "payload_as": "json", "payload": ""})

    info = await only(inspector)
    assert (info.type, info.payload) == ("image:crop", b"")


async def test_a_task_is_created_again(pages: Pages, mail: None, client: Client) -> None:
    await client.enqueue(
        "mail:send",
        {"to": "ada", "count": 3},
        task_id="1",
        queue="low",
        max_retries=9,
        headers={"a": "b"},
    )
    await client.enqueue("mail:send", {"to": ""}, task_id="2", queue="low")

    text = html.unescape((await pages.get("/new-task?queue=low&copy=1")).text)
    for part in ('value="ada"', 'value="3"', 'name="queue" value="low"', 'value="9"', "a: b</textarea>"):
        assert part in text, part
    assert '"to": ""' in html.unescape((await pages.get("/new-task?queue=low&copy=2")).text)


async def test_who_may_not_create_tasks_is_not_offered_it(pages_with: PagesWith, mail: None) -> None:
    async with pages_with("vera", **GUARDED) as one:
        assert (await one.get("/new-task")).status_code == 403
        assert (await one.post("/new-task?type=mail:send", {"field.to": "a"})).status_code == 403
        assert "/new-task" not in (await one.get("/")).text
    async with pages_with("lina", **GUARDED) as one:
        refused = await one.post("/new-task?type=mail:send", {"payload_as": "fields", "field.to": "a"})
        assert refused.status_code == 422
        assert "may not use the queue" in html.unescape(refused.text)
        done = await one.post("/new-task?type=mail:send", {"payload_as": "fields", "field.to": "a", "queue": "low"})
        assert done.status_code == 303


async def test_a_form_that_is_sent_twice_creates_one_task(pages_with: PagesWith, inspector: Inspector) -> None:
    fields = {"payload_as": "json", "payload": "{}"}
    async with pages_with(**OPEN) as pages:
        (once,) = re.findall(r'name="once" value="([^"]+)"', (await pages.get("/new-task?type=demo")).text)
        token = await pages.token()
        own = {"token": token, "back": "/", "once": once}
        first, second = [
            (await pages.http.post("/new-task?type=demo", data={**own, **fields})).headers["location"] for _ in range(2)
        ]
        said = (await pages.get(second)).text
        other = await pages.http.post("/new-task?type=demo", data={**own, **fields, "payload": "[1]"})

    assert first == second != other.headers["location"]
    assert "No other task was created" in said
    (info,) = await inspector.queue_infos(["default"])
    assert info.pending == 2


@pytest.mark.browser
async def test_a_double_click_creates_one_task(look: Look, inspector: Inspector) -> None:
    async with look(**OPEN) as window:
        page = await window.go("/new-task?type=demo")
        await page.get_by_role("button", name="Create the task").dblclick()
        await expect(page.get_by_role("status").filter(has_text="The task is created")).to_be_visible()
    (info,) = await inspector.queue_infos(["default"])
    assert info.pending == 1


@pytest.mark.browser
@pytest.mark.parametrize("script", [True, False])
async def test_a_task_is_created_by_hand(look: Look, mail: None, inspector: Inspector, script: bool) -> None:
    async with look(script=script) as window:
        page = await window.go("/new-task")
        await page.get_by_role("link", name="mail:send").click()
        await page.get_by_role("button", name="Create the task").click()
        await expect(page.get_by_label("to required")).to_have_attribute("aria-invalid", "true")
        assert [each for each in window.complaints if "422" not in each] == []
        window.complaints.clear()
        await page.get_by_label("to required").fill("ada")
        await page.get_by_role("button", name="Write JSON instead").click()
        await page.get_by_label("JSON").fill('{"to": "bob"}')
        await page.get_by_label("Due at (UTC)").fill("2040-01-31T12:00:00")
        await page.get_by_role("button", name="Create the task").click()
        await expect(page.get_by_role("status").filter(has_text="The task is created")).to_be_visible()
    info = await only(inspector, "mails")
    assert (info.payload, info.next_process_at) == (b'{"to":"bob"}', datetime(2040, 1, 31, 12, tzinfo=UTC))
