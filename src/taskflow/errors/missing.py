"""What is asked for is not there, or not for this caller."""

from __future__ import annotations

from collections.abc import Sequence

from taskflow.errors.root import TaskFlowError


def did_you_mean(close: Sequence[str]) -> str:
    """Return the hint at similar names that ends an error's first words; nothing if there are none."""
    return f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""


class Forbidden(TaskFlowError, PermissionError):
    """The API key has not the scope that this needs, or is limited to other queues. `scope` names the missing one."""

    status = 403
    code = "FORBIDDEN"

    def __init__(self, reason: str, *, scope: str | None = None) -> None:
        super().__init__(f"{reason}; ask whoever runs the API for a key that may")
        self.scope = scope

    @property
    def details(self) -> dict[str, object]:
        """The scope that is missing, if it is one."""
        return {} if self.scope is None else {"scope": self.scope}


class TaskNotFound(TaskFlowError, LookupError):
    """No such task: it never existed, or it ended and its retention is over."""

    status = 404
    code = "TASK_NOT_FOUND"
    facts = ("task_id", "queue")

    def __init__(self, task_id: str, queue: str | None = None) -> None:
        where = f"in queue {queue!r}" if queue else "in any queue"
        super().__init__(f"task {task_id!r} not found {where}; it may have ended and its retention may be over")
        self.task_id = task_id
        self.queue = queue


class QueueNotFound(TaskFlowError, LookupError):
    """No task was ever enqueued to this queue."""

    status = 404
    code = "QUEUE_NOT_FOUND"
    facts = ("queue",)

    def __init__(self, queue: str) -> None:
        super().__init__(f"queue {queue!r} not found; a queue exists from its first task on")
        self.queue = queue


class TaskTypeNotFound(TaskFlowError, LookupError):
    """No worker has published the type."""

    status = 404
    code = "TASK_TYPE_NOT_FOUND"

    def __init__(self, task_type: str, close: Sequence[str] = ()) -> None:
        super().__init__(
            f"no worker has published the type {task_type[:100]!r}{did_you_mean(close)}; GET /api/v1/task-types and `taskflow types` list those there are"
        )
        self.task_type = task_type
        self.close = list(close)

    @property
    def details(self) -> dict[str, object]:
        """The type that was asked for, and those that look like it."""
        return {"type": self.task_type, "close": self.close}


class ProgressNotFound(TaskFlowError, LookupError):
    """The task has published no progress, or what it published has expired."""

    status = 404
    code = "PROGRESS_NOT_FOUND"
    facts = ("task_id",)

    def __init__(self, task_id: str) -> None:
        super().__init__(f"task {task_id!r} has published no progress (or it has expired)")
        self.task_id = task_id


class ScheduleNotFound(TaskFlowError, LookupError):
    """No periodic task has this id."""

    status = 404
    code = "SCHEDULE_NOT_FOUND"
    facts = ("schedule_id",)

    def __init__(self, schedule_id: str) -> None:
        super().__init__(f"schedule {schedule_id!r} not found")
        self.schedule_id = schedule_id


class ServerNotFound(TaskFlowError, LookupError):
    """No worker server of this id is alive."""

    status = 404
    code = "SERVER_NOT_FOUND"
    facts = ("server_id",)

    def __init__(self, server_id: str) -> None:
        super().__init__(f"no worker server {server_id!r} is alive")
        self.server_id = server_id
