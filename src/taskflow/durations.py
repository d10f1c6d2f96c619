"""Durations as text, in the form of Go's `time.Duration`: `30s`, `1h30m`, `500ms` <-> `timedelta`."""

from __future__ import annotations

import re
from datetime import timedelta

import durationpy

MAX_DURATION = timedelta(microseconds=(2**63 - 1) // 1000)
"""The longest duration that is read: about 292 years, where Go's 64 bits of nanoseconds end."""

# durationpy also reads days, months, and text with gaps ("1h, 30m"); Go, which shares our queues, does not.
_GO_DURATION = re.compile(r"\+?(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:h|ms|m|s|us|µs|μs|ns))+)", re.ASCII)


def parse_duration(text: str) -> timedelta:
    """Read a duration written as Go writes it.

    Args:
        text: Numbers with a unit each, largest first by habit: `h`, `m`, `s`, `ms`, `us`, `ns`; for example `1h30m`.
            A bare `0` is the only number that needs no unit. Finer than a microsecond is rounded.

    Returns:
        The duration; never negative.

    Raises:
        ValueError: The text is no such duration, is negative, or is longer than 292 years.
    """
    if text.startswith("-"):
        raise ValueError(f'{text!r} is negative; write a duration of zero or more, such as "30s"')
    if not _GO_DURATION.fullmatch(text):
        raise ValueError(f'{text!r} is not a duration; write numbers with units, such as "30s", "1h30m" or "500ms"')
    try:
        duration: timedelta = durationpy.from_str(text)
    except durationpy.DurationError:
        duration = timedelta.max
    if duration > MAX_DURATION:
        raise ValueError(f'{text!r} is too long; a duration is at most 292 years, "2562047h"')
    return duration


def format_duration(duration: timedelta) -> str:
    """Write a duration so that Go and `parse_duration` read the same value back, to the microsecond.

    Parts that are zero are left out: `1h30m`, `30s`, `1.5s`, `500ms`; zero is `0s`. A negative one has a leading `-`.
    """
    # durationpy.to_str is not used: it keeps six digits only, so 12.345678s would come back as 12.3457s.
    if duration < timedelta(0):
        return f"-{format_duration(-duration)}"
    if duration < timedelta(seconds=1):
        return _below_a_second(duration.microseconds)
    minutes, seconds = divmod(duration.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{duration.microseconds:06d}".rstrip("0").rstrip(".")
    parts = ((f"{duration.days * 24 + hours}", "h"), (f"{minutes}", "m"), (f"{seconds}{fraction}", "s"))
    return "".join(number + unit for number, unit in parts if number != "0")


def _below_a_second(microseconds: int) -> str:
    if microseconds == 0:
        return "0s"
    if microseconds < 1000:  # noqa: PLR2004 - microseconds in a millisecond
        return f"{microseconds}us"
    return f"{microseconds / 1000:.10g}ms"
