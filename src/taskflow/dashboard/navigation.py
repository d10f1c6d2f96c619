"""The navigation: which pages there are, in the order in which they are offered."""

from __future__ import annotations

from msgspec import Struct

from taskflow.config.keys import Scope


class Entry(Struct, frozen=True):
    """A page of the navigation.

    Attributes:
        path: Where it is.
        title: What it is called.
        key: The key that leads there after `g`.
        scope: What a visitor needs to be offered it.
        limited: Whether a key that is limited to some queues may see it.
        parts: Paths of pages that one comes to from it, and that have no entry of their own.

    """

    path: str
    title: str
    key: str
    scope: Scope = "read"
    limited: bool = False
    parts: tuple[str, ...] = ()


ENTRIES = (
    Entry("/", "Overview", "o", limited=True),
    Entry("/queues", "Queues", "q", limited=True, parts=("/queue", "/queue/history", "/task", "/task/edit")),
    Entry("/groups", "Groups", "u", limited=True),
    Entry("/servers", "Servers", "s"),
    Entry("/schedules", "Schedules", "c", parts=("/schedule", "/schedule/edit", "/schedule/new")),
    Entry("/types", "Types", "y", limited=True),
    Entry("/redis", "Redis", "r"),
    Entry("/new-task", "New task", "n", scope="write", limited=True),
)
