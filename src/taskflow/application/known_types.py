"""KnownTypes: what the catalog says of task types, kept for a second, with their payload schemas compiled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

import jsonschema_rs
import msgspec
import structlog
from msgspec import Struct

from taskflow.broker.catalog import CatalogEntry, TaskCatalog, TaskType
from taskflow.errors import InvalidPayload, InvalidTaskType
from taskflow.errors.missing import did_you_mean
from taskflow.task import close_types

KEEP_SECONDS = 1.0
"""For how long what was read of the catalog is taken to be true. A type that is not in it is looked for at once."""
_LONGEST_MESSAGE = 300
_OWN = "taskflow:"
_LOG = structlog.get_logger("taskflow.application")


class PayloadCheck(Struct, frozen=True):
    """The payload schema of a version of a type, compiled."""

    validator: jsonschema_rs.Validator
    takes_object: bool

    def fits(self, data: bytes) -> bool:
        """Whether a payload fits."""
        return self.validator.is_valid(self._value(data))

    def check(self, data: bytes) -> None:
        """Check a payload. Raises `InvalidPayload`: `path`, `expected` and `got` say where and why."""
        for error in self.validator.iter_errors(self._value(data)):
            raise _invalid(error)

    def _value(self, data: bytes) -> Any:
        """Return a payload's value; an empty one is to a worker no fields, where it expects an object."""
        if not data:
            return {} if self.takes_object else None
        return decode_payload(data)


class KnownType(Struct, frozen=True):
    """A type of the catalog: what its newest live version says, and the payloads that its live versions take.

    What one of them takes is let through, whichever worker gets the task: what the workers that run would take must not be refused
    because a newer version has begun to take the place of theirs.
    """

    entry: TaskType
    checks: tuple[PayloadCheck, ...]
    """The schemas of the live versions, the newest first; none: any payload will do."""

    def check(self, data: bytes) -> None:
        """Check a payload. Raises `InvalidPayload` as the newest version sees it: `path`, `expected` and `got` say where and why."""
        if self.checks and not any(check.fits(data) for check in self.checks):
            self.checks[0].check(data)


class KnownTypes:
    """The catalog as a door of the service needs it: it costs at most one round trip a second.

    Args:
        catalog: What the workers publish.
        allowed: Globs of types that are accepted although no worker has published them.

    """

    def __init__(self, catalog: TaskCatalog, *, allowed: Sequence[str] = ()) -> None:
        self._catalog = catalog
        self._allowed = tuple(allowed)
        self._exact: dict[str, KnownType] = {}
        self._prefixes: list[KnownType] = []
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def find(self, task_type: str) -> KnownType | None:
        """Return the entry that serves a type; None for a type that `allowed` lets through.

        Raises:
            InvalidTaskType: The type is neither known nor allowed.

        """
        if is_our_own(task_type):
            raise InvalidTaskType(f"types that begin with {_OWN!r} are TaskFlow's own; nobody else creates such tasks")
        asked_at = time.monotonic()
        if asked_at - self._read_at > KEEP_SECONDS and not self._reading.locked():
            await self._read(asked_at)
        entry = self._serving(task_type)
        if entry is None and not self._is_allowed(task_type):
            await self._read(asked_at)
            entry = self._serving(task_type)
            if entry is None:
                raise self._unknown(task_type)
        return entry

    async def serving(self, task_type: str) -> KnownType | None:
        """Return the entry that serves a type; None if there is none."""
        try:
            return await self.find(task_type)
        except InvalidTaskType:
            return None

    async def _read(self, asked_at: float) -> None:
        """Read the catalog, unless another call has begun to since we were asked."""
        async with self._reading:
            if self._read_at >= asked_at:
                return
            began_at = time.monotonic()
            types = [_known(entry) for entry in await self._catalog.entries()]
            self._exact = {known.entry.type: known for known in types if not known.entry.prefix}
            prefixes = [known for known in types if known.entry.prefix]
            self._prefixes = sorted(prefixes, key=lambda known: len(known.entry.type), reverse=True)
            self._read_at = began_at

    def _serving(self, task_type: str) -> KnownType | None:
        known = self._exact.get(task_type)
        if known is None and self._prefixes:
            return next((prefix for prefix in self._prefixes if prefix.entry.serves(task_type)), None)
        return known

    def _is_allowed(self, task_type: str) -> bool:
        return any(fnmatchcase(task_type, glob) for glob in self._allowed)

    def _unknown(self, task_type: str) -> InvalidTaskType:
        names = [*self._exact, *(f"{prefix.entry.type}*" for prefix in self._prefixes)]
        close = close_types(task_type, names)
        return InvalidTaskType(
            f"no worker serves {task_type[:100]!r}{did_you_mean(close)}; start a worker that serves it, or let the type through with the "
            "setting api.allow_types",
            close=close,
        )


def is_our_own(task_type: str) -> bool:
    """Whether a type is TaskFlow's own: what its tasks send is signed, so nobody else chooses their payload."""
    return task_type.startswith(_OWN)


def decode_payload(data: bytes) -> Any:
    """Return the value of a JSON payload. Raises `InvalidPayload`."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidPayload(f"must be JSON: {error}") from error


def _known(entry: CatalogEntry) -> KnownType:
    checks = [_check(version.entry.schema) for version in entry.live]
    return KnownType(entry.current, tuple(check for check in checks if check is not None) if all(checks) else ())


def _check(schema: dict[str, Any] | None) -> PayloadCheck | None:
    """Return the check of a schema; None if any payload will do."""
    validator = None if schema is None else _validator(msgspec.json.encode(schema))
    if schema is None or validator is None:
        return None
    return PayloadCheck(validator, schema.get("type") == "object")


@lru_cache(maxsize=1024)
def _validator(schema: bytes) -> jsonschema_rs.Validator | None:
    """Return the compiled schema; None if it cannot be compiled: then the worker alone checks the payload."""
    try:
        return jsonschema_rs.validator_for(msgspec.json.decode(schema), retriever=_refuse)
    except ValueError as error:
        _LOG.warning("a published payload schema cannot be used", error=str(error)[:_LONGEST_MESSAGE])
        return None


def _refuse(address: str) -> Any:
    """A schema comes from Redis, so it must not make this process fetch what it names."""
    raise ValueError(f"schemas are not fetched from elsewhere: {address!r}")


def _invalid(error: jsonschema_rs.ValidationError) -> InvalidPayload:
    path = "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path)
    expected, got = _expectation(error)
    return InvalidPayload(f"{_shortened(error.message)} (at {path})", path=path, expected=expected, got=got)


def _expectation(error: jsonschema_rs.ValidationError) -> tuple[str, str]:
    """Return in a few words what the schema wants and what is there instead."""
    kind: Any = error.kind
    facts = kind.as_dict()
    match kind.name:
        case "required":
            return f"a field {facts['property']!r}", "nothing"
        case "additionalProperties" | "unevaluatedProperties":
            return "no other fields", ", ".join(map(repr, facts["unexpected"]))[:_LONGEST_MESSAGE]
        case "type":
            return " or ".join(facts["types"]), _json_type(error.instance)
    limits = ", ".join(f"{value!r:.100}" for name, value in facts.items() if name != "context")
    return f"{kind.name} {limits}".rstrip(), _shortened(repr(error.instance))


def _json_type(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}…"
