"""The form of a periodic task: text of its fields -> PutSchedule, by the same rules as over HTTP, and back."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec
from msgspec import structs

from taskflow.api.bodies import read_schedule
from taskflow.application.commands import PutSchedule
from taskflow.broker.schedule_entry import ScheduleEntry
from taskflow.dashboard.payload_form import pretty, raw_json
from taskflow.dashboard.task_form import read_metadata, read_unique, read_whole, write_metadata
from taskflow.durations import format_duration
from taskflow.errors import InvalidOption, InvalidPayload
from taskflow.unique import Unique
from taskflow.wire.payload import json_or_base64

KEPT = "kept_payload"
"""Field: a payload that is no JSON, in Base64, to be kept as it is."""
_TEXTS = ("spec", "type", "timezone", "queue", "timeout", "retention", "missed", "jitter")
_NUMBERS = ("max_retries", "catch_up")
_LOCK = ("unique_ttl", "unique_key", "unique_fields", "unique_until", "unique_on_conflict")
FIELDS = ("id", *_TEXTS, *_NUMBERS, "payload", KEPT, *_LOCK, "metadata")
MORE = frozenset({"max_retries", "timeout", "retention", "metadata", *_LOCK})
"""Those that are seldom needed."""
PLACES = {"unique": "unique_ttl", "headers": "metadata"}
"""Where the error of an option stands whose field has another name."""
_FIRST = {"missed": "skip", "catch_up": "100", "jitter": "0s"}
"""What a new form holds."""


def filled(fields: Mapping[str, str]) -> dict[str, str]:
    """Return all values of the form, of which some are given."""
    return {name: fields.get(name, _FIRST.get(name, "")) for name in FIELDS}


def written(entry: ScheduleEntry) -> dict[str, str]:
    """Return the values with which the form shows a periodic task."""
    is_json = json_or_base64(entry.payload)[1] == "json"
    return {
        "id": entry.id,
        "spec": entry.spec,
        "type": entry.type,
        "timezone": entry.timezone or "",
        "queue": entry.queue,
        "timeout": format_duration(entry.timeout) if entry.timeout else "",
        "retention": format_duration(entry.retention),
        "missed": entry.missed,
        "jitter": format_duration(entry.jitter),
        "max_retries": str(entry.max_retries),
        "catch_up": str(entry.catch_up),
        "payload": pretty(entry.payload) if entry.payload and is_json else "",
        KEPT: "" if is_json else base64.b64encode(entry.payload).decode(),
        "metadata": write_metadata(entry.headers) if entry.headers else "",
        **_written_lock(entry.unique),
    }


def _written_lock(unique: timedelta | Unique | None) -> dict[str, str]:
    if not isinstance(unique, Unique):
        return dict.fromkeys(_LOCK, "") | {"unique_ttl": format_duration(unique) if unique else ""}
    texts = (
        format_duration(unique.ttl),
        unique.key or "",
        ", ".join(unique.fields or ()),
        "" if unique.until == "done" else unique.until,
        "" if unique.on_conflict == "refuse" else unique.on_conflict,
    )
    return dict(zip(_LOCK, texts, strict=True))


def read(fields: Mapping[str, str]) -> PutSchedule:
    """Return the command of a form that was sent.

    Raises:
        InvalidOption: Or the subclass of the field that cannot be used; `option` names it.

    """
    given = {name: text for name in FIELDS if (text := fields.get(name, "").strip())}
    for required in ("id", "spec", "type"):
        if required not in given:
            raise InvalidOption(required, "is missing")
    body: dict[str, Any] = {name: given[name] for name in _TEXTS if name in given}
    body |= {name: read_whole(name, given[name]) for name in _NUMBERS if name in given}
    if (unique := read_unique(given)) is not None:
        body["unique"] = unique
    if "metadata" in given:
        body["metadata"] = read_metadata(given["metadata"])
    if "payload" in given:
        body["payload"] = _json(given["payload"])
    command = read_schedule(msgspec.json.encode(body), given["id"])
    if KEPT in given and "payload" not in given:
        return structs.replace(command, payload=_bytes(given[KEPT]))
    return command


def _json(text: str) -> msgspec.Raw:
    try:
        return raw_json(text)
    except ValueError as error:
        raise InvalidPayload(str(error)) from error


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidPayload("the payload that was to be kept did not arrive whole; open the form again") from error
