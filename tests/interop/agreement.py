"""Agreement: both inspectors say the same of what a queue holds, field by field, but for what is known to differ."""

from __future__ import annotations

from collections.abc import Mapping

from interop.go_peer import Reply
from interop.sides import DEFAULT, Side
from taskflow import TaskState

NEWEST_FIRST = ("archived", "completed")
"""States whose tasks asynq lists oldest first, TaskFlow newest first."""
_STATES = [state.value for state in TaskState if state is not TaskState.AGGREGATING]
_LATENCY_SLACK = 5.0
"""How far (s) the two may be apart on the age of the oldest pending task: they are asked one after the other."""


async def on_task(sides: Mapping[str, Side], task_id: str, queue: str = DEFAULT) -> Reply:
    """Return what both inspectors say of a task."""
    theirs, ours = await sides["go"].task(task_id, queue), await sides["python"].task(task_id, queue)
    _same(f"task {task_id!r}", ours, theirs)
    return theirs


async def on_queue(sides: Mapping[str, Side], queue: str = DEFAULT) -> Reply:
    """Let both inspectors list everything a queue holds; return the queue's numbers."""
    go, python = sides["go"], sides["python"]
    for state in _STATES:
        theirs, ours = await go.list(state, queue), await python.list(state, queue)
        _same(f"the tasks that are {state}", ours[::-1] if state in NEWEST_FIRST else ours, theirs)
    groups = await go.groups(queue)
    _same("the groups", await python.groups(queue), groups)
    for group in groups:
        name = group["group"]
        theirs = await go.list("aggregating", queue, group=name)
        _same(f"the tasks in {name!r}", await python.list("aggregating", queue, group=name), theirs)
    theirs, ours = await go.queue_info(queue), await python.queue_info(queue)
    latency = ours.pop("latency") - theirs.pop("latency")
    assert abs(latency) < _LATENCY_SLACK, f"the latencies of {queue!r} differ by {latency:g} s"
    _same(f"queue {queue!r}", ours, theirs)
    return theirs


def _same(what: str, ours: object, theirs: object) -> None:
    assert ours == theirs, f"{what}: Python says\n  {ours}\nand Go\n  {theirs}"
