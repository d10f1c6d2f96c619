"""A queue as it ought to be: a pure model of what is in it, for a random walk to compare Redis with."""

from __future__ import annotations

from dataclasses import dataclass, field

from taskflow.broker.delivery import Delivery
from taskflow.broker.placement import ID_TAKEN, STORED, Placed
from taskflow.errors import TaskActive, TaskFinished, TaskFlowError, TaskNotFound, TaskPending
from taskflow.task import TaskState
from taskflow.unique import OnConflict, Until

ENDED = ("completed", "archived")
WAITING = ("pending", "scheduled", "retry", "aggregating")
LEFT_ALONE: dict[str, dict[str, type[TaskFlowError]]] = {
    "run": {"pending": TaskPending, "active": TaskActive},
    "archive": {"active": TaskActive, "archived": TaskFinished},
    "delete": {"active": TaskActive},
    "cancel": {"completed": TaskFinished, "archived": TaskFinished},
}
"""What an inspector's orders leave alone: state -> error."""


@dataclass(frozen=True)
class Order:
    """A task to enqueue: `wait` (s) until it is due, and the terms of its lock, if it has one."""

    id: str
    lock: str
    group: str
    wait: float | None
    until: Until
    choice: OnConflict


@dataclass
class ModelTask:
    """What the model knows of one task; `due` is its exact time, `until` when it is cleaned up.

    `lock` is the lock that it frees at its end, or at its start if `starts_free`.
    """

    id: str
    number: int
    lock: str
    group: str
    starts_free: bool = False
    state: str = "pending"
    due: float = 0.0
    until: float = 0.0
    retried: int = 0
    deaths: int = 0
    cancelled: bool = False
    lease_end: float = 0.0
    delivery: Delivery | None = None


@dataclass
class Model:
    """The queue as it ought to be: `pending` is in the order in which tasks run, `fixed` are locks that only time ends."""

    tasks: dict[str, ModelTask] = field(default_factory=dict)
    pending: list[str] = field(default_factory=list)
    locks: dict[str, str] = field(default_factory=dict)
    fixed: set[str] = field(default_factory=set)
    processed: int = 0
    failed: int = 0

    def unlock(self, task: ModelTask) -> None:
        if self.locks.get(task.lock) == task.id:
            del self.locks[task.lock]

    def drop(self, task: ModelTask) -> None:
        self.unlock(task)
        del self.tasks[task.id]
        if task.id in self.pending:
            self.pending.remove(task.id)

    def lock_up(self, lock: str, task: ModelTask, until: Until) -> None:
        self.locks[lock] = task.id
        task.lock, task.starts_free = "" if until == "expired" else lock, until == "started"
        (self.fixed.add if until == "expired" else self.fixed.discard)(lock)

    def keeps(self, holder: str, lock: str) -> str | None:
        """Why the holder of a lock cannot be replaced: the state that it is in, '' if the lock is that of a task that is gone."""
        task = self.tasks.get(holder)
        if task is None or task.lock not in {"", lock}:
            return ""
        return None if task.state in WAITING else task.state

    def archive(self, task: ModelTask, now: float) -> None:
        self.unlock(task)
        task.state, task.until, task.delivery = "archived", now, None

    def steer(self, action: str, task_id: str, now: float) -> TaskState | type[TaskFlowError]:
        """Do what an inspector's order does to a task; return the state it was in, or the error."""
        task = self.tasks.get(task_id)
        if task is None:
            return TaskNotFound
        before = TaskState(task.state)
        if before in LEFT_ALONE[action]:
            return LEFT_ALONE[action][before]
        if before == "pending":
            self.pending.remove(task_id)
        if action == "delete":
            self.drop(task)
        elif action == "run":
            task.state, task.cancelled, task.deaths = "pending", False, 0
            self.pending.append(task_id)
        else:
            task.cancelled = task.cancelled or action == "cancel"
            if before != "active":
                self.archive(task, now)
        return before

    def in_state(self, state: str) -> set[str]:
        return {task.id for task in self.tasks.values() if task.state == state}

    def place(self, order: Order, number: int, due: float) -> Placed:
        """Store the task of an order (`number` tells it from others of its id); return what becomes of it."""
        answer = self.answer(order)
        if not answer.stored:
            return answer
        if answer.holder is not None:
            self.drop(self.tasks[answer.holder])
        task = self.tasks[order.id] = ModelTask(order.id, number, "", order.group)
        if due:
            task.state, task.due = "scheduled", due
        elif order.group:
            task.state = "aggregating"
        else:
            self.pending.append(task.id)
        if order.lock:
            self.lock_up(order.lock, task, order.until)
        return answer

    def answer(self, order: Order) -> Placed:
        """What becomes of a task that is enqueued now."""
        holder = self.locks.get(order.lock)
        if order.id in self.tasks and (holder != order.id or order.choice == "refuse"):
            return ID_TAKEN
        if holder is None or (holder == order.id and order.id not in self.tasks and order.until != "expired"):
            return STORED
        if order.choice != "replace":
            return Placed(stored=False, holder=holder)
        state = self.keeps(holder, order.lock)
        return Placed(stored=state is None, holder=holder, state=state)
