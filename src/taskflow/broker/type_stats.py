"""TypeStats: how attempts at the tasks of a type end, and how long they take, by day and by hour.

Workers count in memory and add up in Redis every ten seconds: in one hash of counters for the day and one for the hour, whose size
depends on the number of types only. Durations are counted in buckets, four for each doubling, so a percentile is right within
an eighth. Go's workers count nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import frexp

from msgspec import Struct

from taskflow.broker.placement import CHUNK
from taskflow.broker.queue import Broker
from taskflow.broker.scripts import Call, Script
from taskflow.errors import InvalidOption
from taskflow.wire.keys import TALLIES, day_name

TALLY = Script("tally")
MAX_DAYS = 8
_DAY_SECONDS = (MAX_DAYS + 1) * 24 * 3600
_HOUR_SECONDS = 3 * 3600

SUCCEEDED, FAILED = 0, 1
"""The first two counters of a type; those of the buckets of durations follow."""
_FIRST = 2
_PER_DOUBLING = 4
_LEAST_EXPONENT = -13
"""Shorter durations than 2 ** -14 s (61 µs) count as that."""
BUCKETS = 128
"""Up to 2 ** 18 s, three days."""

Counts = list[int]
"""The counters of a type: succeeded, failed, then how many attempts fall into each bucket of durations."""


def new_counts() -> Counts:
    """Return counters that are all 0."""
    return [0] * (_FIRST + BUCKETS)


def bucket(seconds: float) -> int:
    """Return the place of a duration among the counters."""
    if seconds <= 0:
        return _FIRST  # the clock was set back meanwhile
    fraction, exponent = frexp(seconds)
    place = (exponent - _LEAST_EXPONENT) * _PER_DOUBLING + int(fraction * 8) - 4
    return _FIRST + (0 if place < 0 else BUCKETS - 1 if place >= BUCKETS else place)


def _middle(place: int) -> timedelta:
    """Return the duration in the middle of a bucket."""
    doublings, quarter = divmod(place - _FIRST, _PER_DOUBLING)
    return timedelta(seconds=2.0 ** (doublings + _LEAST_EXPONENT) * (quarter + 4.5) / 8)


class TypeStats(Struct, frozen=True, kw_only=True):
    """How attempts at a type's tasks ended; `type` is named as in the catalog, a prefix with a `*` behind it.

    Attributes:
        succeeded, failed: How many did. What was cancelled, put back or tried again without counting is in neither.
        p50, p95, p99: How long the attempts took: so many percent of them no longer; None if there were none.

    """

    type: str
    succeeded: int
    failed: int
    p50: timedelta | None
    p95: timedelta | None
    p99: timedelta | None

    @property
    def success_rate(self) -> float | None:
        """Which share of the attempts succeeded, from 0 to 1; None if there were none."""
        attempts = self.succeeded + self.failed
        return self.succeeded / attempts if attempts else None


class TypeTallies:
    """The counters of types. Every method raises `BrokerUnavailable` if Redis does not answer."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def add(self, counts: Mapping[str, Counts]) -> None:
        """Add to the counters of types, by their names."""
        parts = [
            (f"{place} {name}", count)
            for name, counters in counts.items()
            for place, count in enumerate(counters)
            if count
        ]
        now = self._broker.clock.now()
        calls = []
        for key, ttl in ((_day_key(now), _DAY_SECONDS), (_hour_key(now), _HOUR_SECONDS)):
            for first in range(0, len(parts), CHUNK):
                flat = [value for part in parts[first : first + CHUNK] for value in part]
                calls.append(Call(TALLY, (key,), [ttl, *flat]))
        if calls:
            await self._broker.run(calls)

    async def days(self, days: int) -> dict[str, TypeStats]:
        """Return the figures of today and the days before, by type.

        Raises:
            InvalidOption: `days` is not from 1 to 8.

        """
        if not 1 <= days <= MAX_DAYS:
            raise InvalidOption("days", f"must be a number from 1 to {MAX_DAYS}, not {days}")
        now = self._broker.clock.now()
        return await self._read([_day_key(now - ago * 24 * 3600) for ago in range(days)])

    async def lately(self) -> dict[str, TypeStats]:
        """Return the figures of this hour and the one before, by type."""
        now = self._broker.clock.now()
        return await self._read([_hour_key(now), _hour_key(now - 3600)])

    async def _read(self, keys: Sequence[str]) -> dict[str, TypeStats]:
        found: dict[str, Counts] = {}
        for reply in await self._broker.attempt(*(("HGETALL", key) for key in keys)):
            if isinstance(reply, list):
                _add_up(found, reply)
        return {name: stats_of(name, counts) for name, counts in sorted(found.items())}


def _day_key(now: float) -> str:
    return f"{TALLIES}{day_name(now)}"


def _hour_key(now: float) -> str:
    return f"{TALLIES}{datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H}"


def _add_up(found: dict[str, Counts], flat: Sequence[bytes]) -> None:
    """Add counters as they stand in Redis; what cannot be read is left out."""
    for field, value in zip(flat[::2], flat[1::2], strict=True):
        place, space, name = field.decode(errors="replace").partition(" ")
        if space and place.isdecimal() and value.isdigit() and int(place) < _FIRST + BUCKETS:
            found.setdefault(name, new_counts())[int(place)] += int(value)


def stats_of(name: str, counts: Counts) -> TypeStats:
    """Return what the counters of a type say."""
    return TypeStats(
        type=name,
        succeeded=counts[SUCCEEDED],
        failed=counts[FAILED],
        p50=_percentile(counts, 0.5),
        p95=_percentile(counts, 0.95),
        p99=_percentile(counts, 0.99),
    )


def _percentile(counts: Counts, share: float) -> timedelta | None:
    """Return the duration that a share of the attempts did not exceed; None if there were none."""
    wanted = sum(counts[_FIRST:]) * share
    seen = 0
    for place in range(_FIRST, len(counts)):
        seen += counts[place]
        if seen and seen >= wanted:
            return _middle(place)
    return None
