"""What a JSON Schema says, for pages: where its references lead, and in words what a value must be like.

Schemas are what workers have published: nothing in them is trusted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

_LONGEST = 300
_LIMITS = (
    ("minimum", "at least {}"),
    ("exclusiveMinimum", "more than {}"),
    ("maximum", "at most {}"),
    ("exclusiveMaximum", "less than {}"),
    ("multipleOf", "a multiple of {}"),
    ("minLength", "at least {} characters"),
    ("maxLength", "at most {} characters"),
    ("minItems", "at least {} items"),
    ("maxItems", "at most {} items"),
    ("format", "format {}"),
    ("pattern", "pattern {}"),
)


def referred(reference: str, root: object) -> dict[str, Any]:
    """Return what a reference within a schema leads to; nothing for one that leads elsewhere."""
    if not reference.startswith("#/"):
        return {}
    found = root
    for step in reference[2:].split("/"):
        found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def limits(schema: Mapping[str, Any]) -> list[str]:
    """Return what a value must be like, beside its type."""
    return [words.format(in_words(schema[name])) for name, words in _LIMITS if name in schema]


def in_words(value: object) -> str:
    """Return a value of a schema: text as it is, all else as JSON; the beginning of a long one."""
    return value[:_LONGEST] if isinstance(value, str) else as_json(value)


def as_json(value: object) -> str:
    """Return a value of a schema as JSON; the beginning of a long one."""
    return msgspec.json.encode(value).decode()[:_LONGEST]


def text_of(value: object) -> str:
    """Return what should be text; nothing if it is none."""
    return value if isinstance(value, str) else ""
