"""Periodic tasks, as the JSON contract has them: what comes in and what goes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from taskflow.api.schemas.unique import UniqueBody, unique_body
from taskflow.api.schemas.values import Encoding, MaxRetries, Retention, Span, Timeout, span
from taskflow.application.schedules import ScheduleInfo
from taskflow.broker.schedule_entry import MAX_CATCH_UP, ScheduleEntry, ScheduleEvent
from taskflow.cron import Missed
from taskflow.durations import format_duration
from taskflow.wire.payload import json_or_base64

Spec = Annotated[
    str,
    Meta(
        description="When: cron with five fields, or six with seconds in front, `@every`, `@hourly`, `CRON_TZ=Europe/Berlin …`.",
        examples=["*/5 * * * *", "@every 30s"],
    ),
]


class PutScheduleBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A periodic task to keep in Redis; of its tasks, what is left out has the default of their type or of the settings."""

    spec: Spec
    type: Annotated[str, Meta(description="The task type; a worker must have published it.", examples=["demo"])]
    payload: Annotated[Raw | UnsetType, Meta(description="Any JSON that fits the type. Default: none.")] = UNSET
    timezone: Annotated[str | None, Meta(description="Unless the spec names one. Default UTC.")] = None
    queue: Annotated[
        str | None, Meta(description="The queue of its tasks. Default: what their type says, else `queues.default`.")
    ] = None
    max_retries: MaxRetries = None
    timeout: Timeout = None
    unique: Annotated[
        Span | UniqueBody | None,
        Meta(description="For how long (1s or more) no task of the same type and payload may be created; or a lock."),
    ] = None
    metadata: Annotated[dict[str, str] | None, Meta(description="Text pairs that travel in the tasks' headers.")] = None
    retention: Retention = None
    missed: Annotated[
        str,
        Meta(
            extra_json_schema={"enum": get_args(Missed)},
            description="What becomes of times at which no scheduler ran: `skip`, `once` (the last), `all` up to `catch_up`.",
        ),
    ] = "skip"
    catch_up: Annotated[
        int,
        Meta(
            description="How many missed times `all` makes up for, 1 to 10,000.",
            extra_json_schema={"minimum": 1, "maximum": MAX_CATCH_UP},
        ),
    ] = 100
    jitter: Annotated[Span, Meta(description="Each task falls due up to this much later, at random.")] = "0s"


class CreateScheduleBody(PutScheduleBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A periodic task to create."""

    id: Annotated[str, Meta(description="1 to 128 bytes, without control characters.", examples=["nightly"])]


class ScheduleBody(Struct, frozen=True, kw_only=True):
    """A periodic task.

    `origin` says where it is kept: in `redis`, in `settings` or `code` of a program, or in an `asynq` scheduler in Go. Of the
    latter the tasks' options are not known but as text: `options` has them in asynq's words for all.
    """

    id: str
    spec: str
    timezone: str | None
    type: str
    payload: Any
    payload_encoding: Encoding
    origin: Literal["redis", "settings", "code", "asynq"]
    paused: bool
    last_fired: datetime | None
    next_fire: datetime | None
    queue: str | None
    max_retries: int | None
    timeout: Span | None
    unique: Span | UniqueBody | None
    metadata: Mapping[str, str]
    retention: Span | None
    missed: str | None
    catch_up: int | None
    jitter: Span | None
    options: Sequence[str]


class ScheduleDetails(ScheduleBody, frozen=True, kw_only=True):
    """A periodic task, and its next times, as if it were not paused."""

    next_runs: list[datetime]


class EventBody(Struct, frozen=True):
    """A task that was enqueued, and the time for which it was."""

    task_id: str
    at: datetime


def schedule(info: ScheduleInfo) -> ScheduleBody:
    """A periodic task."""
    return ScheduleBody(**_common(info))


def details(info: ScheduleInfo, next_runs: list[datetime]) -> ScheduleDetails:
    """A periodic task, and its next times."""
    return ScheduleDetails(**_common(info), next_runs=next_runs)


def event(found: ScheduleEvent) -> EventBody:
    """A task that was enqueued."""
    return EventBody(found.task_id, found.at)


def _common(info: ScheduleInfo) -> dict[str, Any]:
    payload, encoding = json_or_base64(info.payload)
    return {
        "id": info.id,
        "spec": info.spec,
        "type": info.type,
        "payload": payload,
        "payload_encoding": encoding,
        "origin": info.origin,
        "paused": info.paused,
        "last_fired": info.last_fired,
        "next_fire": info.next_fire,
        "options": info.options,
        **(_NO_OPTIONS if info.entry is None else _options(info.entry)),
    }


def _options(entry: ScheduleEntry) -> dict[str, Any]:
    return {
        "spec": entry.spec,
        "timezone": entry.timezone,
        "queue": entry.queue,
        "max_retries": entry.max_retries,
        "timeout": span(entry.timeout),
        "unique": unique_body(entry.unique),
        "metadata": entry.headers,
        "retention": format_duration(entry.retention),
        "missed": entry.missed,
        "catch_up": entry.catch_up,
        "jitter": format_duration(entry.jitter),
    }


_NO_OPTIONS: dict[str, Any] = {
    **dict.fromkeys(
        ("timezone", "queue", "max_retries", "timeout", "unique", "retention", "missed", "catch_up", "jitter")
    ),
    "metadata": {},
}
