"""Overview: the whole system at a glance: how each queue stands and moves, and who serves it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from taskflow.broker.inspector import Inspector
from taskflow.broker.sample_lists import Sample
from taskflow.broker.samples import STEP
from taskflow.task import QueueInfo, ServerInfo

RATE_WINDOW = timedelta(minutes=1)
"""Of how long up to now the rates are."""
TREND_WINDOW = timedelta(minutes=10)
"""Of how long up to now the trend is: how much came, and how many attempts failed."""

_LEAVING = frozenset({"stopped", "closed"})
"""What a server's status is when it takes no more tasks; one that is `new` is about to."""


class QueueOverview(Struct, frozen=True, kw_only=True):
    """A queue at a glance. What samples tell is None while there are none of that time.

    Attributes:
        info: How it stands now.
        servers: Ids of the worker servers that serve it, and are not about to stop.
        throughput: Attempts per second that ended in the last minute, failed ones too.
        failures: Attempts per second that failed in the last minute.
        pending_before: How many tasks were pending ten minutes ago, or at the oldest sample since then.
        processed_lately: Attempts that ended in the last ten minutes.
        failed_lately: Attempts that failed in the last ten minutes.

    """

    info: QueueInfo
    servers: tuple[str, ...] = ()
    throughput: float | None = None
    failures: float | None = None
    pending_before: int | None = None
    processed_lately: int | None = None
    failed_lately: int | None = None

    @property
    def failure_rate(self) -> float | None:
        """Which share of the attempts of the last ten minutes failed, from 0 to 1; None if there were none."""
        return (self.failed_lately or 0) / self.processed_lately if self.processed_lately else None


class Overview(Struct, frozen=True, kw_only=True):
    """The system at a glance: its queues by name, and the worker servers that are alive."""

    at: datetime
    queues: tuple[QueueOverview, ...]
    servers: tuple[ServerInfo, ...]


async def read_overview(inspector: Inspector, now: float) -> Overview:
    """Return the system at a glance now (Unix s). Raises `BrokerUnavailable` if Redis does not answer."""
    infos, servers = await asyncio.gather(inspector.queue_infos(), inspector.servers())
    recent = await inspector.recent_samples([info.queue for info in infos], int(TREND_WINDOW.total_seconds()))
    serving = _serving(servers)
    queues = tuple(queue_overview(info, serving.get(info.queue, ()), recent[info.queue], now) for info in infos)
    return Overview(at=datetime.fromtimestamp(now, UTC), queues=queues, servers=tuple(servers))


def _serving(servers: Sequence[ServerInfo]) -> Mapping[str, Sequence[str]]:
    """Return the ids of the servers that take tasks of each queue."""
    found: dict[str, list[str]] = {}
    for server in servers:
        if server.status not in _LEAVING:
            for queue in server.queues:
                found.setdefault(queue, []).append(server.id)
    return found


def queue_overview(info: QueueInfo, servers: Sequence[str], samples: Sequence[Sample], now: float) -> QueueOverview:
    """Return a queue at a glance.

    Args:
        info: How it stands.
        servers: Ids of the servers that serve it.
        samples: Its samples of the last ten minutes, the newest last.
        now: The time (Unix s).

    """
    per_second = failed_per_second = None
    began = now - RATE_WINDOW.total_seconds()
    minute = next((sample for sample in samples if sample.ended / 1000 >= began - STEP), None)
    if minute is not None and (counts := _counts(minute, info)) is not None:
        seconds = max(now - min(max(began, minute.at / 1000), minute.ended / 1000), 1.0)
        per_second, failed_per_second = counts[0] / seconds, counts[1] / seconds
    oldest = samples[0] if samples else None
    lately = None if oldest is None else _counts(oldest, info)
    return QueueOverview(
        info=info,
        servers=tuple(servers),
        throughput=per_second,
        failures=failed_per_second,
        pending_before=None if oldest is None else oldest.pending,
        processed_lately=None if lately is None else lately[0],
        failed_lately=None if lately is None else lately[1],
    )


def _counts(sample: Sample, info: QueueInfo) -> tuple[int, int] | None:
    """Return how many attempts ended since a sample, and how many failed; None if the counters began anew."""
    processed, failed = info.processed_total - sample.processed, info.failed_total - sample.failed
    return None if processed < 0 or failed < 0 else (processed, failed)
