"""ProgressStream: what tasks publish of how far they have come, in one Redis stream a task.

Format (the seed service's): key `progress:<task id>`, about 1,000 entries, gone an hour after the last. Entry: task_id,
percentage (whole: its readers know no others), percentage_exact (ours, if it is not), stage, message, timestamp_ms, metadata (JSON, if any); the last one also is_final="true" and status
(completed, failed, cancelled). A message on a channel of the task's own wakes who follows it, so nobody polls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from taskflow.broker.queue import Broker
from taskflow.task import Progress
from taskflow.wire.keys import PROGRESS_CHANNEL, PROGRESS_STREAM

STREAM_ENTRIES = 1000
STREAM_SECONDS = 3600
_MOST_MILLISECONDS = 2**63 - 1


class ProgressEntry(Struct, frozen=True, kw_only=True):
    """One entry of a stream: `status` (completed, failed, cancelled) is set on the last one."""

    stream_id: str
    progress: Progress
    is_final: bool = False
    status: str | None = None


def commands(
    progress: Progress, *, status: str | None = None, entries: int = STREAM_ENTRIES, seconds: int = STREAM_SECONDS
) -> list[tuple[Any, ...]]:
    """Return the Redis commands that publish an entry; with a status it is the last one."""
    key = PROGRESS_STREAM + progress.task_id
    fields: list[Any] = [
        "task_id",
        progress.task_id,
        "percentage",
        int(progress.percentage),
        "stage",
        progress.stage,
        "message",
        progress.message,
        "timestamp_ms",
        progress.timestamp_ms,
    ]
    if not float(progress.percentage).is_integer():
        fields += ["percentage_exact", f"{progress.percentage:g}"]
    if progress.metadata is not None:
        fields += ["metadata", msgspec.json.encode(progress.metadata)]
    if status is not None:
        fields += ["is_final", "true", "status", status]
    return [
        ("XADD", key, "MAXLEN", "~", entries, "*", *fields),
        ("EXPIRE", key, seconds),
        ("PUBLISH", PROGRESS_CHANNEL + progress.task_id, status or ""),
    ]


class ProgressStream:
    """The progress streams of a broker's Redis server."""

    def __init__(self, broker: Broker, *, entries: int = STREAM_ENTRIES, seconds: int = STREAM_SECONDS) -> None:
        self._broker = broker
        self._entries = entries
        self._seconds = seconds

    async def publish(self, progress: Progress, *, status: str | None = None) -> None:
        """Add an entry to a task's stream; with a status it is the last one."""
        await self.publish_all([(progress, status)])

    async def publish_all(self, entries: Sequence[tuple[Progress, str | None]]) -> None:
        """Add entries to their tasks' streams in one round trip."""
        batch = [
            command
            for progress, status in entries
            for command in commands(progress, status=status, entries=self._entries, seconds=self._seconds)
        ]
        await self._broker.execute(*batch)

    async def latest(self, task_id: str) -> ProgressEntry | None:
        """Return the newest entry, None if there is none."""
        (found,) = await self._broker.execute(("XREVRANGE", PROGRESS_STREAM + task_id, "+", "-", "COUNT", 1))
        return read_entry(*found[0]) if found else None

    async def history(self, task_id: str, *, after: str | None = None, count: int | None = None) -> list[ProgressEntry]:
        """Return the entries, oldest first; `after` is the id of the entry to begin behind."""
        (found,) = await self._broker.execute(range_command(task_id, after=after, count=count))
        return read_range(found)

    async def find(self, task_id: str, stream_id: str) -> ProgressEntry | None:
        """Return the entry of an id, None if it is not kept."""
        (found,) = await self._broker.execute(("XRANGE", PROGRESS_STREAM + task_id, stream_id, stream_id))
        return read_entry(*found[0]) if found else None

    async def length(self, task_id: str) -> int:
        """Return how many entries there are."""
        (count,) = await self._broker.execute(("XLEN", PROGRESS_STREAM + task_id))
        return int(count)


def range_command(task_id: str, *, after: str | None = None, count: int | None = None) -> tuple[Any, ...]:
    """Return the Redis command that reads a task's entries, oldest first, behind the one with the id `after`."""
    first = f"({after}" if after else "-"
    most = () if count is None else ("COUNT", count)
    return ("XRANGE", PROGRESS_STREAM + task_id, first, "+", *most)


def read_range(found: Sequence[Any]) -> list[ProgressEntry]:
    """Return the entries of a reply to `range_command`."""
    return [read_entry(*item) for item in found]


def read_entry(stream_id: bytes, fields: Sequence[bytes]) -> ProgressEntry:
    """Return an entry as it stands in the stream, names and values in turn; what cannot be read counts as not set."""
    words = [word.decode(errors="replace") for word in fields]
    text = dict(zip(words[::2], words[1::2], strict=True))
    progress = Progress(
        task_id=text.get("task_id", ""),
        percentage=_number(text.get("percentage_exact") or text.get("percentage")),
        stage=text.get("stage", ""),
        message=text.get("message", ""),
        timestamp_ms=_milliseconds(text.get("timestamp_ms")),
        metadata=_metadata(text.get("metadata")),
    )
    final = text.get("is_final") == "true"
    return ProgressEntry(
        stream_id=stream_id.decode(), progress=progress, is_final=final, status=text.get("status") if final else None
    )


def _number(text: str | None) -> float:
    try:
        number = float(text or 0)
    except ValueError:
        return 0.0
    return number if math.isfinite(number) else 0.0


def _milliseconds(text: str | None) -> int:
    found = int(_number(text))
    return found if abs(found) <= _MOST_MILLISECONDS else 0


def _metadata(text: str | None) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(text, type=dict[str, Any]) if text else None
    except msgspec.MsgspecError:
        return None
