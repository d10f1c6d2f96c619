"""Reading: the tasks in the queues of an app, over a connection of the helper's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from taskflow.app import TaskFlow
from taskflow.broker.inspector import Inspector
from taskflow.broker.queue import Broker
from taskflow.client import Client
from taskflow.task import TaskInfo, TaskState

WAITING = (TaskState.PENDING, TaskState.SCHEDULED, TaskState.RETRY, TaskState.AGGREGATING)
"""The states of tasks that a worker has yet to run."""
_PAGE = 1000


@asynccontextmanager
async def reader(app: TaskFlow | Client | str) -> AsyncIterator[tuple[Inspector, datetime]]:
    """Give an inspector and the time; of a client, the connection is shared."""
    broker = app.broker if isinstance(app, Client) else Broker(app.redis_url if isinstance(app, TaskFlow) else app)
    try:
        await broker.open()
        yield Inspector(broker), datetime.fromtimestamp(broker.clock.now(), UTC)
    finally:
        if not isinstance(app, Client):
            await broker.close()


async def tasks_in(
    inspector: Inspector, states: Iterable[TaskState] = WAITING, *, queues: Iterable[str] | None = None
) -> list[TaskInfo]:
    """Return all tasks in some states, of some queues or of all."""
    found: list[TaskInfo] = []
    for queue in await inspector.queues() if queues is None else queues:
        for state in states:
            if state is TaskState.AGGREGATING:
                for group in await inspector.groups(queue):
                    found += await _all_pages(inspector, queue, state, group.name)
            else:
                found += await _all_pages(inspector, queue, state)
    return found


async def _all_pages(inspector: Inspector, queue: str, state: TaskState, group: str | None = None) -> list[TaskInfo]:
    found: list[TaskInfo] = []
    page = 0
    while tasks := await inspector.tasks(queue, state, page=page, size=_PAGE, group=group):
        found += tasks
        page += 1
    return found
