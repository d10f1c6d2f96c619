"""Types: how each goes, and its payload's schema as fields that people can read."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from playwright.async_api import expect

from dashboard.conftest import GUARDED, Look, Pages, PagesWith
from interop.scene import Scene
from taskflow import Broker, Unique
from taskflow.broker.catalog import TaskCatalog, TaskType
from taskflow.broker.type_stats import SUCCEEDED, Counts, TypeTallies, bucket, new_counts
from taskflow.dashboard.pages.types import lock
from taskflow.dashboard.schema_fields import MOST_FIELDS, schema_fields, schema_kind

NONE = "\u2013"
"""What stands where there is nothing."""
_TAGS = re.compile(r"<[^>]*>")
NESTED: dict[str, Any] = {
    "type": "object",
    "required": ["to", "lines"],
    "properties": {
        "to": {"type": "string", "description": "Who gets it.", "maxLength": 40},
        "lines": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/Line"}},
        "counts": {"type": "object", "additionalProperties": {"type": "integer"}, "default": {}},
        "either": {"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "null"}], "default": None},
        "size": {"enum": ["small", 3]},
        "tree": {"$ref": "#/$defs/Tree"},
        "anything": {},
    },
    "$defs": {
        "Line": {"type": "object", "required": ["sku"], "properties": {"sku": {"type": "string"}}},
        "Tree": {
            "type": "object",
            "properties": {
                "leaf": {"type": ["integer", "null"]},
                "more": {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
            },
        },
    },
}


def rows(text: str, title: str) -> list[list[str]]:
    """What stands in the rows of a page's table."""
    table = text[text.index(f'aria-label="{title}"') :]
    return [
        [" ".join(_TAGS.sub("", cell).split()) for cell in re.findall(r"<td.*?</td>", row, re.DOTALL)]
        for row in re.findall(r"<tr data-row.*?</tr>", table[: table.index("</table>")], re.DOTALL)
    ]


def attempts(succeeded: int, failed: int, *seconds: float) -> Counts:
    """The counters of a type."""
    counts = new_counts()
    counts[SUCCEEDED : SUCCEEDED + 2] = [succeeded, failed]
    for each in seconds:
        counts[bucket(each)] += 1
    return counts


# -- the list ---------------------------------------------------------------------------------------------------------


async def test_each_type_is_shown_with_its_servers_and_how_it_goes(pages: Pages, broker: Broker, scene: Scene) -> None:
    await TypeTallies(broker).add({"orders": attempts(3, 1, 0.1, 0.1, 0.1, 2.0), "mail": attempts(1, 9, 1.0)})

    text = (await pages.get("/types")).text

    names = re.findall(r'<a href="/types\?name=[^"]*"><bdi>(.*?)</bdi>', text)
    found = dict(zip(names, (row[1:] for row in rows(text, "Types of tasks")), strict=True))
    assert set(found) == {"report", "raw", "fail", "hopeless", "mail", "tick", "stuck", "orders"}
    assert "Take an order, and reserve what it asks for." in text
    servers, version, _, count, rate, *percentiles = found["orders"]
    assert (servers, version, count, rate) == ("1", NONE, "4", "75 %")
    assert percentiles == ["102 ms", "2.2 s", "2.2 s"]
    assert '<span class="bad-text" title="9 of 10 attempts failed">10 %</span>' in text
    assert found["tick"][3:] == ["0", NONE, NONE, NONE, NONE]


async def test_attempts_of_eight_days_are_added_up(pages: Pages, broker: Broker) -> None:
    await TaskCatalog(broker).publish([TaskType(type="mail")])
    await TypeTallies(broker).add({"mail": attempts(5, 0, 1.0)})

    text = (await pages.get("/types?span=8d")).text

    assert rows(text, "Types of tasks")[0][4] == "5"
    assert "in eight days" in text
    assert (await pages.get("/types?span=2y")).status_code == 400


async def test_types_are_found_by_their_name_and_by_what_they_do(pages: Pages, broker: Broker) -> None:
    await TaskCatalog(broker).publish([TaskType(type="mail", doc="Send a letter."), TaskType(type="tidy")])

    async def found(text: str) -> list[str]:
        page = (await pages.get("/types", params={"q": text})).text
        return re.findall(r'<tr data-row id="type-\d+">\s*<td data-label="Type"><a[^>]*><bdi>(.*?)</bdi>', page)

    assert await found("LETTER") == ["mail"]
    assert await found("tid") == ["tidy"]
    assert await found("nothing") == []
    assert "No type is like that." in (await pages.get("/types?q=nothing")).text


async def test_without_types_the_page_says_where_they_come_from(pages: Pages) -> None:
    assert "A Python worker makes its types known when it starts." in (await pages.get("/types")).text


# -- one type ---------------------------------------------------------------------------------------------------------


async def test_a_type_is_shown_with_all_that_is_known_of_it(pages: Pages, scene: Scene) -> None:
    text = (await pages.get("/types?name=orders")).text

    fields = {row[0]: row[1:] for row in rows(text, "Fields of the payload")}
    assert fields == {
        "customer required": ["text", NONE, "Who orders: the id of an account."],
        "lines required": ["list of objects", NONE, "What is ordered, at least one."],
        "lines[].sku required": ["text, pattern ^[A-Z0-9-]+$", NONE, "What is ordered."],
        "lines[].count": ["whole number, at least 1, at most 1000", "1", NONE],
        "gift": ["true or false", "false", "Wrap it."],
        "ship": ["one of &#34;courier&#34;, &#34;post&#34;", "&#34;post&#34;", "How it is sent."],
        "note": ["text or null", "null", "What the customer has to say."],
    }
    assert text.count('aria-label="Example ') == 2
    assert 'href="/new-task?type=orders&amp;example=2"' in text
    assert 'href="/new-task?type=orders"' in text
    facts = dict(
        re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text[text.index("defaults-title") : text.index("versions-title")])
    )
    assert {name: _TAGS.sub("", value) for name, value in facts.items()} == {
        "Queue": "low",
        "Retries": "8",
        "Timeout": "2m an attempt",
        "Unique": "1h",
    }
    ((version, accepted, serving, *_),) = rows(text, "Versions of the type")
    assert (len(version), accepted, serving) == (12, "accepted", "1")
    (server,) = await scene.inspector.servers()
    ((named, status, queues, of_version),) = rows(text, "Servers that serve it")
    assert (named, status, of_version) == (f"{server.host} pid {server.pid}", "active", version)
    assert queues == "".join(server.queues)


async def test_a_type_that_takes_bytes_says_so(pages: Pages, broker: Broker) -> None:
    await TaskCatalog(broker).publish([TaskType(type="raw"), TaskType(type="list", schema={"type": "array"})])

    assert "The handler takes the payload as it is." in (await pages.get("/types?name=raw")).text
    assert "<bdi>List</bdi>" in (await pages.get("/types?name=list")).text
    assert "No server serves it now." in (await pages.get("/types?name=list")).text


async def test_each_version_is_shown_while_workers_of_both_run(pages: Pages, broker: Broker) -> None:
    schema = {"type": "object", "properties": {"old": {"type": "string"}}}
    old = TaskType(type="mail", version="v1", schema=schema)
    new = TaskType(type="mail", version="v2", schema={"type": "object", "properties": {"new": {"type": "string"}}})
    catalog = TaskCatalog(broker)
    await catalog.publish([old])
    await catalog.publish([new])

    assert "2 at once" in (await pages.get("/types")).text
    text = (await pages.get("/types?name=mail")).text
    assert [row[0].split()[0] for row in rows(text, "Versions of the type")] == ["v2", "v1"]
    assert rows(text, "Fields of the payload")[0][0] == "new"
    text = (await pages.get(f"/types?name=mail&version={old.id}")).text
    assert rows(text, "Fields of the payload")[0][0] == "old"
    assert "of the version <bdi>v1</bdi>" in text


async def test_a_type_leads_to_the_prefix_that_serves_it(pages: Pages, broker: Broker) -> None:
    await TaskCatalog(broker).publish([TaskType(type="mail:", prefix=True), TaskType(type="mail:bulk:", prefix=True)])

    text = (await pages.get("/types?name=mail:bulk:17")).text

    assert "<h1><bdi>mail:bulk:*</bdi></h1>" in text
    assert "Tasks of the type <bdi>mail:bulk:17</bdi> are served by this." in text
    assert 'href="/new-task?type=mail%3Abulk%3A17"' in text
    assert "<h1><bdi>mail:*</bdi></h1>" in (await pages.get("/types?name=mail:*")).text


async def test_a_type_that_nobody_published_is_no_riddle(pages: Pages, broker: Broker) -> None:
    await TaskCatalog(broker).publish([TaskType(type="mail:send")])

    answer = await pages.get("/types?name=mail:sent")

    assert answer.status_code == 404
    assert "Workers in Go publish none" in answer.text
    assert '<a href="/types?name=mail%3Asend"><bdi>mail:send</bdi></a>' in answer.text


async def test_nothing_that_is_published_can_do_harm(pages: Pages, broker: Broker) -> None:
    bad = "<script>alert(1)</script>"
    schema = {
        "type": "object",
        "properties": {bad: {"type": "string", "description": bad, "default": bad, "pattern": bad}},
    }
    await TaskCatalog(broker).publish(
        [TaskType(type=bad, doc=bad, version=bad, queue=bad, callback_url=bad, schema=schema)]
    )

    for address in ("/types", "/types?name=%3Cscript%3Ealert(1)%3C/script%3E"):
        answer = await pages.get(address)
        assert answer.status_code == 200
        assert "alert(1)" in answer.text
        assert bad not in answer.text


# -- who may see what -------------------------------------------------------------------------------------------------


async def test_a_limited_key_sees_neither_servers_nor_figures(pages_with: PagesWith, scene: Scene) -> None:
    async with pages_with("lina", **GUARDED) as one:
        listed, shown = (await one.get("/types")).text, (await one.get("/types?name=orders")).text

    (server,) = await scene.inspector.servers()
    assert [rows(listed, "Types of tasks")[3][0].split("Take")[0], rows(listed, "Types of tasks")[3][1]] == [
        "orders",
        "1",
    ]
    assert "Attempts" not in listed + shown
    assert "Served by" not in shown
    assert str(server.pid) not in shown.replace(server.host, "")


async def test_a_viewer_is_offered_no_new_task(pages_with: PagesWith, scene: Scene) -> None:
    async with pages_with("vera", **GUARDED) as one:
        text = (await one.get("/types?name=orders")).text

    assert "Example 1" in text
    assert "/new-task" not in text


async def test_our_own_types_are_not_created_by_hand(pages: Pages, broker: Broker) -> None:
    await TaskCatalog(broker).publish([TaskType(type="taskflow:webhook")])

    text = (await pages.get("/types?name=taskflow:webhook")).text

    assert "type=taskflow" not in text


# -- schemas in words -------------------------------------------------------------------------------------------------


def test_fields_within_fields_are_named_by_their_path() -> None:
    found = {field.path: (field.kind, field.required, field.default, field.limits) for field in schema_fields(NESTED)}

    assert found == {
        "to": ("text", True, None, "at most 40 characters"),
        "lines": ("list of objects", True, None, "at least 1 items"),
        "lines[].sku": ("text", True, None, ""),
        "counts": ("object of whole numbers", False, "{}", ""),
        "either": ("whole number or text or null", False, "null", ""),
        "size": ('one of "small", 3', False, None, ""),
        "tree": ("object", False, None, ""),
        "tree.leaf": ("whole number or null", False, None, ""),
        "tree.more": ("list of objects", False, None, ""),
        "anything": ("any JSON", False, None, ""),
    }


def test_payloads_that_are_no_objects_are_described() -> None:
    assert (
        schema_kind({"type": "array", "items": {"type": "array", "items": {"type": "string"}}})
        == "list of lists of texts"
    )
    assert schema_kind({"const": 7}) == "7"
    assert schema_kind(None) == "any JSON"
    listed = {"type": "array", "items": NESTED["$defs"]["Line"]}
    assert [field.path for field in schema_fields(listed)] == ["[].sku"]


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        {"$ref": "http://elsewhere.example/schema"},
        {"$ref": "#/$defs/0/x", "$defs": []},
        {"type": ["object", 7, None], "properties": {"a": 3, "b": {"enum": 4, "anyOf": "x", "description": 5}}},
        {"properties": [], "required": 1, "anyOf": [1, None]},
        {"$defs": {str(n): {"anyOf": [{"$ref": f"#/$defs/{n + 1}"}] * 30} for n in range(30)}, "$ref": "#/$defs/0"},
        [],
    ],
)
def test_schemas_that_make_no_sense_do_no_harm(schema: Any) -> None:
    assert len(schema_fields(schema)) <= 2
    assert isinstance(schema_kind(schema), str)


def test_only_so_many_fields_are_shown() -> None:
    wide = {"properties": {f"a{number}": NESTED for number in range(100)}}

    assert len(schema_fields(wide)) == MOST_FIELDS


def test_a_lock_is_told_in_a_few_words() -> None:
    hour = timedelta(hours=1)

    assert lock(TaskType(type="a")) == ""
    assert lock(TaskType(type="a", unique=hour)) == "1h"
    unique = Unique(hour, fields=("user.id", "day"), until="started")
    assert lock(TaskType(type="a", unique=unique)) == "1h; fields user.id, day; until started"


# -- in a browser -----------------------------------------------------------------------------------------------------


@pytest.mark.browser
async def test_a_type_is_reached_by_keys_and_leads_to_a_new_task(look: Look, scene: Scene) -> None:
    async with look() as window:
        page = await window.go("/")
        await page.keyboard.press("g")
        await page.keyboard.press("r")
        await page.wait_for_url("**/redis")
        await expect(page.get_by_role("heading", name="Redis", exact=True)).to_be_visible()
        await page.keyboard.press("g")
        await page.keyboard.press("y")
        await page.wait_for_url("**/types")
        await expect(page.get_by_role("heading", name="Types", exact=True)).to_be_visible()
        await page.get_by_role("searchbox", name="Find types by their name, or what they do").fill("reserve")
        await page.keyboard.press("Enter")
        await page.get_by_role("link", name="orders").click()
        await expect(page.get_by_role("cell", name="lines[].sku")).to_be_visible()
        await page.get_by_text("JSON Schema").click()
        await expect(page.get_by_label("JSON Schema")).to_contain_text('"customer"')
        await page.get_by_role("link", name="New task from it: example 1").click()
        await expect(page.locator('[value="c-17"]')).to_be_visible()
