"""Checks of single values: text, spans, moments. Each raises the error of the option that holds the value."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from taskflow.errors import InvalidOption

MAX_SPAN = timedelta(days=365 * 100)
"""Longer than any timeout, delay or retention makes sense, short enough for every number on the wire."""


def encodable(text: str) -> bool:
    """Whether UTF-8 can carry the text: it holds no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_text(option: str, text: object) -> None:
    """Raise `InvalidOption` unless the value is text that UTF-8 can carry."""
    if not isinstance(text, str) or not encodable(text):
        raise InvalidOption(option, f"must be UTF-8 text, not {text!r}")


def check_span(error: type[InvalidOption], option: str, span: object, *, least: timedelta) -> None:
    """Raise the error unless the value is a span between the least and `MAX_SPAN`."""
    if not isinstance(span, timedelta) or not least <= span <= MAX_SPAN:
        raise error(option, f"must be a timedelta from {least} to {MAX_SPAN.days} days, not {span!r}")


def check_moment(error: type[InvalidOption], option: str, moment: object) -> None:
    """Raise the error unless the value is a time with a zone, in a year that every number on the wire can hold."""
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise error(option, f"must be a datetime with a time zone (e.g. datetime.now(UTC)), not {moment!r}")
    if not datetime(1970, 1, 2, tzinfo=UTC) <= moment <= datetime(9000, 1, 1, tzinfo=UTC):
        raise error(option, f"must be between 1970 and the year 9000, not {moment.isoformat()}")
