"""A TaskFlow system at work, with tasks in every state, for the tools of others to look at.

One worker serves three queues with two slots. Both are taken by tasks that never end, so what waits goes on waiting and all
numbers stand still. Ids have no dash: asynqmon shows them up to the first.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct

from support.clock import MovableClock
from support.tasks import placement, taken
from support.waiting import wait_until
from taskflow import (
    Broker,
    Inspector,
    QueueInfo,
    ScheduleEntry,
    Scheduler,
    ScheduleStore,
    SkipRetry,
    Task,
    TaskContext,
    TaskFlow,
    TaskOptions,
)
from taskflow.broker.delivery import Archive, Done

if TYPE_CHECKING:
    from conftest import StartWorker

QUEUES = {"default": 3, "low": 1, "held": 1}
PENDING = 45
"""How many tasks wait in the queue `low`: more than one page of any tool."""
GROUP, ODD_GROUP = "user:42", "größe 7"
STATES = ("active", "pending", "aggregating", "scheduled", "retry", "archived", "completed")
IN_STATE = {
    "active": ("default", "runs_1", 2),
    "pending": ("low", "waits_00", PENDING + 1),
    "aggregating": ("default", "member_0", 3),
    "scheduled": ("default", "later_1", 3),
    "retry": ("default", "retry_1", 3),
    "archived": ("default", "dead_1", 3),
    "completed": ("default", "done_1", 3),
}
"""A queue with tasks in each state: its name, one of them, and how many it has (of the aggregating, those of `GROUP`)."""
HOUR = timedelta(hours=1)
BINARY = b"\x00\xff\x80not text"
TEXT = {"to": "ada@example.org", "größe": "42 €", "emoji": "✉"}

NIGHTLY = ScheduleEntry(
    id="nightly",
    spec="0 3 * * *",
    type="report:größe",
    payload=b'{"days":1}',
    timezone="Europe/Berlin",
    queue="low",
    max_retries=3,
    timeout=timedelta(minutes=30),
    retention=HOUR,
)
DAILY = ScheduleEntry(id="daily", spec="@daily", type="tick", queue="low", missed="once")
"""It is put a day ago, so it has fired once, at midnight."""
ASLEEP = ScheduleEntry(id="asleep", spec="*/5 * * * *", type="tick", queue="low")
YEARLY = ScheduleEntry(id="yearly", spec="0 0 1 7 *", type="tick", payload=BINARY, queue="low")
"""This one is in the program's code, the others are kept in Redis."""


class Line(Struct):
    """A line of an order."""

    sku: Annotated[str, Meta(pattern="^[A-Z0-9-]+$", description="What is ordered.")]
    count: Annotated[int, Meta(ge=1, le=1000)] = 1


class Scene:
    """What runs, and how to ask it."""

    def __init__(self, app: TaskFlow) -> None:
        self.app = app
        self.inspector = Inspector(app.client.broker)
        self.scheduler = Scheduler(app.client.broker, [YEARLY])
        self.stopped: list[str] = []
        """The ids of tasks whose handler was stopped."""

    async def info(self, queue: str) -> QueueInfo:
        """What our inspector says of a queue."""
        (found,) = await self.inspector.queue_infos([queue])
        return found


def shown(data: bytes | None) -> str:
    """Bytes as asynq's tools show them."""
    text = (data or b"").decode(errors="replace")
    return text if text.strip() and text.isprintable() else "non-printable bytes"


def _options(task_id: str, queue: str = "default", **more: Any) -> TaskOptions:
    return TaskOptions(task_id=task_id, queue=queue, **more)


def _add_handlers(app: TaskFlow, stopped: list[str]) -> None:
    @app.task("report")
    async def report() -> dict[str, str]:
        return {"größe": "42 €"}

    @app.task("raw")
    async def raw(payload: bytes) -> bytes:
        return payload

    @app.task("fail", backoff=HOUR)
    async def fail() -> None:
        raise ValueError("no mail for größe ✉")

    @app.task("hopeless")
    async def hopeless() -> None:
        raise SkipRetry("not worth a second try")

    @app.task("mail")
    async def mail(payload: bytes) -> None:
        """Succeed."""

    @app.task("tick")
    async def tick(payload: bytes) -> None:
        """Succeed."""

    @app.task("orders", queue="low", max_retries=8, timeout=timedelta(minutes=2), unique=HOUR)
    async def orders(
        customer: str,
        lines: list[Line],
        gift: bool = False,
        ship: Literal["post", "courier"] = "post",
        note: str | None = None,
    ) -> None:
        """Take an order, and reserve what it asks for.

        Args:
            customer: Who orders: the id of an account.
            lines: What is ordered, at least one.
            gift: Wrap it.
            ship: How it is sent.
            note: What the customer has to say.

        Examples:
            {"customer": "c-17", "lines": [{"sku": "TEA-500", "count": 2}], "ship": "courier"}

            {"customer": "größe", "lines": [{"sku": "CUP-1"}], "gift": true}

        """

    @app.task("stuck")
    async def stuck(context: TaskContext) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.append(context.id)
            raise


def _ended() -> list[Task]:
    """Tasks that the worker is done with, in one way or another."""
    return [
        Task("report", None, _options("done_1", retention=HOUR)),
        Task("raw", BINARY, _options("done_2", retention=HOUR)),
        Task("report", None, _options("done_3", retention=2 * HOUR)),
        Task("report", None, _options("gone_1")),
        Task("report", None, _options("gone_2", "low")),
        Task("fail", None, _options("retry_1", max_retries=5)),
        Task("fail", None, _options("retry_2")),
        Task("fail", None, _options("retry_3")),
        Task("fail", None, _options("retry_4", "low")),
        Task("fail", None, _options("dead_1", max_retries=0)),
        Task("hopeless", None, _options("dead_2")),
    ]


def _waiting() -> list[Task]:
    """Tasks that wait, each for something else."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    due = datetime.now(UTC).replace(microsecond=250_000) + HOUR
    return [
        *(Task("mail", TEXT, _options(f"waits_{number:02}", "low")) for number in range(PENDING)),
        Task("mail", TEXT, _options("held_1", "held", headers={"trace": "größe-1"})),
        Task("mail", BINARY, _options("held_2", "held")),
        Task("mail", TEXT, _options("later_1", process_at=due, headers={"trace": "größe-1"})),
        Task("mail", BINARY, _options("later_2", process_in=2 * HOUR, deadline=tomorrow)),
        Task("mail", None, _options("later_3", process_in=timedelta(days=400), timeout=HOUR, unique=HOUR)),
        *(Task("note", TEXT, _options(f"member_{number}", group=GROUP)) for number in range(3)),
        Task("note", BINARY, _options("odd_member", group=ODD_GROUP)),
    ]


async def _yesterday(url: str) -> None:
    """A day ago three tasks were done, one of which failed, and a schedule was made."""
    clock = MovableClock()
    broker = Broker(url, clock=clock)
    await broker.open()
    clock.advance(-24 * 3600)
    deliveries = await taken(broker, *(placement(f"yesterday_{number}") for number in range(3)))
    await broker.settle([(delivery, Done()) for delivery in deliveries[:2]])
    await broker.settle([(deliveries[2], Archive("failed yesterday"))])
    await ScheduleStore(broker).put(DAILY)
    await broker.close()


@asynccontextmanager
async def a_system_at_work(app: TaskFlow, start_worker: StartWorker) -> AsyncIterator[Scene]:
    """Build the system on the app's Redis server; its scheduler is stopped at the end."""
    await _yesterday(app.redis_url)
    scene = Scene(app)
    _add_handlers(app, scene.stopped)
    await start_worker(app, app.redis_url, queues=QUEUES, concurrency=2, heartbeat=0.1)
    await app.client.enqueue_many(_ended())

    async def all_ended() -> bool:
        return sum(info.processed for info in await scene.inspector.queue_infos()) == len(_ended())

    await wait_until(all_ended)
    await app.client.enqueue_many([Task("stuck", TEXT, _options(f"runs_{number}")) for number in (1, 2)])

    async def published() -> bool:
        return any(len(server.running) == 2 for server in await scene.inspector.servers())

    await wait_until(published)
    await app.client.enqueue_many(_waiting())
    await scene.inspector.pause("held")
    for entry in (NIGHTLY, ASLEEP):
        await scene.scheduler.store.put(entry)
    await scene.scheduler.store.pause("asleep")
    scheduling = asyncio.create_task(scene.scheduler.run())
    async with asyncio.timeout(10):
        await scene.scheduler.ready.wait()
    yield scene
    scene.scheduler.stop()
    await scheduling
