"""What cannot be done, though nothing is wrong with what was asked."""

from __future__ import annotations

from taskflow.errors.root import TaskFlowError


class BrokerUnavailable(TaskFlowError, ConnectionError):
    """Redis did not answer, or refused to write (memory full, read-only replica); try again later."""

    status = 503
    code = "REDIS_UNAVAILABLE"


class ConfigError(TaskFlowError, ValueError):
    """A setting cannot be used: unknown key, wrong type, or a combination that would be unsafe."""


class UnsupportedServer(TaskFlowError):
    """The Redis server is too old, or set up to lose tasks; the message says what to change."""


class MessageInvalid(TaskFlowError, ValueError):
    """The bytes are not a task message."""


class InvalidSignature(TaskFlowError, ValueError):
    """A webhook's signature does not fit its body and the secret, or it was sent too long ago."""


class AggregateFailed(TaskFlowError):
    """A group's tasks could not be made into one; they go back into the group. The worker logs it."""

    def __init__(self, group: str, reason: str) -> None:
        super().__init__(f"group {group!r}: {reason}")
        self.group = group
        self.reason = reason


class StartFailed(TaskFlowError):
    """What a worker opens at its start raised, so it has not started. `what` failed, and the `reason`."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what} failed at the start: {reason}")
        self.what = what
        self.reason = reason


class NoCurrentTask(TaskFlowError, LookupError):
    """`current_context` was called where no task runs."""

    def __init__(self) -> None:
        super().__init__("no task runs here; current_context() is for what a handler or middleware calls")


class TaskFailed(TaskFlowError):
    """The awaited task was archived: given up (`error` is its last error), or `cancelled`."""

    def __init__(self, task_id: str, error: str, *, cancelled: bool) -> None:
        super().__init__(f"task {task_id!r} was {'cancelled' if cancelled else f'given up: {error}'}")
        self.task_id = task_id
        self.error = error
        self.cancelled = cancelled


class ResultTimeout(TaskFlowError, TimeoutError):
    """The task had not ended when the wait was over. `state` is its state then."""

    def __init__(self, task_id: str, state: str) -> None:
        super().__init__(f"task {task_id!r} has not ended in time: it is {state}")
        self.task_id = task_id
        self.state = state
