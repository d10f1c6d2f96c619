"""Task types, as the JSON contract has them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from taskflow.api.schemas.unique import UniqueBody, unique_body
from taskflow.api.schemas.values import Span, span
from taskflow.broker.catalog import TaskType


class TaskTypeBody(Struct, frozen=True, kw_only=True):
    """A task type that a worker has published. With `prefix`, it stands for all types that begin so."""

    type: str
    prefix: bool
    schema: dict[str, Any] | None
    doc: str
    queue: str | None
    max_retries: int | None
    timeout: Span | None
    unique: Span | UniqueBody | None
    callback_url: str | None
    last_seen: datetime | None


def task_type(entry: TaskType) -> TaskTypeBody:
    """A task type."""
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
        last_seen=entry.last_seen,
    )
