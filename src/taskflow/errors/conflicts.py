"""What is asked for does not go together with what is there."""

from __future__ import annotations

from taskflow.errors.root import TaskFlowError


class TaskConflict(TaskFlowError):
    """The task was not enqueued: its id or its unique lock is taken. `holder` is the id of the task in the way."""

    status = 409
    code = "TASK_ALREADY_EXISTS"
    facts = ("task_id", "queue", "holder")

    def __init__(self, message: str, *, task_id: str, queue: str, holder: str) -> None:
        super().__init__(message)
        self.task_id = task_id
        self.queue = queue
        self.holder = holder


class TaskIdTaken(TaskConflict):
    """A task with this id exists in the queue."""

    def __init__(self, task_id: str, queue: str) -> None:
        super().__init__(
            f"a task with the id {task_id!r} exists in queue {queue!r}", task_id=task_id, queue=queue, holder=task_id
        )


class DuplicateTask(TaskConflict):
    """Another task holds the unique lock. `state` says why it could not be replaced, if that was asked for."""

    def __init__(self, task_id: str, queue: str, holder: str, *, state: str | None = None) -> None:
        message = f"task {holder!r} holds the unique lock in queue {queue!r}"
        if state is not None:
            message += f"; it {'is running' if state == 'active' else 'has ended'}, so it cannot be replaced"
        super().__init__(
            message,
            task_id=task_id,
            queue=queue,
            holder=holder,
        )
        self.state = state


class TaskActive(TaskFlowError):
    """The task is running, so it cannot be changed or deleted; cancel it first."""

    status = 409
    code = "TASK_ACTIVE"
    facts = ("task_id", "queue")

    def __init__(self, task_id: str, queue: str) -> None:
        super().__init__(f"task {task_id!r} in queue {queue!r} is running; cancel it first")
        self.task_id = task_id
        self.queue = queue


class TaskFinished(TaskFlowError):
    """The task has ended, so it cannot be cancelled, edited or given up. `state` is completed or archived."""

    status = 409
    code = "TASK_FINISHED"
    facts = ("task_id", "queue", "state")

    def __init__(self, task_id: str, queue: str, state: str) -> None:
        super().__init__(f"task {task_id!r} in queue {queue!r} has ended: it is {state}")
        self.task_id = task_id
        self.queue = queue
        self.state = state


class TaskPending(TaskFlowError):
    """The task is pending already, so it cannot be run sooner."""

    status = 409
    code = "TASK_PENDING"
    facts = ("task_id", "queue")

    def __init__(self, task_id: str, queue: str) -> None:
        super().__init__(
            f"task {task_id!r} in queue {queue!r} is pending already; it runs when a worker has a free slot"
        )
        self.task_id = task_id
        self.queue = queue


class TaskNotScheduled(TaskFlowError):
    """The task is neither scheduled nor in retry, so it cannot be edited: somebody may take it at any moment."""

    status = 409
    code = "TASK_NOT_SCHEDULED"
    facts = ("task_id", "queue", "state")

    def __init__(self, task_id: str, queue: str, state: str) -> None:
        super().__init__(
            f"task {task_id!r} in queue {queue!r} is {state}; only a scheduled or retry task can be edited"
        )
        self.task_id = task_id
        self.queue = queue
        self.state = state


class QueueNotEmpty(TaskFlowError):
    """The queue holds tasks, so it is not removed unless that is forced. `size` counts them."""

    status = 409
    code = "QUEUE_NOT_EMPTY"
    facts = ("queue", "size")

    def __init__(self, queue: str, size: int) -> None:
        super().__init__(f"queue {queue!r} is not empty: {size} in it; delete its tasks, or remove it by force")
        self.queue = queue
        self.size = size


class QueueActive(TaskFlowError):
    """Tasks of the queue are running, so it is not removed, not even by force. `active` counts them."""

    status = 409
    code = "QUEUE_ACTIVE"
    facts = ("queue", "active")

    def __init__(self, queue: str, active: int) -> None:
        super().__init__(f"queue {queue!r} has running tasks: {active}; pause it and wait for them, or cancel them")
        self.queue = queue
        self.active = active


class ScheduleExists(TaskFlowError):
    """There is a periodic task of this id already, and it is not to be replaced."""

    status = 409
    code = "SCHEDULE_ALREADY_EXISTS"
    facts = ("schedule_id",)

    def __init__(self, schedule_id: str) -> None:
        super().__init__(f"there is a schedule {schedule_id!r} already; choose another id, or replace it")
        self.schedule_id = schedule_id


class ScheduleElsewhere(TaskFlowError):
    """The periodic task is not kept in Redis, so it cannot be changed from here. `home` says where it is."""

    status = 409
    code = "SCHEDULE_ELSEWHERE"
    facts = ("schedule_id", "home")

    def __init__(self, schedule_id: str, home: str, reason: str) -> None:
        super().__init__(f"schedule {schedule_id!r} is {reason}")
        self.schedule_id = schedule_id
        self.home = home


class ServerNotDrainable(TaskFlowError):
    """The worker server takes no orders: it is a Go worker, or of an older release. Stop it where it runs."""

    status = 409
    code = "SERVER_NOT_DRAINABLE"
    facts = ("server_id",)

    def __init__(self, server_id: str) -> None:
        super().__init__(
            f"the server {server_id!r} takes no orders, as it is a Go worker, or of an older release; stop it where it runs"
        )
        self.server_id = server_id


class IdempotencyConflict(TaskFlowError):
    """The Idempotency-Key came with another body before."""

    status = 409
    code = "IDEMPOTENCY_CONFLICT"

    def __init__(self, key: str) -> None:
        super().__init__(
            f"Idempotency-Key {key!r} came with another body within the last day; use a new key for a new request"
        )
        self.key = key

    @property
    def details(self) -> dict[str, object]:
        """The key."""
        return {"idempotency_key": self.key}
