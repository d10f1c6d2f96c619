"""Progress, as the JSON contract has it, which is that of clients in Go: whole percentages, metadata of texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from taskflow.api.schemas.errors import ErrorBody
from taskflow.broker.progress import ProgressEntry

Status = Annotated[str, Meta(description="How the task ended: completed, failed or cancelled; empty before.")]


class ProgressBody(Struct, frozen=True, kw_only=True):
    """How far a task has come."""

    task_id: str
    percentage: Annotated[int, Meta(ge=0, le=100, description="Rounded down, so that 100 is all.")]
    stage: str
    message: str
    timestamp_ms: int
    metadata: (
        Annotated[
            Mapping[str, str], Meta(description="What the handler gave along; what is no text is JSON in a text.")
        ]
        | UnsetType
    ) = UNSET


class ProgressEntryBody(Struct, frozen=True, kw_only=True):
    """One entry of a progress stream; `status` is set on the last one."""

    progress: ProgressBody
    is_final: bool
    status: Status
    stream_id: str


class ProgressHistory(Struct, frozen=True):
    """What is kept of a task's progress, oldest first."""

    task_id: str
    count: int
    history: list[ProgressEntryBody]


class ProgressInfoBody(Struct, frozen=True, kw_only=True):
    """How much progress a task has published; the entries are named by their stream ids."""

    task_id: str
    has_progress: bool
    length: int
    first_entry: str
    last_entry: str


class ProgressEvent(ProgressBody, frozen=True, kw_only=True):
    """An entry of the progress stream of one task that is followed."""

    is_final: bool
    status: Status
    stream_id: str


class TaggedProgressEvent(ProgressEntryBody, frozen=True, kw_only=True):
    """An entry of the progress stream of one of several tasks that are followed."""

    task_id: str


class ErrorEvent(Struct, frozen=True, kw_only=True):
    """What broke a stream off, or ended that of one task; `message` is the same as `error`."""

    task_id: str | UnsetType = UNSET
    message: str
    error: str
    code: str
    details: dict[str, Any]


def progress(entry: ProgressEntry) -> ProgressBody:
    """How far a task had come."""
    return ProgressBody(**_progress(entry))


def progress_entry(entry: ProgressEntry) -> ProgressEntryBody:
    """One entry of a progress stream."""
    return ProgressEntryBody(progress=progress(entry), **_place(entry))


def progress_event(entry: ProgressEntry) -> ProgressEvent:
    """An entry, as who follows one task is told of it."""
    return ProgressEvent(**_progress(entry), **_place(entry))


def tagged_event(entry: ProgressEntry) -> TaggedProgressEvent:
    """An entry, as who follows several tasks is told of it."""
    return TaggedProgressEvent(task_id=entry.progress.task_id, progress=progress(entry), **_place(entry))


def error_event(body: ErrorBody, task_id: str | None = None) -> ErrorEvent:
    """An error, as who follows tasks is told of it."""
    return ErrorEvent(
        task_id=task_id or UNSET, message=body.error, error=body.error, code=body.code, details=body.details
    )


def _progress(entry: ProgressEntry) -> dict[str, Any]:
    found = entry.progress
    return {
        "task_id": found.task_id,
        "percentage": min(max(int(found.percentage), 0), 100),
        "stage": found.stage,
        "message": found.message,
        "timestamp_ms": found.timestamp_ms,
        "metadata": UNSET if found.metadata is None else {name: _text(value) for name, value in found.metadata.items()},
    }


def _place(entry: ProgressEntry) -> dict[str, Any]:
    return {"is_final": entry.is_final, "status": entry.status or "", "stream_id": entry.stream_id}


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
