"""Numbers, sizes, spans and times in the words that people read; pure functions, the same for every door.

Text of strangers (types, payloads, errors) is made harmless by `plain`.
"""

from __future__ import annotations

from datetime import datetime, timedelta

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}
_TURNING = {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
"""Characters that turn the direction of the text behind them."""
_HARMFUL = _CONTROLS | _TURNING
_DATES_AFTER = timedelta(days=2)
"""Times that are farther off are shown as dates."""
_SECOND = timedelta(seconds=1)
_KILO = 1000
_KIBI = 1024
_TEN = 10
_UNITS = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def plain(text: object) -> str:
    """Return text in which control characters, and those that turn its direction, are spelled out; lines and tabs stay."""
    return str(text).translate(_HARMFUL)


def number(count: float) -> str:
    """A count in full: `1,234,567`."""
    return f"{count:,.0f}"


def many(count: int, one: str) -> str:
    """How many there are of something: `1 task`, `1,204 tasks`."""
    return f"{count:,} {one if count == 1 else one + 's'}"


def short_number(count: float) -> str:
    """A count in few characters: `987`, `1.2k`, `45k`, `6.7M`."""
    if count < _KILO:
        return f"{count:.0f}"
    amount, unit = _scaled(count, _KILO, "kMGT")
    return f"{_digits(amount)}{unit}"


def amount(value: float) -> str:
    """A number on an axis: `0.25`, `2.5`, `40`, `1.2k`."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if 0 < value < 1 else _tenths(value)


def size(count: int) -> str:
    """An amount of memory: `512 B`, `3.4 MiB`."""
    if count < _KIBI:
        return f"{count} B"
    amount, unit = _scaled(count, _KIBI, "KMGT")
    return f"{amount:.1f} {unit}iB"


def percent(share: float) -> str:
    """A share of 1: `0 %`, `0.4 %`, `12 %`; what is little is not called nothing."""
    value = share * 100
    if 0 < value < 0.1:  # noqa: PLR2004 - what one digit behind the point can say
        return "<0.1 %"
    return f"{_digits(value)} %"


def rate(per_second: float) -> str:
    """How often something happens, in the unit that gives a number above 1: `12.3/s`, `4.1/min`, `2/h`."""
    if per_second == 0:
        return "0/s"
    for factor, unit in ((1, "s"), (60, "min")):
        if per_second * factor >= 1:
            return f"{_tenths(per_second * factor)}/{unit}"
    return f"{_tenths(per_second * 3600)}/h"


def span(duration: timedelta) -> str:
    """A span of time by its two largest units: `820 ms`, `3.2 s`, `4m 10s`, `2h 5m`, `3d 4h`."""
    if duration < timedelta(0):
        return f"-{span(-duration)}"
    if duration < _SECOND:
        return f"{duration / timedelta(milliseconds=1):.0f} ms"
    if duration < timedelta(seconds=60):
        return f"{_digits(duration / _SECOND)} s"
    left = round(duration / _SECOND)
    parts: list[str] = []
    for seconds, unit in _UNITS:
        count, left = divmod(left, seconds)
        if count or parts:
            parts.append(f"{count}{unit}" if count else "")
    return " ".join(part for part in parts[:2] if part)


def relative(moment: datetime, now: datetime) -> str:
    """A time as seen from another: `12s ago`, `in 3m`; if it is farther off than two days, its date in the local time zone."""
    distance = moment - now
    if abs(distance) > _DATES_AFTER:
        return moment.astimezone().strftime("%Y-%m-%d %H:%M")
    seconds = round(abs(distance).total_seconds())
    length = next((f"{seconds // unit}{name}" for unit, name in _UNITS[1:3] if seconds >= unit), f"{seconds}s")
    return f"in {length}" if distance > timedelta(0) else f"{length} ago"


def _scaled(amount: float, step: int, units: str) -> tuple[float, str]:
    """Return an amount in the smallest unit in which it is less than a step, if there is one, and that unit."""
    for unit in units[:-1]:
        amount /= step
        if amount < step:
            return amount, unit
    return amount / step, units[-1]


def _tenths(value: float) -> str:
    """Thousands in short, other numbers with a digit behind the point unless it is 0."""
    return short_number(value) if value >= _KILO else f"{value:.1f}".removesuffix(".0")


def _digits(value: float) -> str:
    """A number with a digit behind the point if it is below ten and that digit is not 0."""
    return f"{value:.1f}".removesuffix(".0") if round(value, 1) < _TEN else f"{value:.0f}"
