"""Worker servers, as the JSON contract has them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from taskflow.task import ServerInfo


class RunningBody(Struct, frozen=True):
    """A task that a server works on now."""

    id: str
    type: str
    queue: str
    started_at: datetime
    deadline: datetime | None


class ServerBody(Struct, frozen=True, kw_only=True):
    """A worker server that is alive, Python's or Go's."""

    id: str
    host: str
    pid: int
    status: str
    concurrency: int
    queues: Mapping[str, int]
    strict_priority: bool
    started_at: datetime
    active_count: int
    running: list[RunningBody]


def server(info: ServerInfo) -> ServerBody:
    """A worker server."""
    return ServerBody(
        id=info.id,
        host=info.host,
        pid=info.pid,
        status=info.status,
        concurrency=info.concurrency,
        queues=info.queues,
        strict_priority=info.strict_priority,
        started_at=info.started_at,
        active_count=info.active_count,
        running=[RunningBody(run.id, run.type, run.queue, run.started_at, run.deadline) for run in info.running],
    )
