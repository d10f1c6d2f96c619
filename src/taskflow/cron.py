"""When periodic tasks fall due: cron expressions, intervals and their short forms. Pure: the time is an argument."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
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


class Spec:
    """A rule for times.

    `*/5 * * * *` (minute, hour, day, month, weekday), with a field for seconds before them `*/10 * * * * *`; `@hourly`,
    `@daily`, `@weekly`, `@monthly`, `@yearly`; `@every 1h30m`. `CRON_TZ=Europe/Berlin` before it, or `timezone`, names the
    time zone, UTC otherwise. Over a change of the clocks it does what Debian's cron does: a job in the hour that is left
    out runs right after it, one in the hour that comes twice runs once, unless it runs every hour.

    An interval is counted from 1970, not from the start of a program: so all replicas of a scheduler agree on its times.

    Args:
        text: The rule.
        timezone: Name of a time zone of the IANA database.

    Raises:
        InvalidOption: The rule or the zone is none.

    """

    __slots__ = ("_cron", "_every", "_zone", "text")

    def __init__(self, text: str, *, timezone: str | None = None) -> None:
        self.text = text
        match = _ZONE.fullmatch(text.strip())
        rule = match[2].strip() if match else text.strip()
        self._zone = _zone(match[1] if match else timezone)
        self._every: timedelta | None = None
        self._cron = ""
        if rule.startswith("@every"):
            self._every = _interval(rule)
        else:
            self._cron = _cron(rule)

    def times(self, after: datetime) -> Iterator[datetime]:
        """Yield the times after a moment, in UTC, without end (a date that never comes yields nothing)."""
        if self._every is not None:
            moment = _EPOCH + ((after - _EPOCH) // self._every + 1) * self._every
            while True:
                yield moment
                moment += self._every
        for moment in CronSim(self._cron, after.astimezone(self._zone)):
            yield moment.astimezone(UTC)

    def next(self, after: datetime) -> datetime | None:
        """Return the first time after a moment, None if there is none."""
        return next(self.times(after), None)

    def missed(self, after: datetime, until: datetime, *, most: int) -> list[datetime]:
        """Return the last `most` times after one moment and not after another, oldest first."""
        found: list[datetime] = []
        if self._every is not None:
            after = max(after, until - (most + 1) * self._every)  # months of @every 1s are not walked through
        for moment in self.times(after):
            if moment > until:
                break
            found.append(moment)
            if len(found) > most:
                del found[0]
        return found


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


def _cron(rule: str) -> str:
    expression = _SHORT_FORMS.get(rule, rule)
    try:
        CronSim(expression, _EPOCH)
    except CronSimError as error:
        raise InvalidOption(
            "spec", f"{rule!r} is no schedule ({error}); use '*/5 * * * *', '@hourly' or '@every 30s'"
        ) from error
    return expression
