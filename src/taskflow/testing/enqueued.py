"""Assertions on what was enqueued: they read the real queues, and say what is there when they fail."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from taskflow.app import TaskFlow
from taskflow.client import Client
from taskflow.task import Task, TaskInfo
from taskflow.testing.reading import reader, tasks_in
from taskflow.testing.wanted import ANY, TOLERANCE, report, wanted


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
    async with reader(app) as (inspector, _):
        return [one for one in await tasks_in(inspector) if not looked_for.differences(one)]


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
    async with reader(app) as (inspector, now):
        due = process_at if process_in is None else now + process_in
        looked_for = wanted(task, payload=payload, queue=queue, due=due, tolerance=tolerance)
        waiting = await tasks_in(inspector)
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
    async with reader(app) as (inspector, now):
        found = [one for one in await tasks_in(inspector) if not looked_for.differences(one)]
    if found:
        raise AssertionError(report(f"expected no task {looked_for}", found, now))
