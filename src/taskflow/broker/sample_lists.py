"""SampleLists: the lists of samples as they are read again and again: what was read is remembered, and only what is new is asked for.

The format stands in sample.lua.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from taskflow.broker.queue import Broker
from taskflow.wire.keys import queue_keys

Span = Literal["1h", "24h", "30d"]
"""A time up to now of which there are samples."""


class Resolution(NamedTuple):
    """How fine the samples of a span are: the step (s), and how many there are."""

    step: int
    points: int


RESOLUTIONS: Mapping[Span, Resolution] = {
    "1h": Resolution(10, 360),
    "24h": Resolution(300, 288),
    "30d": Resolution(7200, 360),
}
"""The finest first: it says how often to sample."""
REMEMBERED = 1000
"""How many lists are remembered at most, of up to 90 kB each; further ones are read anew each time."""
_FORGOTTEN_AFTER = 60.0
"""How long (s) a list is remembered that is not read while others are."""


class Sample(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """How a queue stood at a time (Unix ms) and for how long after it (ms); `processed` and `failed` are totals, `age` is in ms."""

    at: int
    lasted: int
    processed: int
    failed: int
    pending: int
    active: int
    age: int

    @property
    def ended(self) -> int:
        """When it was last seen (Unix ms)."""
        return self.at + self.lasted


class _Known(Struct, frozen=True):
    """What a list held at a time (Unix s), the newest last; `whole`: nothing older was left out."""

    read_at: float
    samples: Sequence[Sample]
    whole: bool


class SampleLists:
    """The lists of a broker's queues.

    Lists grow at their end, and of what stands in them the newest sample alone changes. So a list is remembered, and asked
    for as many of its newest samples as may have come since, and one more: it ties them to what is known.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.replaced = 0
        """How many lists did not go on from what was known of them: what was made of that does not hold any more."""
        self._known: dict[tuple[str, Span], _Known] = {}

    async def read(self, queues: Sequence[str], span: Span, most: int = 0) -> dict[str, Sequence[Sample]]:
        """Return the samples of queues, the newest last: the `most` newest, and perhaps others before them, or all (0).

        What cannot be read is left out, and another kind of value counts as none. Raises `BrokerUnavailable`.
        """
        now = self._broker.clock.now()
        self._forget(now)
        known = [self._remembered(name, span, most) for name in queues]
        counts = [most if each is None else _most_since(each, span, now) for each in known]
        commands = [
            ("LRANGE", queue_keys(name).samples_prefix + span, -count, -1)
            for name, count in zip(queues, counts, strict=True)
        ]
        found: dict[str, Sequence[Sample]] = {}
        torn = []
        replies = await self._broker.attempt(*commands)
        for name, before, count, reply in zip(queues, known, counts, replies, strict=True):
            records = reply if isinstance(reply, list) else []
            newest = _Known(now, _decoded(records), whole=not count or len(records) < count)
            grown = newest if before is None else _joined(before, newest, span)
            if grown is None:
                torn.append(name)
                self._known.pop((name, span), None)
                continue
            self.replaced += before is None
            self._remember(name, span, grown)
            found[name] = grown.samples
        return found | await self.read(torn, span, most) if torn else found

    def _remembered(self, name: str, span: Span, most: int) -> _Known | None:
        known = self._known.get((name, span))
        return known if known is not None and (known.whole or 0 < most <= len(known.samples)) else None

    def _remember(self, name: str, span: Span, known: _Known) -> None:
        if (name, span) in self._known or len(self._known) < REMEMBERED:
            self._known[name, span] = known

    def _forget(self, now: float) -> None:
        self._known = {key: known for key, known in self._known.items() if now - known.read_at < _FORGOTTEN_AFTER}


def _most_since(known: _Known, span: Span, now: float) -> int:
    """Return how many samples may have come since, and the one that ties them to those before."""
    return int(max(0.0, now - known.read_at) // RESOLUTIONS[span].step) + 3


def _joined(known: _Known, newest: _Known, span: Span) -> _Known | None:
    """Return what is known with the newest samples in place of its end; None if they do not go on from it."""
    if newest.whole:  # a short list was read from its beginning on
        goes_on = not known.samples or (newest.samples and newest.samples[0].at == known.samples[0].at)
        return newest if goes_on else None
    if not newest.samples or not known.samples or newest.samples[0].at > known.samples[-1].at:
        return None
    kept = bisect_left(known.samples, newest.samples[0].at, key=lambda sample: sample.at)
    samples = [*known.samples[:kept], *newest.samples][-RESOLUTIONS[span].points :]
    return _Known(newest.read_at, samples, known.whole)


_DECODER = msgspec.msgpack.Decoder(Sample)


def _decoded(records: Sequence[bytes]) -> list[Sample]:
    found = []
    for data in records:
        try:
            found.append(_DECODER.decode(data))
        except msgspec.MsgspecError:
            continue
    return found
