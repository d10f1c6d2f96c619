"""Task types, as the JSON contract has them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from taskflow.api.schemas.unique import UniqueBody, unique_body
from taskflow.api.schemas.values import Span, span
from taskflow.broker.catalog import CatalogEntry, TypeVersion


class TypeVersionBody(Struct, frozen=True, kw_only=True):
    """A version of a task type. What an accepted one takes as payload is taken; `serving`: how many servers serve it now."""

    id: str
    version: str | None
    schema: dict[str, Any] | None
    accepted: bool
    serving: int
    first_seen: datetime | None
    last_seen: datetime | None


class ServingBody(Struct, frozen=True, kw_only=True):
    """A worker server that serves a type now, and the id of the version that it serves."""

    id: str
    host: str
    pid: int
    status: str
    queues: Mapping[str, int]
    version_id: str


class TaskTypeBody(Struct, frozen=True, kw_only=True):
    """A task type that workers have published: what its newest version says. With `prefix`, it stands for all types that begin so.

    `schema` is a JSON Schema, with `description`, `default` and `examples` where the handler has them. `serving` says how many servers
    serve the type now, `servers` which; a key that is limited to some queues sees none of them.
    """

    type: str
    prefix: bool
    schema: dict[str, Any] | None
    doc: str
    queue: str | None
    max_retries: int | None
    timeout: Span | None
    unique: Span | UniqueBody | None
    callback_url: str | None
    version: str | None
    first_seen: datetime | None
    last_seen: datetime | None
    versions: list[TypeVersionBody]
    serving: int
    servers: list[ServingBody]


def task_type(known: CatalogEntry) -> TaskTypeBody:
    """A task type."""
    entry = known.current
    seconds = entry.timeout_seconds
    return TaskTypeBody(
        type=entry.type,
        prefix=entry.prefix,
        schema=entry.schema,
        doc=entry.doc,
        queue=entry.queue,
        max_retries=entry.max_retries,
        timeout=span(None if seconds is None else timedelta(seconds=seconds)),
        unique=unique_body(entry.unique),
        callback_url=entry.callback_url,
        version=entry.version,
        first_seen=known.first_seen,
        last_seen=known.last_seen,
        versions=[_version(version) for version in known.versions],
        serving=known.serving,
        servers=[
            ServingBody(
                id=server.id,
                host=server.host,
                pid=server.pid,
                status=server.status,
                queues=server.queues,
                version_id=version.id,
            )
            for version, server in known.servers
        ],
    )


def _version(version: TypeVersion) -> TypeVersionBody:
    return TypeVersionBody(
        id=version.id,
        version=version.entry.version,
        schema=version.entry.schema,
        accepted=version.live,
        serving=version.serving,
        first_seen=version.entry.first_seen,
        last_seen=version.entry.last_seen,
    )
