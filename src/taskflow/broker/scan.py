"""Scan: the tasks of a state from a place on, in bounded steps, while the queue moves."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from taskflow.broker.queue import Broker
from taskflow.broker.reading import LISTS, NEWEST_FIRST, key_of, read_call, read_tasks
from taskflow.broker.scripts import Call, Script
from taskflow.task import TaskInfo, TaskState
from taskflow.wire.keys import queue_keys

SCAN = Script("scan")


class Place(Struct, frozen=True):
    """A task's place among those of its state: its id, and its score, or how many stood before it in a list."""

    id: bytes = b""
    at: bytes = b""


BEGINNING = Place()


class Scan:
    """Walks through a broker's tasks. Every method raises `BrokerUnavailable` if Redis does not answer.

    The order is that of `Inspector.tasks`. Of a set (scheduled, retry, archived, completed, a group), each task that keeps
    its place is seen once, whatever else comes and goes. A list (pending, active) has no places but those of its tasks: if
    the last one seen is gone, the walk begins again, so no task is passed over, but some are seen twice.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def places(
        self, queue: str, state: TaskState, *, group: str | None = None, after: Place = BEGINNING, count: int
    ) -> list[Place]:
        """Return up to `count` places behind one: fewer are there only at the end."""
        key = key_of(queue_keys(queue), state, group)
        kind = "list" if state in LISTS else "down" if state in NEWEST_FIRST else "up"
        (flat,) = await self._broker.run([Call(SCAN, (key,), [kind, count, after.id, after.at])])
        return [Place(task_id, at) for task_id, at in zip(flat[::2], flat[1::2], strict=True)]

    async def tasks(
        self, queue: str, state: TaskState, places: Sequence[Place], most_bytes: int | None = None
    ) -> list[TaskInfo | None]:
        """Return for each place what is known of its task; None for one that has left the state.

        With `most_bytes`, what is longer of payloads and results is cut off.
        """
        if not places:
            return []
        ids = [place.id for place in places]
        (replies,) = await self._broker.run([read_call(queue_keys(queue), ids, most_bytes)])
        return read_tasks(queue, state, ids, replies, now=self._broker.clock.now())
