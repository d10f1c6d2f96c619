"""Samples: how queues stood over the last hour, day and month, kept in bounded lists beside each queue.

Somebody samples all queues every 10 seconds: whoever takes the turn first, a worker or an API server. As asynq's counters are
read, what Go's workers do is in it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, NamedTuple

from msgspec import Struct

from taskflow.broker.placement import CHUNK
from taskflow.broker.queue import Broker
from taskflow.broker.sample_lists import RESOLUTIONS, Sample, SampleLists, Span
from taskflow.broker.scripts import Call, Script
from taskflow.errors import InvalidOption
from taskflow.wire.keys import SAMPLES_TURN, QueueKeys, queue_keys

SAMPLE = Script("sample")

STEP = RESOLUTIONS["1h"].step
"""How often (s) queues are sampled."""
_TURN_OVER = 250
"""How long (ms) before the end of a step its turn ends, so that it stands in nobody's way in the next one."""
_APART = 2.5
"""Samples further apart than this many steps have a gap between them: nobody sampled."""
_UNSETTLED = 4
"""How many of the last steps may still change: what is not further apart is joined later on."""


class Series(Struct, frozen=True, kw_only=True):
    """How a queue, or several together, stood over a span; None in a step in which nobody sampled.

    Attributes:
        span: The span.
        start: When the first step begins; step `i` begins `i * step` later. The last one is under way.
        step: How long a step is.
        processed: Attempts per second that ended, failed ones too.
        failed: Attempts per second that failed.
        latency: The age (s) of the oldest pending task; of several queues the greatest.
        pending: How many tasks waited.
        active: How many ran.

    In spans longer than an hour a step has the greatest latency, pending and active that were seen in it.

    """

    span: Span
    start: datetime
    step: timedelta
    processed: tuple[float | None, ...]
    failed: tuple[float | None, ...]
    latency: tuple[float | None, ...]
    pending: tuple[int | None, ...]
    active: tuple[int | None, ...]


class _Total(NamedTuple):
    """What queues were together when they were asked for last; `of` says which queues, and which of their lists."""

    of: tuple[tuple[str, ...], int]
    series: Series


class Samples:
    """The samples of a broker's queues. Every method raises `BrokerUnavailable` if Redis does not answer."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._lists = SampleLists(broker)
        self._totals: dict[Span, _Total] = {}

    async def take(self) -> int:
        """Sample all queues, unless it was done in this step of time; return how many were sampled now."""
        now_ms = int(self._broker.clock.now() * 1000)
        left_ms = STEP * 1000 - now_ms % (STEP * 1000)
        turn_ms = max(1, left_ms - _TURN_OVER)
        (turn,) = await self._broker.execute(("SET", SAMPLES_TURN, now_ms, "NX", "PX", turn_ms))
        if not turn:
            return 0
        names = [name.decode(errors="replace") for name in await self._broker.queue_names()]
        count = 0
        for first in range(0, len(names), CHUNK):
            calls = [_sample_call(queue_keys(name), now_ms) for name in names[first : first + CHUNK]]
            count += sum(reply or 0 for reply in await self._broker.sweep(calls))
        return count

    async def read(self, queues: Sequence[str], span: str) -> dict[str, Series]:
        """Return how queues stood over a span, by queue.

        Raises:
            InvalidOption: There are no samples of such a span.

        """
        chosen = check_span(span)
        now = self._broker.clock.now()
        return {name: series(chosen, [found], now) for name, found in (await self._lists.read(queues, chosen)).items()}

    async def total(self, queues: Sequence[str], span: str) -> Series:
        """Return how queues stood over a span, all together. Raises `InvalidOption`."""
        chosen = check_span(span)
        lists = await self._lists.read(queues, chosen)
        of = (tuple(queues), self._lists.replaced)
        known = self._totals.get(chosen)
        before = known.series if known is not None and known.of == of else None
        total = series(chosen, lists.values(), self._broker.clock.now(), before)
        self._totals[chosen] = _Total(of, total)
        return total

    async def recent(self, queues: Sequence[str], seconds: int) -> dict[str, Sequence[Sample]]:
        """Return the samples of the last seconds, up to an hour, and the one before, by queue; the newest last."""
        since = int((self._broker.clock.now() - seconds) * 1000)
        found = await self._lists.read(queues, "1h", most=seconds // STEP + 2)
        return {name: samples[_seen_since(samples, since) :] for name, samples in found.items()}


def check_span(span: str) -> Span:
    """Return the span if there are samples of it. Raises `InvalidOption`."""
    for known in RESOLUTIONS:
        if span == known:
            return known
    raise InvalidOption("span", f"must be one of {', '.join(RESOLUTIONS)}, not {span!r}")


def sample_keys(keys: QueueKeys) -> list[str]:
    """Return the keys of a queue's samples, the finest first."""
    return [keys.samples_prefix + span for span in RESOLUTIONS]


def _sample_call(keys: QueueKeys, now_ms: int) -> Call:
    bounds = [part for step, points in RESOLUTIONS.values() for part in (step * 1000, points)]
    own = (keys.pending, keys.active, keys.processed, keys.failed, keys.removed)
    return Call(SAMPLE, (*own, *sample_keys(keys)), [keys.task_prefix, now_ms, *bounds])


def series(span: Span, queues: Iterable[Sequence[Sample]], now: float, before: Series | None = None) -> Series:
    """Return what the samples of queues, each with the newest last, say together of the span that ends now (Unix s).

    `before` is what it was some time ago, of the same queues with the same samples: its settled steps are taken over.
    """
    step, points = RESOLUTIONS[span]
    first = int(now // step) - points + 1
    start = datetime.fromtimestamp(first * step, UTC)
    passed = points if before is None else (start - before.start) // before.step
    kept = max(0, points - _UNSETTLED - passed) if passed >= 0 else 0
    chart = _Chart(step * 1000, points - kept, first=first + kept)
    for samples in queues:
        chart.add(samples)

    def whole(name: str) -> tuple[Any, ...]:
        known = getattr(before, name)[passed : passed + kept] if kept else ()
        return (*known, *getattr(chart, name))

    return Series(
        span=span,
        start=start,
        step=timedelta(seconds=step),
        processed=whole("processed"),
        failed=whole("failed"),
        latency=whole("latency"),
        pending=whole("pending"),
        active=whole("active"),
    )


class _Chart:
    """Adds up samples, step by step; `first` is the number of the first step since 1970, `step` is in ms."""

    def __init__(self, step: int, points: int, *, first: int) -> None:
        self.first = first
        self._step = step
        self._points = points
        self.processed: list[float | None] = [None] * points
        self.failed: list[float | None] = [None] * points
        self.latency: list[float | None] = [None] * points
        self.pending: list[int | None] = [None] * points
        self.active: list[int | None] = [None] * points

    def add(self, samples: Sequence[Sample]) -> None:
        """Add the samples of one queue."""
        step, first, points = self._step, self.first, self._points
        before: Sample | None = None
        for sample in samples[max(0, _seen_since(samples, first * step) - 1) :]:
            begins = sample.at // step - first
            ends = min((sample.at + sample.lasted) // step - first, points - 1)
            if ends >= 0:
                if 0 <= begins < points and before is not None:
                    self._add_rates(begins, before, sample)
                for i in range(max(0, begins), ends + 1):
                    self._add_state(i, sample)
                for i in range(max(0, begins + 1), ends + 1):
                    self.processed[i] = self.processed[i] or 0.0
                    self.failed[i] = self.failed[i] or 0.0
            before = sample

    def _add_state(self, i: int, sample: Sample) -> None:
        self.latency[i] = max(self.latency[i] or 0.0, sample.age / 1000)
        self.pending[i] = (self.pending[i] or 0) + sample.pending
        self.active[i] = (self.active[i] or 0) + sample.active

    def _add_rates(self, i: int, before: Sample, sample: Sample) -> None:
        found = rates(before, sample, apart=_APART * self._step)
        if found is not None:
            self.processed[i] = (self.processed[i] or 0.0) + found[0]
            self.failed[i] = (self.failed[i] or 0.0) + found[1]


def _seen_since(samples: Sequence[Sample], since: int) -> int:
    """Return the position of the first sample that was seen at a time (Unix ms) or later."""
    return bisect_left(samples, since, key=attrgetter("ended"))


def rates(before: Sample, after: Sample, *, apart: float) -> tuple[float, float] | None:
    """Return the attempts per second, and those that failed, between two samples.

    None if there are more than `apart` ms between them, or the counters began anew, as those of a removed queue do.
    """
    span = after.at - before.at - before.lasted
    processed, failed = after.processed - before.processed, after.failed - before.failed
    if not 0 < span <= apart or processed < 0 or failed < 0:
        return None
    return processed * 1000 / span, failed * 1000 / span
