"""Assertions on what was enqueued: they read the real queues, and say what is there when they fail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from taskflow.app import TaskFlow
from taskflow.broker.inspector import Inspector
from taskflow.broker.queue import Broker
from taskflow.client import Client
from taskflow.task import Task, TaskInfo, TaskState
from taskflow.testing.wanted import ANY, TOLERANCE, report, wanted

WAITING = (TaskState.PENDING, TaskState.SCHEDULED, TaskState.RETRY, TaskState.AGGREGATING)
"""The states of tasks that a worker has yet to run."""
_PAGE = 1000


async def all_enqueued(
    app: TaskFlow | Client | str,
    task: str | Task | None = None,
    *,
    payload: Any = ANY,
    queue: str | None = None,
) -> list[TaskInfo]:
    """Return the tasks that wait to be run: pending, scheduled, to be tried again, or in a group.

    Args:
        app: The application, a client, or the URL of Redis.
        task: Their type, or a whole task: `send_email.task("ada@example.org")`. Default: any.
        payload: Their payload: of a JSON object, the fields that count, at any depth. Default: any.
        queue: Their queue. Default: any.

    Raises:
        BrokerUnavailable: Redis does not answer.

    """
    looked_for = wanted(task, payload=payload, queue=queue)
    async with _reader(app) as (inspector, _):
        return [one for one in await _waiting(inspector) if not looked_for.differences(one)]


async def assert_enqueued(
    app: TaskFlow | Client | str,
    task: str | Task,
    *,
    payload: Any = ANY,
    queue: str | None = None,
    process_in: timedelta | None = None,
    process_at: datetime | None = None,
    tolerance: timedelta = TOLERANCE,
    count: int | None = 1,
) -> list[TaskInfo]:
    """Fail unless exactly `count` such tasks wait to be run; return them.

    Args:
        app: The application, a client, or the URL of Redis.
        task: Their type, or a whole task, of which type, payload and queue count: `send_email.task("ada@example.org")`.
        payload: Their payload: of a JSON object, the fields that count, at any depth. Default: any.
        queue: Their queue. Default: any, or the whole task's.
        process_in: How long from now they fall due.
        process_at: When they fall due.
        tolerance: How far from that they may be. Default 5 s.
        count: How many there are; None: at least one.

    Raises:
        AssertionError: There are fewer or more; it says what waits, and in what the tasks of the type differ.
        BrokerUnavailable: Redis does not answer.

    """
    __tracebackhide__ = True
    async with _reader(app) as (inspector, now):
        due = process_at if process_in is None else now + process_in
        looked_for = wanted(task, payload=payload, queue=queue, due=due, tolerance=tolerance)
        waiting = await _waiting(inspector)
    found = [one for one in waiting if not looked_for.differences(one)]
    if len(found) == count or (count is None and found):
        return found
    expected = "at least one task" if count is None else f"{count} task{'' if count == 1 else 's'}"
    raise AssertionError(
        report(f"expected {expected} {looked_for}, found {len(found)}", waiting, now, beside=looked_for)
    )


async def assert_not_enqueued(
    app: TaskFlow | Client | str,
    task: str | Task | None = None,
    *,
    payload: Any = ANY,
    queue: str | None = None,
) -> None:
    """Fail if such a task waits to be run. The arguments are those of `all_enqueued`.

    Raises:
        AssertionError: There is one; it says which.
        BrokerUnavailable: Redis does not answer.

    """
    __tracebackhide__ = True
    looked_for = wanted(task, payload=payload, queue=queue)
    async with _reader(app) as (inspector, now):
        found = [one for one in await _waiting(inspector) if not looked_for.differences(one)]
    if found:
        raise AssertionError(report(f"expected no task {looked_for}", found, now))


@asynccontextmanager
async def _reader(app: TaskFlow | Client | str) -> AsyncIterator[tuple[Inspector, datetime]]:
    """Give an inspector and the time, over a connection of its own unless a client is given."""
    broker = app.broker if isinstance(app, Client) else Broker(app.redis_url if isinstance(app, TaskFlow) else app)
    try:
        await broker.open()
        yield Inspector(broker), datetime.fromtimestamp(broker.clock.now(), UTC)
    finally:
        if not isinstance(app, Client):
            await broker.close()


async def _waiting(inspector: Inspector) -> list[TaskInfo]:
    found: list[TaskInfo] = []
    for queue in await inspector.queues():
        groups = [group.name for group in await inspector.groups(queue)]
        for state in WAITING:
            for group in groups if state is TaskState.AGGREGATING else [None]:
                found += await _all_pages(inspector, queue, state, group)
    return found


async def _all_pages(inspector: Inspector, queue: str, state: TaskState, group: str | None) -> Sequence[TaskInfo]:
    found: list[TaskInfo] = []
    page = 0
    while tasks := await inspector.tasks(queue, state, page=page, size=_PAGE, group=group):
        found += tasks
        page += 1
    return found
