"""PayloadForm: the schema of a type -> fields of a form, and what was written into them -> JSON.

A field that is left empty is left out of the payload, so a default is the worker's. What a form cannot say exactly (an empty text, a
field that the schema does not name) is for raw JSON. Schemas are what workers have published: nothing in them is trusted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

import msgspec
from msgspec import Struct

from taskflow.dashboard.schemas import in_words, limits, referred, text_of
from taskflow.dashboard.values import visible_json

Kind = Literal["text", "number", "choice", "json"]
MOST_BYTES = 128 * 1024
"""The largest payload that is written in a browser."""
MOST_FIELDS = 100
"""A schema with more is for raw JSON."""
_REFERENCES = 20
_LONGEST = 300
_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Choice(Struct, frozen=True):
    """A value that may be chosen: its JSON, and what it is called."""

    value: str
    label: str


class PayloadField(Struct, frozen=True, kw_only=True):
    """A field of a payload.

    Attributes:
        name: Its name.
        title: What it is called.
        kind: How it is written: text as it is, a number, one of the choices, or JSON.
        whole: Whether a number must be whole.
        required: Whether it must be there.
        description: What it is for.
        default: What holds if it is left out, as text; None: nothing.
        limits: What it must be like, in words.
        choices: What may be chosen.

    """

    name: str
    title: str
    kind: Kind
    whole: bool = False
    required: bool = False
    description: str = ""
    default: str | None = None
    limits: str = ""
    choices: tuple[Choice, ...] = ()

    def read(self, text: str) -> msgspec.Raw:
        """Return what was written as JSON. Raises `ValueError`, which says what to write."""
        match self.kind:
            case "text":
                return msgspec.Raw(msgspec.json.encode(text.replace("\r\n", "\n")))
            case "number":
                return self._number(text.strip())
            case "choice":
                if all(text != choice.value for choice in self.choices):
                    raise ValueError("choose one of the values")
                return msgspec.Raw(text.encode())
            case "json":
                return raw_json(text)

    def write(self, value: msgspec.Raw) -> str | None:
        """Return JSON as it is written into the field; None if the field cannot hold it."""
        text = bytes(value).decode()
        if self.kind != "text":
            return text
        plain = msgspec.json.decode(value)
        return plain if isinstance(plain, str) and plain else None

    def _number(self, text: str) -> msgspec.Raw:
        try:
            msgspec.json.decode(text, type=float)
        except _MALFORMED:
            raise ValueError(
                "write a whole number, such as 3" if self.whole else "write a number, such as 0.5"
            ) from None
        return msgspec.Raw(text.encode())


class PayloadForm(Struct, frozen=True):
    """The fields of a payload that is an object."""

    fields: tuple[PayloadField, ...]

    @classmethod
    def of(cls, schema: object) -> Self | None:
        """Return the form of a schema; None if it is for raw JSON: no schema, no object, an object without fields."""
        found = _resolved(schema, schema)
        properties = found.get("properties")
        if not isinstance(properties, dict) or not 0 < len(properties) <= MOST_FIELDS:
            return None
        required = found.get("required")
        names = required if isinstance(required, list) else []
        return cls(tuple(_field(str(name), each, schema, required=name in names) for name, each in properties.items()))

    def read(self, given: Mapping[str, str]) -> tuple[bytes, dict[str, str]]:
        """Return the payload of what was written by the fields' names, and what is wrong with it by field."""
        parts: dict[str, msgspec.Raw] = {}
        errors: dict[str, str] = {}
        for field in self.fields:
            text = given.get(field.name, "")
            if not (text if field.kind == "text" else text.strip()):
                continue
            try:
                parts[field.name] = field.read(text)
            except ValueError as error:
                errors[field.name] = str(error)
        return msgspec.json.encode(parts), errors

    def write(self, payload: bytes) -> dict[str, str] | None:
        """Return what is to be written into the fields for a payload; None if they cannot say exactly that."""
        try:
            parts = msgspec.json.decode(payload, type=dict[str, msgspec.Raw]) if payload.strip() else {}
        except _MALFORMED:
            return None
        known = {field.name: field for field in self.fields}
        if not parts.keys() <= known.keys():
            return None
        texts = {name: known[name].write(value) for name, value in parts.items()}
        given = {name: text for name, text in texts.items() if text is not None and _can_be_typed(text)}
        again, errors = self.read(given)
        if errors or msgspec.json.decode(again) != (msgspec.json.decode(payload) if payload.strip() else {}):
            return None
        return given

    def at(self, path: str, expected: str | None) -> str | None:
        """Return the name of the field that an error of the payload is about: its path, or the field that is missing."""
        for field in self.fields:
            if path == f"$.{field.name}" or path.startswith((f"$.{field.name}.", f"$.{field.name}[")):
                return field.name
            if path == "$" and expected == f"a field {field.name!r}":
                return field.name
        return None


def raw_json(text: str) -> msgspec.Raw:
    """Return JSON that somebody has written. Raises `ValueError`, which says what is wrong with it."""
    try:
        msgspec.json.decode(text)
    except _MALFORMED as error:
        raise ValueError(f"this is no JSON: {error}"[:_LONGEST]) from None
    return msgspec.Raw(text.encode())


def examples(schema: object) -> list[str]:
    """Return the examples of a schema, as indented JSON."""
    found = schema.get("examples") if isinstance(schema, dict) else None
    return [pretty(msgspec.json.encode(each)) for each in found] if isinstance(found, list) else []


def is_writable(payload: bytes) -> bool:
    """Whether a payload can be written in a browser: it is JSON, or nothing, and not too large."""
    if len(payload) > MOST_BYTES:
        return False
    try:
        msgspec.json.decode(payload or b"null")
    except _MALFORMED:
        return False
    return True


def pretty(data: bytes) -> str:
    """Return JSON indented, and with nothing invisible in it; what is no JSON as it is."""
    try:
        return visible_json(msgspec.json.format(data, indent=2).decode())
    except _MALFORMED:
        return data.decode(errors="replace")


def _field(name: str, given: object, root: object, *, required: bool) -> PayloadField:
    own = given if isinstance(given, dict) else {}
    schema = _resolved(own, root)
    kind, choices = _kind(schema)
    return PayloadField(
        name=name,
        title=text_of(own.get("title")) or name,
        kind=kind,
        whole=schema.get("type") == "integer",
        required=required,
        description=text_of(own.get("description")) or text_of(schema.get("description")),
        default=in_words(own["default"]) if own.get("default") is not None else None,
        limits=_limits(schema),
        choices=choices,
    )


def _kind(schema: Mapping[str, Any]) -> tuple[Kind, tuple[Choice, ...]]:
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if schema.get("type") == "boolean" and values is None:
        values = [True, False]
    if isinstance(values, list) and values and not any(isinstance(each, dict | list) for each in values):
        return "choice", tuple(Choice(msgspec.json.encode(each).decode(), in_words(each)) for each in values)
    match schema.get("type"):
        case "string":
            return "text", ()
        case "integer" | "number":
            return "number", ()
    return "json", ()


def _resolved(schema: object, root: object) -> dict[str, Any]:
    """Return a schema behind its references, and without the null that it may be instead."""
    found = schema if isinstance(schema, dict) else {}
    for _ in range(_REFERENCES):
        if isinstance(found.get("$ref"), str):
            found = referred(found["$ref"], root)
            continue
        choices = found.get("anyOf", found.get("oneOf"))
        if not isinstance(choices, list):
            break
        real = [each for each in choices if isinstance(each, dict) and each.get("type") != "null"]
        if len(real) != 1:
            break
        found = real[0]
    kinds = found.get("type")
    if isinstance(kinds, list):
        real_kinds = [kind for kind in kinds if kind != "null"]
        found = {**found, "type": real_kinds[0] if len(real_kinds) == 1 else None}
    return found


def _limits(schema: Mapping[str, Any]) -> str:
    parts = limits(schema)
    if schema.get("type") == "integer":
        parts.insert(0, "a whole number")
    if schema.get("type") in {"array", "object"}:
        parts.insert(0, "a list, as JSON" if schema["type"] == "array" else "an object, as JSON")
    text = ", ".join(parts)
    return text[:1].upper() + text[1:]


def _can_be_typed(text: str) -> bool:
    """Whether a browser sends text back as it was, and all of it is seen."""
    return "\r" not in text and "\0" not in text and visible_json(text) == text
