"""Unique locks, as the JSON contract has them."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, get_args

from msgspec import Meta, Struct

from taskflow.api.schemas.values import Span, span
from taskflow.durations import format_duration
from taskflow.unique import OnConflict, Unique, Until


class UniqueBody(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A unique lock: while a task holds it, the same task is not created again. Locks are those of a queue and task type."""

    ttl: Annotated[Span, Meta(description="How long it lasts at most, 1s or more; with a due time, so long after it.")]
    key: Annotated[
        str | None,
        Meta(description="What makes a task the same, 1 to 256 bytes. Default: its payload.", examples=["user:42"]),
    ] = None
    fields: Annotated[
        list[str] | None,
        Meta(
            description="Fields of the payload that make a task the same; a dot looks into an object. Not with `key`."
        ),
    ] = None
    until: Annotated[
        str,
        Meta(
            extra_json_schema={"enum": get_args(Until)},
            description="`done`: it is freed when the task has ended; `started`: when a worker takes it; `expired`: only by "
            "its time.",
        ),
    ] = "done"
    on_conflict: Annotated[
        str,
        Meta(
            extra_json_schema={"enum": get_args(OnConflict)},
            description="What becomes of the same task: `refuse`: 409; `return`: 200 with the task that holds the lock; "
            "`replace`: it takes the place of that one while it waits, else 409.",
        ),
    ] = "refuse"


def unique_body(unique: timedelta | Unique | None) -> str | UniqueBody | None:
    """A unique lock: its time alone, where there are no other choices."""
    if not isinstance(unique, Unique):
        return span(unique)
    return UniqueBody(
        ttl=format_duration(unique.ttl),
        key=unique.key,
        fields=list(unique.fields) if unique.fields else None,
        until=unique.until,
        on_conflict=unique.on_conflict,
    )
