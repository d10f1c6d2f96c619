"""The pages, for the tests that look at each of them: a name for its picture, and its address in the scene of `conftest`."""

from __future__ import annotations

PAGES = {
    "overview": "/",
    "queues": "/queues",
    "queue-pending": "/queue?name=low",
    "queue-active": "/queue?name=default&state=active",
    "queue-retry": "/queue?name=default&state=retry",
    "queue-archived": "/queue?name=default&state=archived&q=e",
    "queue-groups": "/queue?name=default&state=aggregating",
    "queue-group": "/queue?name=default&state=aggregating&group=user%3A42",
    "queue-history": "/queue/history?name=default",
    "groups": "/groups",
    "schedule": "/schedule?id=daily",
    "schedule-edit": "/schedule/edit?id=nightly",
    "schedule-new": "/schedule/new",
    "schedules": "/schedules",
    "servers": "/servers",
    "new-task": "/new-task",
    "new-task-in-fields": "/new-task?type=orders",
    "new-task-as-json": "/new-task?type=raw",
    "task-active": "/task?queue=default&id=runs_1",
    "task-failing": "/task?queue=default&id=retry_1",
    "task-done": "/task?queue=default&id=done_2",
    "task-edit": "/task/edit?queue=default&id=later_1",
    "types": "/types",
    "type": "/types?name=orders",
    "type-unknown": "/types?name=nobody",
    "redis": "/redis",
    "not-found": "/nowhere",
}
OPEN_PAGES = {"login": "/login"}
"""Those for who is not logged in."""
