"""Filters: what a visitor looks for in a list of tasks, as the address of the page says it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from taskflow.application.criteria import PARTS, Criteria, Part
from taskflow.dashboard.frame import Frame
from taskflow.errors import Forbidden, InvalidOption

NAMES = ("type", "q", "in", "since", "until")
"""The parts of the query that say what is looked for."""


def given(frame: Frame) -> dict[str, str]:
    """Return what a visitor looks for, as he wrote it: a value for each of `NAMES`, '' where there is none."""
    return {name: frame.query.get(name, "") for name in NAMES}


def parts_for(frame: Frame) -> tuple[Part, ...]:
    """Return in which parts of tasks a visitor may search: who may not see payloads may not guess at them either."""
    return PARTS if frame.sees_payloads else ("id", "error")


def read_criteria(frame: Frame) -> Criteria:
    """Return which tasks a visitor looks for.

    Raises:
        InvalidOption: A time is none, or there is no such part.
        Forbidden: He may not search in payloads.

    """
    wanted = given(frame)
    return Criteria(
        type=wanted["type"].strip() or None,
        text=wanted["q"] or None,
        parts=_parts(wanted["in"], frame),
        since=_moment("since", wanted),
        until=_moment("until", wanted),
    )


def _parts(name: str, frame: Frame) -> tuple[Part, ...]:
    allowed = parts_for(frame)
    if not name:
        return allowed
    found = next((part for part in PARTS if part == name), None)
    if found is None:
        raise InvalidOption("in", f"must be one of {', '.join(PARTS)}, not {name[:50]!r}")
    if found not in allowed:
        raise Forbidden("your key may not see payloads, so it may not search them")
    return (found,)


def _moment(name: str, wanted: Mapping[str, str]) -> datetime | None:
    """Return a time as the field `datetime-local` sends it; one without a zone is in UTC."""
    text = wanted[name].strip()
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidOption(name, "must be a time in UTC such as 2026-07-01T09:30") from None
