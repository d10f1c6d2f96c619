"""TaskSearch: pages of tasks, and selections of tasks to do something to."""

from __future__ import annotations

from collections.abc import AsyncIterator

from taskflow.application.queries import MAX_PAGE, MAX_PAGE_SIZE, ListTasks, ScanTasks, Selection, SelectTasks, TaskPage
from taskflow.broker.inspector import Inspector
from taskflow.broker.steering import Progress, check_group
from taskflow.errors import InvalidOption, QueueNotFound
from taskflow.task import QueueInfo, TaskInfo, TaskState, check_queue

SCAN_LIMIT = 10_000
"""How many tasks a page with a filter looks at."""
_SAMPLE = 10


class TaskSearch:
    """Finds tasks. Every method raises `BrokerUnavailable` if Redis does not answer.

    Args:
        inspector: Reads them.
        default_queue: The queue that is meant where none is named.

    """

    def __init__(self, inspector: Inspector, *, default_queue: str) -> None:
        self._inspector = inspector
        self._default_queue = default_queue

    # -- a page -------------------------------------------------------------------------------------------------------

    async def page(self, query: ListTasks) -> TaskPage:
        """Return one page of a queue's tasks in a state; see `TaskService.list`."""
        _check_page(query)
        queue = query.queue if query.queue is not None else self._default_queue
        check_queue(queue)
        try:
            if query.choosy or query.state is TaskState.AGGREGATING:
                return await self._filtered_page(queue, query)
            (info,) = await self._inspector.queue_infos([queue])
            most = query.most_bytes(brief=query.brief)
            tasks = await self._inspector.tasks(queue, query.state, page=query.page, size=query.size, most_bytes=most)
            return TaskPage(tasks, getattr(info, query.state))
        except QueueNotFound:
            if query.queue is None:
                return TaskPage([], 0)
            raise

    async def _filtered_page(self, queue: str, query: ListTasks) -> TaskPage:
        found: list[TaskInfo] = []
        looked_at = 0
        most = query.most_bytes(brief=query.brief)
        async for tasks in self._pages(queue, query.state, query.group, most):
            found += filter(query.fits, tasks)
            looked_at += MAX_PAGE_SIZE
            if looked_at >= SCAN_LIMIT:
                break
        first = query.page * query.size
        return TaskPage(found[first : first + query.size], len(found))

    async def _pages(
        self, queue: str, state: TaskState, group: str | None, most_bytes: int | None
    ) -> AsyncIterator[list[TaskInfo]]:
        number = 0
        while tasks := await self._inspector.tasks(
            queue, state, page=number, size=MAX_PAGE_SIZE, group=group, most_bytes=most_bytes
        ):
            yield tasks
            number += 1

    # -- a selection --------------------------------------------------------------------------------------------------

    async def select(self, query: SelectTasks, progress: Progress | None) -> Selection:
        """Return which tasks of a state fit; see `TaskService.select`."""
        check_group(query.group, query.state)
        queue = query.queue if query.queue is not None else self._default_queue
        check_queue(queue)
        (info,) = await self._inspector.queue_infos([queue])
        sizes = await group_sizes(self._inspector, info, query.state, query.group)
        total = sum(sizes.values())
        if not query.choosy:
            group = next(iter(sizes), None)
            most = query.most_bytes(brief=True)
            sample = await self._inspector.tasks(queue, query.state, size=_SAMPLE, group=group, most_bytes=most)
            return Selection(queue=queue, state=query.state, group=query.group, count=total, sample=tuple(sample))
        return await self._scan(queue, query, sizes, progress)

    async def _scan(
        self, queue: str, query: SelectTasks, sizes: dict[str | None, int], progress: Progress | None
    ) -> Selection:
        ids: list[str] = []
        sample: list[TaskInfo] = []
        total = sum(sizes.values())
        most = total if query.limit is None else min(total, query.limit)
        looked_at = 0
        for group in sizes:
            async for tasks in self._pages(queue, query.state, group, query.most_bytes(brief=True)):
                found = [task for task in tasks[: most - looked_at] if query.fits(task)]
                ids += (task.id for task in found)
                sample += found[: _SAMPLE - len(sample)]
                looked_at += len(tasks)
                if progress is not None:
                    progress(min(looked_at, most), most)
                if looked_at >= most:
                    break
            if looked_at >= most:
                break
        return Selection(
            queue=queue,
            state=query.state,
            group=query.group,
            count=len(ids),
            sample=tuple(sample),
            ids=tuple(ids),
            complete=most == total,
        )


def _check_page(query: ListTasks) -> None:
    if not 0 <= query.page <= MAX_PAGE:
        raise InvalidOption("page", f"must be a number from 0 to {MAX_PAGE}, not {query.page}")
    check_listing(query)


def check_listing(query: ListTasks | ScanTasks) -> None:
    """Raise `InvalidOption` unless some tasks can be listed: as many as may be asked for, and of aggregating ones, of a group."""
    if not 1 <= query.size <= MAX_PAGE_SIZE:
        raise InvalidOption("size", f"must be a number from 1 to {MAX_PAGE_SIZE}, not {query.size}")
    if query.state is TaskState.AGGREGATING and query.group is None:
        raise InvalidOption("group", "name the group whose tasks are to be listed")


async def group_sizes(
    inspector: Inspector, info: QueueInfo, state: TaskState, group: str | None
) -> dict[str | None, int]:
    """Return the groups that are meant, by name, with their sizes; for other states, None with that of the state."""
    if state is not TaskState.AGGREGATING:
        return {None: getattr(info, state)}
    groups = await inspector.groups(info.queue)
    return {one.name: one.size for one in groups if group in {None, one.name}}
