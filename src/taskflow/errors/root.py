"""The root of all errors."""

from __future__ import annotations

from typing import ClassVar


class TaskFlowError(Exception):
    """The root of every error that TaskFlow raises.

    `status` is the HTTP status and `code` the machine-readable code the API answers with. `facts` names the attributes that a
    program may want to know.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "INTERNAL_ERROR"
    facts: ClassVar[tuple[str, ...]] = ()

    @property
    def details(self) -> dict[str, object]:
        """What a program may want to know of the error: the exception's own data."""
        return {name: getattr(self, name) for name in self.facts}
