"""The queue's page: its tasks by state, paged and searched, agree with what is there; what strangers wrote does no harm."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta

import pytest
import redis
from playwright.async_api import expect

from dashboard.conftest import GUARDED, Look, Pages, PagesWith
from interop.scene import IN_STATE, PENDING, STATES, Scene
from support.clock import MovableClock
from support.tasks import enqueue, placement
from taskflow import Broker, Inspector, Task, TaskOptions, TaskState
from taskflow.broker.delivery import Archive
from taskflow.client import Client
from taskflow.wire import message as wire

MANY = 100_000


def ids(text: str) -> list[str]:
    """The ids of the tasks that a page lists."""
    return re.findall(r'<span class="id [^"]*"><bdi>([^<]*)</bdi>', text)


def tabs(text: str) -> dict[str, str]:
    """The counts on the tabs."""
    found = re.search(r'<nav class="tabs".*?</nav>', text, re.DOTALL)
    assert found is not None
    return {
        name.lower(): count
        for name, count in re.findall(r">(\w+) *<span class=\"count[^>]*>([^<]*)</span>", found[0].replace("\n", " "))
    }


def fill(raw: redis.Redis, count: int = MANY) -> None:
    """Put many archived tasks into the queue `big`: each hundredth is a report, the others are mails."""
    messages = [
        wire.TaskMessage(type=name, payload=b"{}", queue="big").SerializeToString() for name in ("mail", "report")
    ]
    raw.sadd("asynq:queues", "big")
    raw.eval(
        """for i = 1, tonumber(ARGV[1]) do
             local id = string.format('%06d', i)
             redis.call('HSET', 'asynq:{big}:t:' .. id, 'msg', ARGV[i % 100 == 0 and 3 or 2], 'state', 'archived')
             redis.call('ZADD', 'asynq:{big}:archived', i, id)
           end""",
        0,
        str(count),
        *messages,
    )


# -- lists ----------------------------------------------------------------------------------------------------------------


async def test_each_state_has_a_list_of_its_tasks(pages: Pages, scene: Scene) -> None:
    for state in STATES:
        if state == "aggregating":
            continue
        queue, task_id, _ = IN_STATE[state]
        info = await scene.info(queue)

        text = (await pages.get(f"/queue?name={queue}&state={state}")).text

        assert task_id in ids(text), state
        assert len(ids(text)) == getattr(info, state)
        assert tabs(text) == {each: str(getattr(info, each)) for each in STATES}


async def test_groups_have_lists_of_their_own(pages: Pages, scene: Scene) -> None:
    text = (await pages.get("/queue?name=default&state=aggregating")).text
    assert re.findall(r"<bdi>(user:42|größe 7)</bdi></a></td>.*?(\d)</span>", text, re.DOTALL) == [
        ("größe 7", "1"),
        ("user:42", "3"),
    ]

    members = (await pages.get("/queue?name=default&state=aggregating&group=user%3A42")).text
    assert sorted(ids(members)) == ["member_0", "member_1", "member_2"]


async def test_pages_follow_each_other(pages: Pages, client: Client) -> None:
    await client.enqueue_many([Task("mail", None, TaskOptions(task_id=f"m_{number:03}")) for number in range(120)])
    seen: list[str] = []
    address: str | None = "/queue?name=default"
    while address:
        text = (await pages.get(address)).text
        seen += ids(text)
        found = re.search(r'rel="next" href="([^"]*)"', text)
        address = found[1].replace("&amp;", "&") if found else None

    assert seen == [f"m_{number:03}" for number in range(120)]
    assert "120 of 120<" in text


async def test_what_is_not_there_is_said(pages: Pages, client: Client) -> None:
    await client.enqueue("mail")

    assert (await pages.get("/queue?name=nowhere")).status_code == 404
    assert (await pages.get("/queue")).status_code == 400
    assert (await pages.get("/queue?name=default&state=lost")).status_code == 400
    assert "No task is retry." not in (await pages.get("/queue?name=default&state=active")).text
    assert "This page is empty." in (await pages.get("/queue?name=default&page=9")).text


async def test_a_name_with_slashes_is_one_name(pages: Pages, client: Client) -> None:
    await client.enqueue("mail", queue="a/../b", task_id="x/../y?&#")

    text = (await pages.get("/queues")).text
    address = re.search(r'href="(/queue\?name=a[^"]*)"', text)
    assert address is not None
    listed = (await pages.get(address[1])).text
    assert '<a href="/queues" data-go="q" aria-current="true">' in listed
    assert 'href="/task?queue=a%2F..%2Fb&amp;id=x%2F..%2Fy%3F%26%23"' in listed


# -- search ---------------------------------------------------------------------------------------------------------------


async def test_tasks_are_found_by_what_they_hold(pages: Pages, scene: Scene) -> None:
    for query, expected in (
        ("type=fail", {"dead_1"}),
        ("q=dead_2", {"dead_2"}),
        ("q=worth", {"dead_2"}),
        ("q=worth&in=error", {"dead_2"}),
        ("q=worth&in=id", set()),
        ("q=nothing+like+it", set()),
    ):
        text = (await pages.get(f"/queue?name=default&state=archived&{query}")).text

        assert {task for task in ids(text) if task.startswith("dead")} == expected, query


async def test_tasks_are_found_by_their_payload(pages: Pages, client: Client) -> None:
    await client.enqueue("mail", {"to": "ada@example.org"}, task_id="hers")
    await client.enqueue("mail", {"to": "bob@example.org"}, task_id="his")

    assert ids((await pages.get("/queue?name=default&q=ada%40")).text) == ["hers"]
    assert ids((await pages.get("/queue?name=default&q=ada%40&in=payload")).text) == ["hers"]
    assert ids((await pages.get("/queue?name=default&q=ada%40&in=error")).text) == []


@pytest.mark.parametrize(
    ("since", "until", "expected"), [(1, 3, ["b"]), (None, 1.5, ["a"]), (3.5, None, []), (0.5, None, ["a", "b", "c"])]
)
async def test_tasks_are_found_by_time(
    pages: Pages, client: Client, since: float | None, until: float | None, expected: list[str]
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    for hours, task_id in ((1, "a"), (2, "b"), (3, "c")):
        await client.enqueue("mail", task_id=task_id, process_at=now + timedelta(hours=hours))
    if since == 1:
        since = 1.01
    if until == 3:
        until = 2.99

    def field(name: str, hours: float | None) -> str:
        return "" if hours is None else f"&{name}={now + timedelta(hours=hours):%Y-%m-%dT%H:%M:%S}"

    text = (await pages.get(f"/queue?name=default&state=scheduled{field('since', since)}{field('until', until)}")).text

    assert ids(text) == expected


@pytest.mark.browser
async def test_times_are_looked_for_in_the_zone_of_the_viewer(look: Look, client: Client) -> None:
    for hour in (12, 13):
        await client.enqueue("mail", task_id=f"at_{hour}", process_at=datetime(2040, 1, 31, hour, tzinfo=UTC))
    async with look(zone="Asia/Kolkata") as window:
        page = await window.go("/queue?name=default&state=scheduled")
        await page.locator("#filter-times summary").click()
        since = page.get_by_label("from (GMT+5:30)")
        await since.fill("2040-01-31T18:00:00")
        await page.get_by_role("button", name="Find").click()
        await expect(page.locator("#tasks .id")).to_have_text(["at_13"])
        await expect(since).to_have_value(re.compile("^2040-01-31T18:00"))


async def test_a_time_that_is_none_is_an_error_at_its_field(pages: Pages, client: Client) -> None:
    await client.enqueue("mail")

    answer = await pages.get("/queue?name=default&since=soon")

    assert answer.status_code == 422
    assert re.search(
        r'name="since" [^>]*value="" data-moment aria-invalid="true" aria-describedby="filter-error"', answer.text
    )
    assert "must be a time in UTC such as" in answer.text


async def test_who_may_not_see_payloads_does_not_find_by_them(pages_with: PagesWith, client: Client) -> None:
    await client.enqueue("mail", {"card": "4711"}, task_id="paid")
    async with pages_with("vera", dashboard__payloads="admin", **GUARDED) as one:
        assert "4711" not in (await one.get("/queue?name=default")).text
        assert ids((await one.get("/queue?name=default&q=4711")).text) == []
        assert ids((await one.get("/queue?name=default&q=paid")).text) == ["paid"]
        assert (await one.get("/queue?name=default&q=4711&in=payload")).status_code == 403
    async with pages_with("vera", **GUARDED) as one:
        assert "4711" in (await one.get("/queue?name=default")).text


async def test_a_key_that_is_limited_sees_its_queues_alone(pages_with: PagesWith, scene: Scene) -> None:
    async with pages_with("lina", **GUARDED) as one:
        assert len(ids((await one.get("/queue?name=low")).text)) == PENDING + 1
        for address in ("/queue?name=default", "/queue/history?name=default", "/groups?queue=default"):
            assert (await one.get(address)).status_code == 403
        assert "größe" not in (await one.get("/groups")).text
        assert "<bdi>default</bdi>" not in (await one.get("/queues")).text


# -- many, and hostile ----------------------------------------------------------------------------------------------------


async def test_a_queue_of_100_000_tasks_stays_quick(pages: Pages, raw: redis.Redis) -> None:
    fill(raw)
    await pages.get("/queue?name=big")

    async def seconds(address: str, status: int = 200) -> tuple[float, str]:
        began = time.perf_counter()
        answer = await pages.get(address)
        assert answer.status_code == status
        return time.perf_counter() - began, answer.text

    first, text = await seconds("/queue?name=big&state=archived")
    assert ids(text)[0] == "100000"
    assert "50 of 100,000<" in text
    last, text = await seconds("/queue?name=big&state=archived&page=1999")
    assert ids(text)[-1] == "000001"
    found, text = await seconds("/queue?name=big&state=archived&type=report")
    assert ids(text)[:2] == ["100000", "099900"]
    nothing, text = await seconds("/queue?name=big&state=archived&type=none")
    assert "Only a part of them was looked at" in text

    assert max(first, last) < 0.5
    assert max(found, nothing) < 3


HOSTILE = "<script>alert(1)</script>\"'></td>\u202egnp.exe\x1b[31m"


async def test_what_strangers_wrote_does_no_harm(pages: Pages, broker: Broker, raw: redis.Redis) -> None:
    await enqueue(broker, placement(HOSTILE, task_type=HOSTILE, payload=HOSTILE.encode(), queue="default"))
    await enqueue(broker, placement("binary", payload=b"\xff\xfe\x00<b>"), placement("large", payload=b"x" * 5_000_000))
    (delivery,) = await broker.dequeue({"default": 1}, owner="server:1")
    await broker.settle([(delivery, Archive(HOSTILE * 100))])
    await enqueue(broker, placement("grouped", group=HOSTILE))

    for address in ("state=archived", "state=pending", "state=aggregating", f"q={HOSTILE[:9]}&type={HOSTILE[:9]}"):
        text = (await pages.get(f"/queue?name=default&{address}")).text
        assert "<script>alert" not in text
        assert "</td>\u202e" not in text
        assert "\x1b" not in re.sub(r'value="[^"]*"', "", text)
        assert len(text) < 60_000
    assert "<script>alert" not in (await pages.get("/groups")).text


async def test_large_payloads_do_not_make_a_list_slow(pages: Pages, client: Client, raw: redis.Redis) -> None:
    large = b'"' + b"x" * 1_000_000 + b'"'
    for number in range(50):
        await client.enqueue("mail", large, task_id=f"large_{number}")
    sent = raw.info("stats")["total_net_output_bytes"]

    shown = (await pages.get("/queue?name=default")).text
    found = (await pages.get("/queue?name=default&q=large_7")).text
    listed = await pages.get("/api/v1/tasks?status=pending&size=50")

    assert len(ids(shown)) == len(listed.json()) == 50
    assert ids(found) == ["large_7"]
    assert "<bdi>&#34;xxxxxxxxxx" in shown
    assert raw.info("stats")["total_net_output_bytes"] - sent < 55_000_000  # the search alone looks at whole payloads


async def test_a_message_that_cannot_be_decoded_is_listed(pages: Pages, raw: redis.Redis) -> None:
    fill(raw, 3)
    raw.hset("asynq:{big}:t:000002", "msg", b"\xff\xff\xff")

    assert ids((await pages.get("/queue?name=big&state=archived")).text) == ["000003", "000002", "000001"]


# -- history, queues, groups ----------------------------------------------------------------------------------------------


async def test_the_history_says_what_the_counters_say(pages: Pages, scene: Scene) -> None:
    info = await scene.info("default")
    text = (await pages.get("/queue/history?name=default&days=90")).text

    daily = text[text.index('id="chart-daily-numbers"') :]
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    assert re.search(
        rf"<td>{today} 00:00</td><td class=\"n\">{info.processed}</td><td class=\"n\">{info.failed}</td>", daily
    )
    assert (await pages.get("/queue/history?name=default&days=31")).status_code == 400


async def test_queues_are_found_and_put_in_order(pages: Pages, scene: Scene) -> None:
    def queues(text: str) -> list[str]:
        return re.findall(r'<td data-label="Queue"><a[^>]*><bdi>([^<]*)</bdi>', text)

    assert queues((await pages.get("/queues")).text) == ["default", "held", "low"]
    assert queues((await pages.get("/queues?by=most+pending")).text) == ["low", "held", "default"]
    assert queues((await pages.get("/queues?q=el")).text) == ["held"]
    assert "No queue is called so." in (await pages.get("/queues?q=x")).text


async def test_all_groups_are_shown_with_their_sizes(pages: Pages, scene: Scene, inspector: Inspector) -> None:
    text = (await pages.get("/groups")).text

    assert "4 tasks in 2 groups" in re.sub(r"\s+", " ", text)
    for group in await inspector.groups("default"):
        assert f"<bdi>{group.name}</bdi>" in text
    assert "1 task in 1 group," in re.sub(r"\s+", " ", (await pages.get("/groups?q=7")).text)
    assert "größe" not in (await pages.get("/groups?queue=low")).text


async def test_an_archived_task_is_found_by_the_time_it_was_archived(
    pages: Pages, broker: Broker, clock: MovableClock, inspector: Inspector
) -> None:
    await enqueue(broker, placement("by_hand"))
    assert await inspector.archive("by_hand") is TaskState.PENDING
    moment = datetime.fromtimestamp(clock.now(), UTC)

    def address(since: datetime) -> str:
        return f"/queue?name=default&state=archived&since={since:%Y-%m-%dT%H:%M:%S}"

    assert ids((await pages.get(address(moment - timedelta(minutes=1)))).text) == ["by_hand"]
    assert ids((await pages.get(address(moment + timedelta(minutes=1)))).text) == []
