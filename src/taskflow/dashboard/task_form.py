"""TaskForm: what somebody has written to create a task -> the command, by the rules of the API; and what is wrong with it, by field."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct, field, structs

from taskflow.api.bodies import read_task
from taskflow.application.commands import CreateTask
from taskflow.broker.catalog import TaskType
from taskflow.dashboard.payload_form import PayloadForm, pretty, raw_json
from taskflow.dashboard.values import visible_json
from taskflow.errors import InvalidOption, InvalidPayload, InvalidProcessAt, InvalidTimeout, InvalidUnique

FIELD = "field."
"""Before the name of a payload's field: the name of the form's field."""
_TEXTS = ("queue", "timeout", "process_in", "retention", "task_id", "group", "callback_url")
_MOMENTS = {"deadline": InvalidTimeout, "process_at": InvalidProcessAt}
MORE = ("max_retries", "timeout", "deadline", "retention", "task_id", "group", "callback_url", "metadata", "unique_ttl")
"""The fields of the options that are seldom needed."""
_ALL = frozenset({"", "type", "payload", "queue", "process_in", "process_at", *MORE})
_UNIQUE = ("unique_key", "unique_fields", "unique_until", "unique_on_conflict")
_PLACES = {"unique": "unique_ttl", "headers": "metadata"}
"""Where the error of an option stands whose field has another name."""
_WRITTEN_MOMENT = re.compile(r"\d{4,}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?", re.ASCII)


class TaskForm(Struct, kw_only=True):
    """A form with what was written into it.

    Attributes:
        type: The type.
        known: What the catalog says of it; None: nothing.
        fields: The fields of its payload; None if it is written as JSON.
        raw: Whether the payload is written as JSON.
        given: What was written, by the names of the form's fields.
        errors: What is wrong, by the names of the form's fields; '' is for what is about none of them.

    """

    type: str
    known: TaskType | None = None
    fields: PayloadForm | None = None
    raw: bool = False
    given: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, task_type: str, known: TaskType | None, given: Mapping[str, str], *, raw: bool = False) -> TaskForm:
        """Return the form of a type."""
        fields = None if known is None else PayloadForm.of(known.schema)
        return cls(type=task_type, known=known, fields=fields, raw=raw or fields is None, given=dict(given))

    def payload(self) -> bytes:
        """Return the payload that was written, as JSON; note what is wrong with it. No text at all is no payload."""
        if self.fields is None or self.raw:
            text = self.given.get("payload", "")
            try:
                return bytes(raw_json(text)) if text.strip() else b""
            except ValueError as error:
                self.errors["payload"] = str(error)
                return b""
        given = {name.removeprefix(FIELD): value for name, value in self.given.items() if name.startswith(FIELD)}
        data, errors = self.fields.read(given)
        self.errors |= {FIELD + name: error for name, error in errors.items()}
        return data

    def fill(self, payload: bytes) -> None:
        """Write a payload into the form: into its fields if they can hold it, else as JSON."""
        given = None if self.fields is None or self.raw else self.fields.write(payload)
        if given is None:
            self.raw = True
            self.given["payload"] = pretty(payload)
        else:
            self.given |= {FIELD + name: text for name, text in given.items()}

    def switch(self, *, raw: bool) -> None:
        """Let the payload be written in the other way; what was written so far stays, unless it is wrong."""
        data = self.payload()
        if self.errors:
            return
        self.raw = raw or self.fields is None
        self.fill(data)
        if self.raw and not raw:
            self.errors["payload"] = "the fields of the form cannot say exactly this, so it stays JSON"

    def command(self) -> CreateTask | None:
        """Return the command; None if something is wrong: `errors` says what."""
        payload = self.payload()
        try:
            body = {"type": self.type, "payload": msgspec.Raw(payload or b"null"), **self._options()}
            command = read_task(msgspec.json.encode(body))
        except InvalidOption as error:
            self.refuse(error)
        if self.errors:
            self._note_missing()
            return None
        return command if payload else structs.replace(command, payload=None)

    def _note_missing(self) -> None:
        """Note which required fields are empty, so that all that is wrong is said at once."""
        if self.fields is not None and not self.raw:
            for each in self.fields.fields:
                if each.required and not self.given.get(FIELD + each.name):
                    self.errors.setdefault(FIELD + each.name, "is missing; this field is required")

    def refuse(self, error: InvalidOption) -> None:
        """Note what is wrong at the field that it is about."""
        place = _PLACES.get(error.option, error.option)
        if isinstance(error, InvalidPayload) and self.fields is not None and not self.raw:
            name = self.fields.at(error.path, error.expected)
            self.errors["payload" if name is None else FIELD + name] = error.reason
        elif place in _ALL:
            self.errors[place] = error.reason
        else:
            self.errors[""] = str(error)

    def _options(self) -> dict[str, Any]:
        given = {name: text.strip() for name, text in self.given.items()}
        found: dict[str, Any] = {name: given[name] for name in _TEXTS if given.get(name)}
        if given.get("max_retries"):
            found["max_retries"] = read_whole("max_retries", given["max_retries"])
        for name, error in _MOMENTS.items():
            if given.get(name):
                found[name] = written_moment(error, name, given[name])
        if given.get("metadata"):
            found["metadata"] = read_metadata(given["metadata"])
        unique = read_unique(given)
        return found if unique is None else {**found, "unique": unique}


def written_moment(error: type[InvalidOption], name: str, text: str) -> datetime:
    """Return a time of a form: of the browser's own kind, which has no zone and is UTC, or with its zone. Raises the error."""
    whole = f"{text}:00" if len(text) == len("2030-01-31T12:00") else text
    try:
        moment = msgspec.convert(f"{whole}Z" if _WRITTEN_MOMENT.fullmatch(text) else text, datetime)
    except msgspec.ValidationError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise error(name, f"write a time such as 2030-01-31T12:00:00Z, not {text[:100]!r}")
    return moment


def read_metadata(text: str) -> dict[str, str]:
    """Return the pairs of lines such as `trace: abc`, or of a JSON object. Raises `InvalidOption`."""
    if text.startswith("{"):
        try:
            return msgspec.json.decode(text, type=dict[str, str])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise InvalidOption("metadata", "write a JSON object whose values are text, or lines") from None
    found: dict[str, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, separator, value = line.partition(":")
        if not separator or not name.strip():
            raise InvalidOption("metadata", f"write one pair a line, such as trace: abc, not {line[:100]!r}")
        found[name.strip()] = value.strip()
    return found


def write_metadata(pairs: Mapping[str, str]) -> str:
    """Return pairs as they are written into a form: as lines, where these can hold them exactly."""
    text = "\n".join(f"{name}: {value}" for name, value in pairs.items())
    try:
        exact = not text.startswith("{") and visible_json(text) == text and read_metadata(text) == dict(pairs)
    except InvalidOption:
        exact = False
    return text if exact else pretty(msgspec.json.encode(dict(pairs)))


def read_whole(name: str, text: str) -> int:
    """Return a whole number. Raises `InvalidOption`."""
    if not text.isascii() or not text.lstrip("+-").isdigit() or len(text) > len(str(2**63)):
        raise InvalidOption(name, f"write a whole number, such as 3, not {text[:100]!r}")
    return int(text)


def read_unique(given: Mapping[str, str]) -> object:
    """Return the unique lock of the fields `unique_*` as the API takes it; None for none. Raises `InvalidUnique`."""
    ttl = given.get("unique_ttl", "")
    more = {name.removeprefix("unique_"): given[name] for name in _UNIQUE if given.get(name)}
    if not ttl:
        if more.keys() & {"key", "fields"}:
            raise InvalidUnique("say for how long, such as 1h")
        return None
    if not more:
        return ttl
    fields = [name.strip() for name in more["fields"].split(",")] if "fields" in more else None
    return {"ttl": ttl, **more, "fields": fields}
