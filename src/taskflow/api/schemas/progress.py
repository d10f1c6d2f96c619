"""Progress, as the JSON contract has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from taskflow.broker.progress import ProgressEntry


class ProgressBody(Struct, frozen=True, kw_only=True):
    """How far a task has come."""

    task_id: str
    percentage: float
    stage: str
    message: str
    timestamp_ms: int
    metadata: Mapping[str, Any] | UnsetType = UNSET


class ProgressEntryBody(Struct, frozen=True, kw_only=True):
    """One entry of a progress stream; `status` is set on the last one."""

    progress: ProgressBody
    is_final: bool
    status: Annotated[str, Meta(description="completed, failed or cancelled")] | UnsetType = UNSET
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
    first_entry: str | None
    last_entry: str | None


def progress(entry: ProgressEntry) -> ProgressBody:
    """How far a task had come; a whole percentage is a whole number, as the clients in Go expect it."""
    found = entry.progress
    whole = float(found.percentage).is_integer()
    return ProgressBody(
        task_id=found.task_id,
        percentage=int(found.percentage) if whole else found.percentage,
        stage=found.stage,
        message=found.message,
        timestamp_ms=found.timestamp_ms,
        metadata=UNSET if found.metadata is None else found.metadata,
    )


def progress_entry(entry: ProgressEntry) -> ProgressEntryBody:
    """One entry of a progress stream."""
    return ProgressEntryBody(
        progress=progress(entry), is_final=entry.is_final, status=entry.status or UNSET, stream_id=entry.stream_id
    )
