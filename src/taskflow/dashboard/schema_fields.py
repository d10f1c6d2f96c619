"""SchemaFields: the JSON Schema of a payload as people read it: its fields, one a line, those within objects too.

Schemas are what workers have published: nothing in them is trusted, and only so much of one is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from taskflow.dashboard.schemas import as_json, limits, referred, text_of

MOST_FIELDS = 200
"""How many fields are shown."""
_MOST_STEPS = 5_000
"""How much of a schema is looked at."""
_DEEPEST = 6
_LONGEST = 300
_WORDS = {
    "string": ("text", "texts"),
    "integer": ("whole number", "whole numbers"),
    "number": ("number", "numbers"),
    "boolean": ("true or false", "true or false"),
    "null": ("null", "null"),
    "object": ("object", "objects"),
}
"""What a type of JSON is called: one, and several."""


class SchemaField(Struct, frozen=True, kw_only=True):
    """A field of a payload.

    Attributes:
        path: Its name; within other fields, such as `lines[].sku`, where `[]` stands for each item, `{}` for each value.
        kind: What it holds, in words: `text`, `list of whole numbers`, `one of "a", "b"`.
        required: Whether it must be there.
        description: What it is for.
        limits: What it must be like, in words.
        default: What holds if it is left out, as JSON; None: nothing.

    """

    path: str
    kind: str
    required: bool = False
    description: str = ""
    limits: str = ""
    default: str | None = None


def schema_fields(schema: object) -> list[SchemaField]:
    """Return the fields of a schema, those of an object behind it; none if it is of no object."""
    reader = _Reader(schema)
    reader.add_fields(schema, "", ())
    return reader.found


def schema_kind(schema: object) -> str:
    """Return what a payload is in words: `object`, `list of texts`; `any JSON` if the schema does not say."""
    return _Reader(schema).kind(schema)


class _Reader:
    """Reads a schema up to the limits of this module."""

    def __init__(self, root: object) -> None:
        self.found: list[SchemaField] = []
        self._root = root
        self._steps = 0

    def add_fields(self, schema: object, path: str, within: tuple[str, ...]) -> None:
        """Add the fields of all objects in a value; `within` are the references that have led there."""
        for own, place, refs in self._objects(schema, path, within):
            required = own.get("required")
            names = required if isinstance(required, list) else []
            for name, field in own["properties"].items():
                if len(self.found) >= MOST_FIELDS:
                    return
                inner = f"{place}.{name}" if place else str(name)
                self.found.append(self._field(inner, field, required=name in names))
                self.add_fields(field, inner, refs)

    def _field(self, path: str, schema: object, *, required: bool) -> SchemaField:
        own = schema if isinstance(schema, dict) else {}
        behind, _ = self._resolved(own, ())
        return SchemaField(
            path=path,
            kind=self.kind(own),
            required=required,
            description=text_of(own.get("description")) or text_of(behind.get("description")),
            limits=", ".join(limits(behind)),
            default=as_json(own["default"]) if "default" in own else None,
        )

    def _objects(
        self, schema: object, path: str, within: tuple[str, ...]
    ) -> Iterator[tuple[dict[str, Any], str, tuple[str, ...]]]:
        """Return the objects with fields that a value holds, each with its path, and the references that led there."""
        self._steps += 1
        if self._steps > _MOST_STEPS or len(within) > _DEEPEST or path.count(".") > _DEEPEST:
            return
        own, refs = self._resolved(schema, within)
        if isinstance(own.get("properties"), dict):
            yield own, path, refs
        for choice in _choices(own):
            yield from self._objects(choice, path, refs)
        if isinstance(own.get("items"), dict):
            yield from self._objects(own["items"], f"{path}[]", refs)
        if isinstance(own.get("additionalProperties"), dict):
            yield from self._objects(own["additionalProperties"], f"{path}{{}}", refs)

    def _resolved(self, schema: object, within: tuple[str, ...]) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return a schema behind its references; nothing where they lead round in a circle, or elsewhere."""
        found = schema if isinstance(schema, dict) else {}
        while isinstance(found.get("$ref"), str):
            reference = found["$ref"]
            if reference in within:
                return {}, within
            within = (*within, reference)
            found = referred(reference, self._root)
        return found, within

    def kind(self, schema: object, depth: int = 0, *, several: bool = False) -> str:
        """Return what a value is in words."""
        self._steps += 1
        own, _ = self._resolved(schema, ())
        if self._steps > _MOST_STEPS or depth > _DEEPEST:
            return "…"
        if isinstance(own.get("enum"), list):
            return f"one of {', '.join(as_json(value) for value in own['enum'])}"[:_LONGEST]
        if "const" in own:
            return as_json(own["const"])
        if choices := _choices(own):
            return _either(self.kind(choice, depth + 1, several=several) for choice in choices)
        given = own.get("type")
        names = given if isinstance(given, list) else [given]
        return _either(self._kind_of(name, own, depth, several=several) for name in names)

    def _kind_of(self, name: object, own: Mapping[str, Any], depth: int, *, several: bool) -> str:
        if name == "array":
            first = "lists" if several else "list"
            items = own.get("items")
            return f"{first} of {self.kind(items, depth + 1, several=True)}" if isinstance(items, dict) else first
        if name == "object" and isinstance(own.get("additionalProperties"), dict):
            values = self.kind(own["additionalProperties"], depth + 1, several=True)
            return f"{_WORDS['object'][several]} of {values}"
        if isinstance(name, str) and name in _WORDS:
            return _WORDS[name][several]
        return "any JSON"


def _choices(schema: Mapping[str, Any]) -> list[Any]:
    found = schema.get("anyOf", schema.get("oneOf"))
    return found if isinstance(found, list) else []


def _either(kinds: Iterator[str]) -> str:
    return " or ".join(dict.fromkeys(kinds))[:_LONGEST]
