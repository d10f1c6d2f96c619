"""Request bodies: JSON -> commands. Everything that cannot be used gets the error that names it and says what to write."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar, cast

import msgspec
from msgspec import UNSET

from taskflow.api.errors import BodyTooLarge, ClientDisconnected, UnsupportedMediaType, in_words
from taskflow.api.protocol import Receive, header
from taskflow.api.request import ApiRequest
from taskflow.api.schemas.schedules import CreateScheduleBody, PutScheduleBody
from taskflow.api.schemas.tasks import CreateTaskBody, EditTaskBody, RawBatch
from taskflow.api.schemas.unique import UniqueBody
from taskflow.application.commands import CreateTask, EditTask, PutSchedule
from taskflow.checks import MAX_SPAN
from taskflow.cron import Missed
from taskflow.durations import parse_duration
from taskflow.errors import (
    InvalidOption,
    InvalidPayload,
    InvalidProcessAt,
    InvalidTimeout,
    InvalidUnique,
)
from taskflow.unique import OnConflict, Unique, Until

T = TypeVar("T", bound=msgspec.Struct)

_TASK = msgspec.json.Decoder(CreateTaskBody)
_BATCH = msgspec.json.Decoder(RawBatch)
_EDIT = msgspec.json.Decoder(EditTaskBody)
_NEW_SCHEDULE = msgspec.json.Decoder(CreateScheduleBody)
_SCHEDULE = msgspec.json.Decoder(PutScheduleBody)
_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_JSON_TYPE = re.compile(rb"application/([\w.-]+\+)?json\s*(;|$)", re.IGNORECASE)
_AT_FIELD = re.compile(r"^(?P<reason>.*) - at `\$\.(?P<field>\w+).*`$", re.DOTALL)
_UNKNOWN_FIELD = re.compile(r"unknown field `(?P<field>.*)`", re.DOTALL)
_MISSING_FIELD = re.compile(r"missing required field `(?P<field>\w+)`")
_IN_UNIQUE = re.compile(r"^(?P<reason>.*) - at `\$\.unique(?P<path>.*)`$", re.DOTALL)
_SECOND = timedelta(seconds=1)
MAX_DEPTH = 100
"""How deep arrays and objects of a payload may be nested: far from where any reader of JSON gives up."""
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]')
_NO_METADATA: dict[str, str] = {}


_OF_FIELD: dict[str, Callable[[str, str], InvalidOption]] = {
    "timeout": InvalidTimeout,
    "deadline": InvalidTimeout,
    "process_at": InvalidProcessAt,
    "process_in": InvalidProcessAt,
    "unique": lambda _, reason: InvalidUnique(reason),
}


def _for_field(name: str, reason: str) -> InvalidOption:
    """Return the error for a duration or a time that cannot be read."""
    return _OF_FIELD.get(name, InvalidOption)(name, reason)


async def read_body(request: ApiRequest) -> bytes:
    """Return the body of a request that is said to be JSON.

    A browser asks before it sends JSON to another site, so insisting on the type keeps strangers' pages from creating tasks.

    Raises:
        UnsupportedMediaType: It is not said to be JSON.
        BodyTooLarge: It is larger than `server.http.body_limit`.
        ClientDisconnected: The client is gone.

    """
    media_type = header(request.scope, b"content-type") or b""
    if media_type != b"application/json" and not _JSON_TYPE.match(media_type):
        raise UnsupportedMediaType(media_type.decode("latin-1"))
    return await receive_body(request)


async def receive_body(request: ApiRequest) -> bytes:
    """Return the body of a request, whatever it is; its size is counted while it arrives.

    Raises:
        BodyTooLarge: It is larger than `server.http.body_limit`.
        ClientDisconnected: The client is gone.

    """
    limit = request.around.body_limit
    receive = cast("Receive", request.receive)
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        chunks.append(message["body"])
        size += len(chunks[-1])
        if size > limit:
            raise BodyTooLarge(limit)
        more = message.get("more_body", False)
    return b"".join(chunks)


def read_task(body: bytes | msgspec.Raw) -> CreateTask:
    """Return the command of a create body.

    Raises:
        InvalidOption: Or the subclass of the field that cannot be used.

    """
    fields = _decoded(_TASK, body)
    if not fields.type:
        raise InvalidOption("type", "is missing; this field is required")
    _check_depth(fields.payload)
    return CreateTask(
        type=fields.type,
        payload=fields.payload,
        queue=fields.queue or None,
        max_retries=fields.max_retries,
        timeout=_span_or_none("timeout", fields.timeout),
        deadline=_time_or_none("deadline", fields.deadline),
        process_at=_time_or_none("process_at", fields.process_at),
        process_in=_span_or_none("process_in", fields.process_in),
        unique=_read_unique(fields.unique) if fields.unique else None,
        metadata=fields.metadata or _NO_METADATA,
        task_id=fields.task_id,
        retention=_span_or_none("retention", fields.retention),
        group=fields.group,
        callback_url=fields.callback_url,
    )


def read_edit(body: bytes, task_id: str, queue: str | None) -> EditTask:
    """Return the command of a body that changes a task. Raises as `read_task` does."""
    fields = _decoded(_EDIT, body)
    if fields.payload is UNSET and fields.process_at is None:
        raise InvalidOption("body", "give a payload, process_at, or both")
    _check_depth(fields.payload)
    return EditTask(task_id, queue, fields.payload, _time_or_none("process_at", fields.process_at))


def read_new_schedule(body: bytes) -> PutSchedule:
    """Return the command of a body that creates a periodic task. Raises as `read_task` does."""
    fields = _decoded(_NEW_SCHEDULE, body)
    return _schedule(fields.id, fields)


def read_schedule(body: bytes, schedule_id: str) -> PutSchedule:
    """Return the command of a body that keeps a periodic task under an id. Raises as `read_task` does."""
    return _schedule(schedule_id, _decoded(_SCHEDULE, body))


def _schedule(schedule_id: str, fields: PutScheduleBody) -> PutSchedule:
    _check_depth(fields.payload)
    return PutSchedule(
        id=schedule_id,
        spec=fields.spec,
        timezone=fields.timezone,
        type=fields.type,
        payload=None if fields.payload is UNSET else fields.payload,
        queue=fields.queue or None,
        max_retries=fields.max_retries,
        timeout=_span_or_none("timeout", fields.timeout),
        unique=_read_unique(fields.unique) if fields.unique else None,
        metadata=fields.metadata or _NO_METADATA,
        retention=_span_or_none("retention", fields.retention),
        missed=cast("Missed", fields.missed),
        catch_up=fields.catch_up,
        jitter=read_span("jitter", fields.jitter),
    )


def read_batch(body: bytes, *, limit: int) -> list[msgspec.Raw]:
    """Return the tasks of a batch, for `read_task`. Raises `InvalidOption` if there are more than `limit`."""
    tasks = _decoded(_BATCH, body).tasks
    if len(tasks) > limit:
        raise InvalidOption("tasks", f"has {len(tasks)} tasks, at most {limit} are taken; send them in several batches")
    return tasks


def _check_depth(payload: object) -> None:
    """Refuse a payload that is nested too deep. Raises `InvalidPayload`."""
    if not isinstance(payload, msgspec.Raw):
        return
    text = bytes(payload)
    if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for token in _TOKEN.finditer(text):
        first = token[0][:1]
        depth += (first in b"[{") - (first in b"]}")
        if depth > MAX_DEPTH:
            raise InvalidPayload(f"is nested more than {MAX_DEPTH} levels deep; send it flatter, or as text")


def _decoded(decoder: msgspec.json.Decoder[T], body: bytes | msgspec.Raw) -> T:
    try:
        return decoder.decode(body)
    except _MALFORMED as error:
        raise _explained(error, decoder.type.__struct_fields__) from error


def _span_or_none(name: str, text: str | None) -> timedelta | None:
    return read_span(name, text) if text else None


def _time_or_none(name: str, text: str | None) -> datetime | None:
    return _read_time(name, text) if text else None


def read_span(name: str, text: str) -> timedelta:
    """Return a duration written as Go writes it. Raises the error of the field."""
    try:
        span = parse_duration(text)
    except ValueError as error:
        raise _for_field(name, str(error)) from error
    if span > MAX_SPAN:
        raise _for_field(name, f"must be at most {MAX_SPAN.days} days, not {text!r}")
    return span


def _read_unique(unique: str | UniqueBody) -> timedelta | Unique | None:
    text = unique if isinstance(unique, str) else unique.ttl
    span = read_span("unique", text)
    if not span and isinstance(unique, str):
        return None
    if span < _SECOND:
        raise InvalidUnique(f'must be at least "1s", not {text!r}')
    if isinstance(unique, str):
        return span
    fields = None if unique.fields is None else tuple(unique.fields)
    return Unique(
        span,
        key=unique.key,
        fields=fields,
        until=cast("Until", unique.until),
        on_conflict=cast("OnConflict", unique.on_conflict),
    )


def _read_time(name: str, text: str) -> datetime:
    try:
        moment = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise _for_field(name, f'must be a time with its zone, such as "2030-01-31T12:00:00Z", not {text[:100]!r}')
    return moment


def _explained(error: Exception, known: tuple[str, ...]) -> InvalidOption:
    """Return the error for what msgspec says of a body."""
    text = str(error)
    if (inner := _IN_UNIQUE.match(text)) and (inner["path"] or inner["reason"].startswith("Object ")):
        where = f" - at `${inner['path']}`" if inner["path"] else ""
        wrong = _explained(msgspec.ValidationError(inner["reason"] + where), UniqueBody.__struct_fields__)
        return InvalidUnique(str(wrong))
    if unknown := _UNKNOWN_FIELD.search(text):
        name = unknown["field"][:100]
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"the fields are {', '.join(known)}"
        return InvalidOption(name, f"is not a field of this request; {hint}")
    if missing := _MISSING_FIELD.search(text):
        return InvalidOption(missing["field"], "is missing; this field is required")
    if at_field := _AT_FIELD.match(text):
        return InvalidOption(at_field["field"], in_words(at_field["reason"]))
    if isinstance(error, msgspec.ValidationError):
        return InvalidOption("body", in_words(text))
    return InvalidOption("body", f"must be a JSON object with the fields {', '.join(known)}: {text[:200]}")
