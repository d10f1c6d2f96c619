"""The overview: what stands on it agrees with what the service says, and it costs little."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dashboard.conftest import GUARDED, Pages, PagesWith, token_in
from interop.scene import Scene
from support.clock import MovableClock
from taskflow import QueueInfo
from taskflow.application.findings import Finding
from taskflow.application.overview import Overview, QueueOverview
from taskflow.broker.samples import Series
from taskflow.client import Client
from taskflow.dashboard.glances import Glances
from taskflow.dashboard.pages.overview import charts, marks, totals

NOW = datetime(2026, 1, 1, tzinfo=UTC)
_TAGS = re.compile(r"<[^>]*>")


def cells(text: str, queue: str) -> list[str]:
    """What stands in a queue's row."""
    row = next(row for row in re.findall(r"<tr data-row.*?</tr>", text, re.DOTALL) if f"<bdi>{queue}</bdi>" in row)
    return [_TAGS.sub("", cell).strip() for cell in re.findall(r"<td.*?</td>", row, re.DOTALL)]


async def test_each_queue_is_shown_as_it_is(pages: Pages, scene: Scene) -> None:
    text = (await pages.get("/")).text

    for name in ("default", "low", "held"):
        info = await scene.info(name)
        shown = cells(text, name)
        numbers = [
            info.pending,
            info.active,
            info.scheduled,
            info.retry,
            info.archived,
            info.completed,
            info.aggregating,
        ]
        assert [shown[1], *shown[3:9]] == [str(number) for number in numbers]
    assert cells(text, "held")[0].endswith("paused")
    assert "is paused, and 2 tasks wait in it" in text


async def test_a_queue_without_a_worker_is_seen_at_once(pages: Pages, client: Client) -> None:
    await client.enqueue("demo", queue="lonely")

    text = (await pages.get("/")).text

    assert '<tr data-row id="queue-1" class="row-error">' in text
    assert "has no worker, and 1 task waits in it" in text
    assert text.index("has no worker") < text.index('id="totals"')


async def test_a_limited_key_sees_no_servers(pages_with: PagesWith, scene: Scene) -> None:
    async with pages_with("lina", **GUARDED) as one:
        text = (await one.get("/")).text

    assert cells(text, "low")
    assert "<bdi>default</bdi>" not in text
    assert "Servers</dt>" not in text
    assert "no worker" not in text


async def test_charts_are_of_the_time_that_is_asked_for(pages: Pages, client: Client) -> None:
    await client.enqueue("demo")

    assert "The last 30 days" in (await pages.get("/?span=30d")).text
    assert (await pages.get("/?span=2y")).status_code == 400


def test_totals_are_of_all_queues() -> None:
    busy = QueueOverview(
        info=QueueInfo(queue="a", pending=3, active=1, latency=timedelta(seconds=9)),
        throughput=1.5,
        processed_lately=30,
        failed_lately=3,
    )
    fresh = QueueOverview(info=QueueInfo(queue="b", pending=1, latency=timedelta(seconds=2)))

    found = totals(Overview(at=NOW, queues=(busy, fresh), servers=()))

    assert (found.pending, found.active, found.slots) == (4, 1, 0)
    assert (found.throughput, found.failure_rate, found.oldest) == (1.5, 0.1, timedelta(seconds=9))
    assert totals(Overview(at=NOW, queues=(fresh,), servers=())).throughput is None


def test_a_queue_is_marked_by_the_worst_that_is_said_of_it() -> None:
    def finding(severity: Any, subject: str, target: Any = "queue") -> Finding:
        return Finding(severity=severity, code="x", subject=subject, text="", target=target)

    found = marks(
        [finding("error", "a"), finding("warning", "a"), finding("warning", "b"), finding("error", "c", "type")]
    )

    assert found == {"a": "error", "b": "warning"}


def test_charts_say_what_the_samples_say() -> None:
    series = Series(
        span="1h",
        start=NOW,
        step=timedelta(seconds=10),
        processed=(None, 2.0),
        failed=(None, 0.5),
        latency=(None, 90.0),
        pending=(None, 1500),
        active=(None, 3),
    )

    found = charts(series)

    assert [each.summary for each in found.values()] == [
        "ended: now 2, at most 2.",
        "failed: now 0.5, at most 0.5.",
        "pending: now 1.5k, at most 1.5k; active: now 3, at most 3.",
        "oldest: now 1m 30s, at most 1m 30s.",
    ]
    assert found["chart-done"].rows[0] == (NOW, [""])


async def test_the_table_that_many_see_holds_nothing_that_is_ones_own(
    pages_with: PagesWith, pages: Pages, client: Client
) -> None:
    await client.enqueue("demo")
    first = (await pages.get("/")).text
    again = (await pages.get("/")).text
    table = re.compile(r"<table.*?</table>", re.DOTALL).findall

    assert table(first) == table(again)
    assert token_in(first) not in table(first)[0]
    async with pages_with("ada", **GUARDED) as admin, pages_with("vera", **GUARDED) as viewer:
        assert "Pause" in table((await admin.get("/")).text)[0]
        assert "Pause" not in table((await viewer.get("/")).text)[0]


# -- many viewers -----------------------------------------------------------------------------------------------------


async def test_what_many_look_at_is_read_once() -> None:
    clock = MovableClock()
    glances = Glances(clock=clock.now)
    reads: list[int] = []

    async def read() -> int:
        await asyncio.sleep(0)
        reads.append(len(reads))
        return reads[-1]

    assert await asyncio.gather(*(glances.get("a", 1, read) for _ in range(10))) == [0] * 10
    assert await glances.get("b", 1, read) == 1
    clock.advance(1.5)
    assert await glances.get("a", 1, read) == 2


async def test_what_could_not_be_read_is_read_again() -> None:
    glances = Glances()

    async def fail() -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await glances.get("a", 1, fail)

    async def read() -> int:
        return 7

    assert await glances.get("a", 1, read) == 7


async def test_what_was_read_before_a_change_is_not_shown_after_it() -> None:
    glances = Glances()
    reads: list[int] = []
    changed = asyncio.Event()

    async def read() -> int:
        reads.append(len(reads))
        found = reads[-1]
        if found == 1:
            await changed.wait()
        return found

    assert await glances.get("a", 60, read) == 0
    glances.forget()
    reading = asyncio.create_task(glances.get("a", 60, read))
    await asyncio.sleep(0)
    glances.forget()
    changed.set()

    assert await reading == 1
    assert await glances.get("a", 60, read) == 2
    assert await glances.get("a", 60, read) == 2


async def test_only_so_much_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskflow.dashboard.glances.MOST", 2)
    glances = Glances()

    async def read() -> object:
        return object()

    first = await glances.get("a", 60, read)
    assert await glances.get("a", 60, read) is first
    for key in ("b", "c"):
        await glances.get(key, 60, read)
    assert await glances.get("a", 60, read) is not first
