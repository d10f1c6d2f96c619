"""Changes of queues and tasks, as the JSON contract has them."""

from __future__ import annotations

from msgspec import Struct

from taskflow.api.schemas import queues
from taskflow.application.changes import Changes, TaskMoved


class QueuesEvent(Struct, frozen=True):
    """Queues that have changed, with their state now, and the names of those that were removed."""

    queues: list[queues.QueueBody]
    removed: list[str]


class TaskEvent(Struct, frozen=True):
    """A task whose state has changed: `gone` if it is there no more; `previous` is null if it was not seen before."""

    queue: str
    task_id: str
    state: str
    previous: str | None


def queues_event(changes: Changes) -> QueuesEvent:
    """The queues among changes."""
    return QueuesEvent([queues.queue(info) for info in changes.queues], changes.removed)


def task_event(moved: TaskMoved) -> TaskEvent:
    """A task among changes."""
    return TaskEvent(
        moved.queue,
        moved.task_id,
        "gone" if moved.state is None else moved.state.value,
        None if moved.previous is None else moved.previous.value,
    )
