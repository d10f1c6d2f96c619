"""Types: what kinds of tasks there are, how they go, and what their payloads are like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import msgspec
from litestar import Response, get
from msgspec import Struct

from taskflow.application.known_types import is_our_own
from taskflow.application.unique import shown as lock_words
from taskflow.broker.catalog import CatalogEntry, TaskType
from taskflow.broker.type_stats import TypeStats
from taskflow.dashboard.lifeline import first_line
from taskflow.dashboard.payload_form import examples
from taskflow.dashboard.request import PageRequest
from taskflow.dashboard.schema_fields import schema_fields, schema_kind
from taskflow.dashboard.values import shown
from taskflow.errors import InvalidOption
from taskflow.task import close_types

FRESH = 2.0
"""For how many seconds what was read for one viewer is shown to others."""
SPANS = {"today": 1, "8d": 8}
"""Of how many days attempts are counted, today among them: days of UTC."""


class TypeRow(Struct, frozen=True):
    """A type, how its attempts went (None: nobody counted any), and how many servers serve it."""

    entry: CatalogEntry
    stats: TypeStats | None
    serving: int

    @property
    def attempts(self) -> int:
        """How many attempts ended."""
        return self.stats.succeeded + self.stats.failed if self.stats else 0

    @property
    def failing(self) -> str:
        """How bad its share of failures is: `bad`, `warn` or nothing."""
        rate = self.stats.success_rate if self.stats else None
        if rate is None:
            return ""
        return "bad" if rate < 0.5 else "warn" if rate < 0.9 else ""  # noqa: PLR2004 - half of all, and one in ten


@get("/types", opt={"limited": True})
async def show(request: PageRequest) -> Response[bytes]:
    """Show all types, or the one that `name` says; `span` says of which days attempts are counted."""
    span = request.asked("span", next(iter(SPANS)))
    if span not in SPANS:
        raise InvalidOption("span", f"must be one of {', '.join(SPANS)}")
    entries = await request.glance("types", FRESH, request.service.types)
    stats = await request.glance(("type stats", span), FRESH, lambda: request.service.type_stats(SPANS[span]))
    rows = [_row(entry, stats) for entry in entries]
    name = request.asked("name", "")
    return _one(request, rows, name, span) if name else _all(request, rows, span)


def _row(entry: CatalogEntry, stats: Mapping[str, TypeStats]) -> TypeRow:
    return TypeRow(entry, stats.get(entry.current.name), entry.serving)


def _all(request: PageRequest, rows: Sequence[TypeRow], span: str) -> Response[bytes]:
    text = request.asked("q", "").strip()
    fitting = [row for row in rows if fits(row.entry.current, text)]
    return request.page(
        "types.html", rows=fitting, total=len(rows), text=text, span=span, spans=tuple(SPANS), first_line=first_line
    )


def fits(entry: TaskType, text: str) -> bool:
    """Whether a type's name or documentation holds a text, in small letters or large ones."""
    wanted = text.casefold()
    return wanted in entry.name.casefold() or wanted in entry.doc.casefold()


def _one(request: PageRequest, rows: Sequence[TypeRow], name: str, span: str) -> Response[bytes]:
    row = serving(rows, name)
    if row is None:
        close = close_types(name, [each.entry.current.name for each in rows])
        return request.page("type_unknown.html", status=404, name=name, close=close)
    wanted = request.asked("version", "")
    version = next((each for each in row.entry.versions if each.id == wanted), row.entry.versions[0])
    schema = version.entry.schema
    return request.page(
        "type.html",
        row=row,
        entry=row.entry,
        version=version,
        kind=None if schema is None else schema_kind(schema),
        fields=schema_fields(schema),
        schema=None if schema is None else shown(msgspec.json.encode(schema)),
        examples=[shown(each.encode()) for each in examples(schema)],
        lock=lock(version.entry),
        can_be_created=not is_our_own(row.entry.current.type),
        asked=name,
        timeout=None if version.entry.timeout_seconds is None else timedelta(seconds=version.entry.timeout_seconds),
        span=span,
        spans=tuple(SPANS),
    )


def serving(rows: Sequence[TypeRow], name: str) -> TypeRow | None:
    """Return the row of a type by its name: that of the catalog, a prefix without its star, or a type that a prefix serves."""
    for row in rows:
        if name in {row.entry.current.name, row.entry.current.type}:
            return row
    serving = [row for row in rows if row.entry.current.serves(name)]
    return max(serving, key=lambda row: len(row.entry.current.type), default=None)


def lock(entry: TaskType) -> str:
    """Return the unique lock of a type in a few words; '' for none."""
    found = lock_words(entry.unique)
    if isinstance(found, dict):
        parts = {
            name: ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
            for name, value in found.items()
        }
        return "; ".join([str(parts.pop("ttl")), *(f"{name} {value}" for name, value in parts.items())])
    return found or ""


HANDLERS = [show]
