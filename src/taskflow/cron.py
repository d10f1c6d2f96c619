"""When periodic tasks fall due: cron expressions, intervals and their short forms. Pure: the time is an argument."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import takewhile
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from taskflow.durations import parse_duration
from taskflow.errors import InvalidOption

_SHORT_FORMS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_ZONE = re.compile(r"(?:CRON_TZ|TZ)=(\S+)\s+(.*)", re.DOTALL)
_SECOND = timedelta(seconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_SPEC_BYTES = 256
_FIELDS = 5
"""A cron expression has so many fields, without that for seconds."""

Missed = Literal["skip", "once", "all"]
"""What becomes of times at which no scheduler ran: none of them is fired, the last, or all up to a number."""


class Spec:
    """A rule for times.

    `*/5 * * * *` (minute, hour, day, month, weekday), with a field for seconds before them `*/10 * * * * *`; `@hourly`,
    `@daily`, `@weekly`, `@monthly`, `@yearly`; `@every 1h30m`. `CRON_TZ=Europe/Berlin` before it, or `timezone`, names the
    time zone, UTC otherwise. Over a change of the clocks it does what Debian's cron does: a job in the hour that is left
    out runs right after it, one in the hour that comes twice runs once, unless it runs every hour.

    An interval is counted from 1970, not from the start of a program: so all replicas of a scheduler agree on its times.

    Args:
        text: The rule, at most 256 bytes.
        timezone: Name of a time zone of the IANA database.

    Raises:
        InvalidOption: The rule or the zone is none.

    """

    __slots__ = ("_every", "_minutes", "_seconds", "_zone", "text")

    def __init__(self, text: str, *, timezone: str | None = None) -> None:
        if len(text.encode(errors="replace")) > MAX_SPEC_BYTES:
            raise InvalidOption("spec", f"must be at most {MAX_SPEC_BYTES} bytes")
        self.text = text
        match = _ZONE.fullmatch(text.strip())
        rule = match[2].strip() if match else text.strip()
        self._zone = _zone(match[1] if match else timezone)
        self._every: timedelta | None = None
        self._minutes, self._seconds = "", [0]
        if rule.startswith("@every"):
            self._every = _interval(rule)
        else:
            self._minutes, self._seconds = _cron(rule)

    def times(self, after: datetime) -> Iterator[datetime]:
        """Yield the times after a moment, in UTC, without end (a date that never comes yields nothing)."""
        return self._by_interval(after, self._every) if self._every is not None else self._by_clock(after)

    def next(self, after: datetime) -> datetime | None:
        """Return the first time after a moment, None if there is none."""
        return next(self.times(after), None)

    def latest(self, after: datetime, until: datetime, *, most: int) -> list[datetime]:
        """Return the last `most` times after one moment and not after another, oldest first."""
        elapsed = until - after
        span = timedelta(hours=1)
        while True:  # from near the end backwards: years of a rule for each second are not walked through
            span = min(span, elapsed)
            found = deque(takewhile(lambda moment: moment <= until, self.times(until - span)), maxlen=most)
            if len(found) == most or span == elapsed:
                return list(found)
            span *= 4

    @staticmethod
    def _by_interval(after: datetime, every: timedelta) -> Iterator[datetime]:
        moment = _EPOCH + ((after - _EPOCH) // every + 1) * every
        while True:
            yield moment
            moment += every

    def _by_clock(self, after: datetime) -> Iterator[datetime]:
        """Walk from minute to minute: only there does the library know what becomes of an hour that is lost or comes twice.

        It sees such an hour's second pass as its first, so what it names may lie before `after`.
        """
        before = after.replace(second=0, microsecond=0) - _SECOND
        for minute in CronSim(self._minutes, before.astimezone(self._zone)):
            start = minute.astimezone(UTC)
            for second in self._seconds:
                moment = start + second * _SECOND
                if moment > after:
                    yield moment


@lru_cache(maxsize=4096)
def parsed(text: str, timezone: str | None = None) -> Spec:
    """Return a spec, parsed once. Raises as `Spec` does."""
    return Spec(text, timezone=timezone)


def _zone(name: str | None) -> tzinfo:
    if name is None:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidOption("timezone", f"{name!r} is no time zone; use a name such as 'Europe/Berlin'") from error


def _interval(rule: str) -> timedelta:
    text = rule.removeprefix("@every").strip()
    try:
        interval = parse_duration(text)
    except ValueError as error:
        raise InvalidOption("spec", f"@every needs a duration such as '@every 30s': {error}") from error
    if interval < _SECOND or interval % _SECOND:
        raise InvalidOption("spec", f"@every needs whole seconds, at least one, not {text!r}")
    return interval


def _cron(rule: str) -> tuple[str, list[int]]:
    """Return the five fields that name minutes, and the seconds within them."""
    fields = _SHORT_FORMS.get(rule.lower(), rule).split()
    seconds = fields.pop(0) if len(fields) == _FIELDS + 1 else "0"
    if len(fields) == _FIELDS:
        fields[2], fields[4] = ("*" if field == "?" else field for field in (fields[2], fields[4]))  # as in Go
    try:
        simulated = CronSim(" ".join([seconds, *fields]), _EPOCH)
    except CronSimError as error:
        raise InvalidOption(
            "spec", f"{rule!r} is no schedule ({error}); use '*/5 * * * *', '@hourly' or '@every 30s'"
        ) from error
    return " ".join(fields), sorted(simulated.seconds)
