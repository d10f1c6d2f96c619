"""The root of all errors."""

from __future__ import annotations

from typing import ClassVar


class TaskFlowError(Exception):
    """The root of every error that TaskFlow raises.

    `status` is the HTTP status and `code` the machine-readable code the API answers with.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "INTERNAL_ERROR"

    @property
    def details(self) -> dict[str, object]:
        """What a program may want to know of the error: the exception's own data."""
        return {}
