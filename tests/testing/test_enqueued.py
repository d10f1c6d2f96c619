"""Assertions on what was enqueued, on a real server, and what they say when they fail."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from conftest import StartWorker, WaitUntil
from support.store import Store
from taskflow import Client, SyncClient, TaskFlow
from taskflow.testing import all_enqueued, assert_enqueued, assert_not_enqueued, sync

MINUTE = timedelta(minutes=1)


async def message_of(assertion: Awaitable[Any]) -> str:
    """What a failing assertion says."""
    with pytest.raises(AssertionError) as caught:
        await assertion
    return str(caught.value)


# -- found ------------------------------------------------------------------------------------------------------------


async def test_an_enqueued_task_is_found_by_its_type_payload_and_queue(client: Client) -> None:
    info = await client.enqueue("mail", {"to": "ada", "options": {"urgent": True, "copies": 2}}, queue="high")

    assert [one.id for one in await assert_enqueued(client, "mail")] == [info.id]
    await assert_enqueued(client, "mail", payload={"to": "ada"})
    await assert_enqueued(client, "mail", payload={"options": {"urgent": True}}, queue="high")
    await assert_not_enqueued(client, "mail", payload={"to": "grace"})
    await assert_not_enqueued(client, "mail", payload={"options": {"urgent": False}})
    await assert_not_enqueued(client, "mail", queue="low")
    await assert_not_enqueued(client, "other")


async def test_values_are_compared_as_they_travel(client: Client) -> None:
    noon = datetime(2030, 1, 1, 12, tzinfo=UTC)
    await client.enqueue("meet", {"at": noon, "who": ("ada", "grace")})
    await client.enqueue("raw", b"\x00\xff")
    await client.enqueue("empty")

    await assert_enqueued(client, "meet", payload={"at": noon, "who": ["ada", "grace"]})
    await assert_not_enqueued(client, "meet", payload={"who": ["ada"]})
    await assert_enqueued(client, "raw", payload=b"\x00\xff")
    await assert_not_enqueued(client, "raw", payload={"any": "field"})
    await assert_enqueued(client, "empty", payload=None)
    await assert_not_enqueued(client, "meet", payload=None)


async def test_a_whole_task_is_found_by_all_of_its_payload(app: TaskFlow) -> None:
    @app.task("mail", queue="high")
    async def mail(to: str, subject: str = "Hello") -> None: ...

    await mail.enqueue("ada", subject="Notes")

    await assert_enqueued(app, mail.task("ada", subject="Notes"))
    await assert_not_enqueued(app, mail.task("ada"))
    await assert_not_enqueued(app, mail.with_options(queue="low").task("ada", subject="Notes"))
    with pytest.raises(TypeError, match="a Task carries its payload"):
        await assert_enqueued(app, mail.task("ada"), payload={"to": "ada"})


async def test_due_times_are_compared_with_some_tolerance(client: Client) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    await client.enqueue("soon", process_in=MINUTE)
    await client.enqueue("tomorrow", process_at=tomorrow)
    await client.enqueue("now")

    await assert_enqueued(client, "soon", process_in=MINUTE)
    await assert_enqueued(client, "soon", process_in=2 * MINUTE, tolerance=timedelta(seconds=90))
    await assert_enqueued(client, "tomorrow", process_at=tomorrow, tolerance=timedelta(0))
    await assert_enqueued(client, "now", process_in=timedelta(0))
    for wrong in ("soon", "now", "tomorrow"):
        assert "too" in await message_of(assert_enqueued(client, wrong, process_in=timedelta(hours=1)))


async def test_how_many_there_are_is_told(client: Client) -> None:
    for _ in range(3):
        await client.enqueue("t")

    await assert_enqueued(client, "t", count=3)
    await assert_enqueued(client, "t", count=None)
    await assert_enqueued(client, "other", count=0)
    assert "expected 1 task of type t, found 3" in await message_of(assert_enqueued(client, "t"))
    assert "expected at least one task of type other" in await message_of(assert_enqueued(client, "other", count=None))


async def test_tasks_that_wait_in_any_state_are_listed(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    @app.task("fails")
    async def fails() -> None:
        raise ValueError("once")

    @app.task("works")
    async def works() -> None: ...

    worker = await start_worker(app)
    await client.enqueue("fails")
    await client.enqueue("works")
    await wait_until(lambda: store.number("processed") == 2)
    worker.stop()
    await wait_until(lambda: worker.describe().status == "closed")
    await client.enqueue("pending", queue="a")
    await client.enqueue("scheduled", queue="b", process_in=MINUTE)
    await client.enqueue("gathered", queue="c", group="g")

    waiting = await all_enqueued(client)

    assert sorted((one.type, one.state.value) for one in waiting) == [
        ("fails", "retry"),
        ("gathered", "aggregating"),
        ("pending", "pending"),
        ("scheduled", "scheduled"),
    ]
    assert [one.type for one in await all_enqueued(client, "gathered", queue="c")] == ["gathered"]


async def test_more_tasks_than_a_page_holds_are_all_seen(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskflow.testing.reading._PAGE", 2)
    for n in range(5):
        await client.enqueue("t", {"n": n})

    assert len(await all_enqueued(client, "t")) == 5


async def test_an_app_and_a_url_will_do(app: TaskFlow, redis_url: str) -> None:
    await app.client.enqueue("t")

    await assert_enqueued(app, "t")
    await assert_enqueued(redis_url, "t")


def test_a_blocking_test_asserts_too(redis_url: str) -> None:
    app = TaskFlow(redis_url)
    with SyncClient(redis_url) as client:
        client.enqueue("t", {"n": 1})

    assert sync.assert_enqueued(app, "t", payload={"n": 1})[0].type == "t"
    sync.assert_not_enqueued(redis_url, "t", payload={"n": 2})
    assert len(sync.all_enqueued(app)) == 1


# -- what a failure says ----------------------------------------------------------------------------------------------


async def test_a_failure_lists_what_waits_and_in_what_it_differs(client: Client) -> None:
    await client.enqueue("mail", {"to": "grace"}, queue="low")
    await client.enqueue("mail", {"to": "ada"}, process_in=2 * MINUTE)
    await client.enqueue("note", b"\xff", group="g", queue="z")

    said = await message_of(assert_enqueued(client, "mail", payload={"to": "ada"}, queue="default", process_in=MINUTE))

    heading, *lines = said.splitlines()
    assert heading.startswith('expected 1 task of type mail with the payload {"to":"ada"} in queue default due at 2')
    assert heading.endswith("UTC, give or take 5.0 s, found 0")
    assert lines[0] == "waiting: 3"
    assert lines[1].startswith('  mail  {"to":"ada"}  queue=default  scheduled  due in ')
    assert lines[1].endswith("<- due 60.0 s too late")
    assert lines[2] == (
        '  mail  {"to":"grace"}  queue=low  pending  <- queue is not default, payload differs, due 60.0 s too early'
    )
    assert lines[3] == "  note  b'\\xff'  queue=z  aggregating  group=g"


async def test_a_failure_on_empty_queues_says_so(client: Client, app: TaskFlow) -> None:
    @app.task("mail")
    async def mail(to: str) -> None: ...

    assert await message_of(assert_enqueued(client, mail.task("ada"))) == (
        'expected 1 task of type mail with exactly the payload {"to":"ada"} in queue default, found 0\nwaiting: nothing'
    )


async def test_what_should_not_be_there_is_named(client: Client) -> None:
    await client.enqueue("mail", {"text": "x" * 1000})
    await client.enqueue("note")

    said = await message_of(assert_not_enqueued(client))

    assert said.splitlines()[0] == "expected no task of any type"
    assert "note  (empty)  queue=default  pending" in said
    assert max(map(len, said.splitlines())) < 400


async def test_a_long_list_is_cut(client: Client) -> None:
    for _ in range(30):
        await client.enqueue("note")

    said = await message_of(assert_enqueued(client, "mail"))

    assert len(said.splitlines()) == 23
    assert said.endswith("... and 10 more")
