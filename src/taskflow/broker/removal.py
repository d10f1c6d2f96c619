"""Removal: take a queue away with all its keys, without holding up Redis however many tasks it holds.

Its lists and sets are renamed in one script, so that it is empty at once and no worker takes a task of it any more; what
they held is then deleted in bounded chunks. Should the removal be cut off there, the next one of that queue goes on.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from taskflow.broker.known_queues import NOTE_SECONDS
from taskflow.broker.placement import CHUNK
from taskflow.broker.queue import Broker
from taskflow.broker.samples import sample_keys
from taskflow.broker.scripts import Call, Script
from taskflow.broker.steering import Progress
from taskflow.errors import QueueActive, QueueNotEmpty
from taskflow.task import QueueInfo
from taskflow.wire.keys import ALL_QUEUES, QueueKeys, queue_keys

REMOVE, DRAIN, DRAIN_GROUPS, REMOVED = map(Script, ("remove", "drain", "drain_groups", "removed"))
_COUNTER_DAYS = 91
"""The daily counters are kept for 90 days."""
_RUNNING, _HOLDS_TASKS = -1, -2


class Removal:
    """Removes queues of a broker. Every method raises `BrokerUnavailable` if Redis does not answer."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def remove(self, info: QueueInfo, *, force: bool, progress: Progress | None) -> int:
        """Remove a queue, of which `info` is known; return how many tasks were in it.

        Raises:
            QueueActive: Tasks of it are running.
            QueueNotEmpty: It holds tasks, and it is not forced.

        """
        keys = queue_keys(info.queue)
        count = 0

        def tell(deleted: int) -> None:
            nonlocal count
            count += deleted
            if deleted and progress is not None:
                progress(count, max(info.size, count))

        while not await self._empty(keys, info, force=force):
            await self._drain(keys, tell)
        await self._drain(keys, tell)
        await self._forget(keys)
        return count

    async def _empty(self, keys: QueueKeys, info: QueueInfo, *, force: bool) -> bool:
        """Rename what a queue holds; return whether that was possible, or else something is to be drained first."""
        args = [keys.prefix, keys.removed_prefix, keys.due, "1" if force else ""]
        (code,) = await self._broker.run([Call(REMOVE, (keys.active, keys.outbox), args)])
        if code == _RUNNING:
            raise QueueActive(info.queue, max(1, info.active))
        if code == _HOLDS_TASKS:
            raise QueueNotEmpty(info.queue, max(1, info.size))
        return bool(code)

    async def _drain(self, keys: QueueKeys, tell: Callable[[int], None]) -> None:
        """Delete what was renamed, in chunks; `tell` hears how many tasks each was."""
        for state in ("pending", "scheduled", "retry", "archived", "completed"):
            taken = CHUNK
            while taken == CHUNK:
                call = Call(DRAIN, (keys.removed_prefix + state,), [keys.task_prefix, CHUNK])
                ((taken, deleted),) = await self._broker.run([call])
                tell(deleted)
        groups, sets = keys.removed_prefix + "groups", keys.removed_prefix + "aggregation_sets"
        more = True
        while more:
            call = Call(DRAIN_GROUPS, (groups, sets, keys.groups), [keys.task_prefix, keys.group_prefix, CHUNK])
            ((more, deleted),) = await self._broker.run([call])
            tell(deleted)

    async def _forget(self, keys: QueueKeys) -> None:
        """Take the queue's name away; it comes back at once if tasks were enqueued meanwhile."""
        today = datetime.fromtimestamp(self._broker.clock.now(), UTC).date()
        days = [str(today - timedelta(days=ago)) for ago in range(-1, _COUNTER_DAYS)]
        counters = [name for day in days for name in (keys.processed_on(day), keys.failed_on(day))]
        await self._broker.execute(("UNLINK", *counters))
        await self._broker.execute(("SREM", ALL_QUEUES, keys.queue))
        note = Call(REMOVED, (keys.removed,), [keys.prefix, str(uuid.uuid4()), NOTE_SECONDS])
        (filled,) = await self._broker.run([note])
        await self._broker.execute(("UNLINK", *sample_keys(keys)))  # while the note is there, no more are taken
        if filled:
            await self._broker.execute(("SADD", ALL_QUEUES, keys.queue))
