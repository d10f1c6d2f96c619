"""What can be asked of the service: questions that change nothing."""

from __future__ import annotations

from msgspec import Struct

from taskflow.application.criteria import Criteria
from taskflow.task import TaskInfo, TaskState

MAX_PAGE_SIZE = 1000
"""The most tasks on one page."""
MAX_PAGE = 1_000_000_000
"""The last page that can be asked for."""


class GetTask(Struct, frozen=True):
    """What is known of one task; without a queue, every queue is searched for it."""

    task_id: str
    queue: str | None = None


class ListTasks(Criteria, frozen=True, kw_only=True):
    """One page of a queue's tasks in a state, of those that meet the criteria.

    Attributes:
        queue: Default: `queues.default`.
        state: Default: active.
        page: Counts from 0.
        size: Tasks on a page: 1 to 1,000. Default 20.
        group: The group, for aggregating tasks.
        brief: The first 1,024 bytes of payloads and results are enough. Default: they are told whole.

    With criteria, the first 10,000 tasks of the state are looked at.

    """

    queue: str | None = None
    state: TaskState = TaskState.ACTIVE
    page: int = 0
    size: int = 20
    group: str | None = None
    brief: bool = False


class TaskPage(Struct, frozen=True):
    """One page, and how many tasks there are in all (as far as was looked)."""

    tasks: list[TaskInfo]
    total: int


class SelectTasks(Criteria, frozen=True, kw_only=True):
    """The tasks of a queue in a state that meet the criteria, to do something to all of them.

    Attributes:
        state: In which state.
        queue: Default: `queues.default`.
        group: Only this group, of aggregating tasks. Default: all groups.
        limit: With criteria: how many tasks are looked at. Default: all.

    """

    state: TaskState
    queue: str | None = None
    group: str | None = None
    limit: int | None = None


class Selection(Struct, frozen=True, kw_only=True):
    """What was selected.

    Attributes:
        queue, state, group: Where the tasks are.
        count: How many there are.
        sample: Some of them.
        ids: Their ids; None: all tasks of the state.
        complete: Whether all tasks of the state were looked at.

    """

    queue: str
    state: TaskState
    group: str | None
    count: int
    sample: tuple[TaskInfo, ...] = ()
    ids: tuple[str, ...] | None = None
    complete: bool = True


class ScanTasks(Criteria, frozen=True, kw_only=True):
    """The next tasks of a queue in a state that meet the criteria, from a cursor on: at most 10,000 are looked at.

    Attributes:
        queue: Default: `queues.default`.
        state: Default: active.
        cursor: Where to begin; '' is the beginning.
        size: How many tasks at most: 1 to 1,000. Default 20.
        group: The group, for aggregating tasks.
        brief: The first 1,024 bytes of payloads and results are enough. Default: they are told whole.

    """

    queue: str | None = None
    state: TaskState = TaskState.ACTIVE
    cursor: str = ""
    size: int = 20
    group: str | None = None
    brief: bool = False


class TaskChunk(Struct, frozen=True):
    """Tasks that were found, and the cursor for those behind; None: there are no more."""

    tasks: list[TaskInfo]
    next_cursor: str | None


class Steered(Struct, frozen=True):
    """To how many tasks something was done, and the cursor with which to go on; None: it was done to all."""

    count: int
    next_cursor: str | None
