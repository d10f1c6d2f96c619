"""Values of the JSON contract that several resources have. Durations are Go's text (`30s`), times RFC 3339."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from msgspec import Meta, Struct

from taskflow.durations import format_duration
from taskflow.task import MAX_RETRIES

DURATION = r"^([+]?(0|(([0-9]+[.]?[0-9]*|[.][0-9]+)(h|ms|m|s|us|µs|μs|ns))+))?$"
"""What a duration looks like; an empty text is as if it were not sent."""
Span = Annotated[
    str,
    Meta(description="A duration as Go writes it.", examples=["30s", "1h30m"], extra_json_schema={"pattern": DURATION}),
]
Time = Annotated[
    str,
    Meta(
        description="A time, RFC 3339 with its zone.",
        examples=["2030-01-31T12:00:00Z"],
        extra_json_schema={"format": "date-time"},
    ),
]
MaxRetries = Annotated[
    int | None,
    Meta(
        description="How often a failed task is tried again; 0 means never. Default: what its type says, else 3 "
        "(`tasks.max_retries`).",
        extra_json_schema={"minimum": 0, "maximum": MAX_RETRIES},
    ),
]
Timeout = Annotated[
    Span | None,
    Meta(description="How long one attempt may take. Default: what its type says, else 30m (`tasks.timeout`)."),
]
Retention = Annotated[
    Span | None, Meta(description="How long a task is kept after success. Default: 1h (`tasks.retention`).")
]
State = Literal["pending", "active", "scheduled", "retry", "archived", "completed", "aggregating"]
Encoding = Annotated[
    Literal["json", "base64"],
    Meta(description="`base64` where the bytes are no JSON; then the value is text in Base64."),
]


class Message(Struct, frozen=True):
    """A word of confirmation."""

    message: str


def span(duration: timedelta | None) -> str | None:
    """A duration as Go writes it; None stays None."""
    return None if duration is None else format_duration(duration)
