"""Figures: the numbers of queues: what they hold, what they did, and what memory they take."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from taskflow.broker.queue import Broker
from taskflow.broker.reading import whole
from taskflow.broker.scripts import Call, Script
from taskflow.task import DailyStats, QueueInfo
from taskflow.wire.keys import QueueKeys, day_name, queue_keys

STATS, MEMORY = map(Script, ("stats", "memory"))


class Figures:
    """The numbers of a broker's queues. Every method raises `BrokerUnavailable` if Redis does not answer."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def infos(self, queues: Sequence[str]) -> list[QueueInfo]:
        """Return the state of queues."""
        day = day_name(self._broker.clock.now())
        replies = await self._broker.run([_stats_call(queue_keys(name), day) for name in queues]) if queues else []
        return [self._info(name, reply) for name, reply in zip(queues, replies, strict=True)]

    def _info(self, queue: str, reply: list[Any]) -> QueueInfo:
        pending, active, scheduled, retry, archived, completed, aggregating, groups, paused = reply[:9]
        processed, failed, processed_total, failed_total, oldest = map(whole, reply[9:])
        age_ns = max(0, self._broker.clock.now_ns() - oldest) if oldest else 0
        return QueueInfo(
            queue=queue,
            pending=pending,
            active=active,
            scheduled=scheduled,
            retry=retry,
            archived=archived,
            completed=completed,
            aggregating=aggregating,
            groups=groups,
            processed=processed,
            failed=failed,
            processed_total=processed_total,
            failed_total=failed_total,
            paused=bool(paused),
            latency=timedelta(microseconds=age_ns // 1000),
        )

    async def history(self, queue: str, days: int) -> list[DailyStats]:
        """Return what a queue did today and on the days before, the newest first."""
        keys = queue_keys(queue)
        today = datetime.fromtimestamp(self._broker.clock.now(), UTC).date()
        dates = [today - timedelta(days=ago) for ago in range(days)]
        names = [name for day in dates for name in (keys.processed_on(str(day)), keys.failed_on(str(day)))]
        (counts,) = await self._broker.execute(("MGET", *names))
        return [
            DailyStats(queue=queue, day=day, processed=whole(processed), failed=whole(failed))
            for day, processed, failed in zip(dates, counts[::2], counts[1::2], strict=True)
        ]

    async def memory(self, queue: str, samples: int) -> int:
        """Return the bytes of memory that a queue takes, estimated from some of its tasks."""
        keys = queue_keys(queue)
        (estimate,) = await self._broker.run(
            [Call(MEMORY, (keys.lease, keys.outbox), [keys.prefix, keys.due, samples])]
        )
        return int(estimate)


def _stats_call(keys: QueueKeys, day: str) -> Call:
    states = (keys.pending, keys.active, keys.scheduled, keys.retry, keys.archived, keys.completed)
    counters = (keys.processed_on(day), keys.failed_on(day), keys.processed, keys.failed)
    return Call(STATS, (*states, keys.groups, keys.paused, *counters), [keys.task_prefix, keys.group_prefix])
