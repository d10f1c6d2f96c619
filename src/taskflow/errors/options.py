"""What is asked for cannot be: an option, a payload, a name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from taskflow.errors.root import TaskFlowError


class InvalidOption(TaskFlowError, ValueError):
    """A task option cannot be used; nothing was sent. `option` names it."""

    status = 400
    code = "INVALID_REQUEST"
    facts: ClassVar[tuple[str, ...]] = ("option",)

    def __init__(self, option: str, reason: str) -> None:
        super().__init__(f"{option}: {reason}")
        self.option = option
        self.reason = reason


class InvalidTaskType(InvalidOption):
    """The task type is empty, or no worker has published it. `close` lists similar known types."""

    code = "INVALID_TASK_TYPE"

    def __init__(self, reason: str, *, close: Sequence[str] = ()) -> None:
        super().__init__("type", reason)
        self.close = tuple(close)

    @property
    def details(self) -> dict[str, object]:
        """The option's name and similar types."""
        return {"option": self.option, "close": list(self.close)}


class InvalidPayload(InvalidOption):
    """The payload does not fit the task type. `path` is the field (`$.to`), `expected` and `got` say why, if known."""

    code = "INVALID_PAYLOAD"
    facts = ("path", "expected", "got")

    def __init__(self, reason: str, *, path: str = "$", expected: str | None = None, got: str | None = None) -> None:
        super().__init__("payload", reason)
        self.path = path
        self.expected = expected
        self.got = got


class PayloadTooLarge(InvalidOption):
    """The payload has more bytes than the setting `tasks.payload_limit` allows."""

    status = 413
    code = "PAYLOAD_TOO_LARGE"
    facts = ("size", "limit")

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            "payload",
            f"has {size} bytes, at most {limit} are taken; send a reference to the data, or raise tasks.payload_limit",
        )
        self.size = size
        self.limit = limit


class InvalidTimeout(InvalidOption):
    """The timeout or deadline is not a usable time."""

    code = "INVALID_TIMEOUT"


class InvalidProcessAt(InvalidOption):
    """`process_at` or `process_in` is not a usable time."""

    code = "INVALID_PROCESS_AT"


class InvalidUnique(InvalidOption):
    """The unique lock cannot be used: its time, or one of its choices."""

    code = "INVALID_UNIQUE"

    def __init__(self, reason: str) -> None:
        super().__init__("unique", reason)


class InvalidCallbackUrl(InvalidOption):
    """The callback URL is none, or the settings do not allow its host."""

    code = "INVALID_CALLBACK_URL"

    def __init__(self, reason: str) -> None:
        super().__init__("callback_url", reason)


class InvalidQueue(InvalidOption):
    """The queue's name is empty, too long, or has a character that Redis keys cannot carry."""

    code = "INVALID_QUEUE"

    def __init__(self, reason: str) -> None:
        super().__init__("queue", reason)


class InvalidTaskId(InvalidOption):
    """The task id is empty or too long."""

    code = "INVALID_TASK_ID"

    def __init__(self, reason: str) -> None:
        super().__init__("task_id", reason)


class InvalidTaskState(InvalidOption):
    """The name is not one of a task's states."""

    code = "INVALID_TASK_STATE"

    def __init__(self, reason: str) -> None:
        super().__init__("status", reason)
