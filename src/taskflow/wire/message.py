"""Task messages and server records <-> bytes.

The protobuf classes are used as they are: no copy into objects of our own on the way of a task. Fields that a newer
peer added survive, because protobuf keeps what it does not know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from taskflow.errors import MessageInvalid
from taskflow.task import RunningTask, ServerInfo
from taskflow.wire import asynq_pb2

TaskMessage = asynq_pb2.TaskMessage
"""A task on the wire; asynq.proto describes its fields."""

_LONGEST_SPAN = 1000 * 365 * 24 * 3600
UNDECODABLE_TYPE = "taskflow:undecodable"
"""The type under which a message that cannot be decoded is archived, its bytes as the payload."""
UNDECODABLE = "the task message cannot be decoded; its bytes are the payload now"
"""The error text of such a task."""

GO_ZERO_TIME = Timestamp(seconds=-62135596800)
"""Go's zero time: "never"."""


def decode(data: bytes) -> asynq_pb2.TaskMessage:
    """Return the message that the bytes hold.

    Raises:
        MessageInvalid: They are no task message, or one without a type.

    """
    try:
        message = asynq_pb2.TaskMessage.FromString(data)
    except DecodeError as error:
        raise MessageInvalid(f"these {len(data)} bytes are not a task message: {error}") from None
    if not message.type:
        raise MessageInvalid(f"these {len(data)} bytes are not a task message: the type is missing")
    return message


def undecodable(task_id: str, queue: str, data: bytes) -> asynq_pb2.TaskMessage:
    """Return a message that every tool can read, with the bytes that could not be decoded as its payload."""
    return asynq_pb2.TaskMessage(type=UNDECODABLE_TYPE, id=task_id, queue=queue, payload=data)


def copy(message: asynq_pb2.TaskMessage) -> asynq_pb2.TaskMessage:
    """Return a message with the same fields, unknown ones too."""
    twin = asynq_pb2.TaskMessage()
    twin.CopyFrom(message)
    return twin


def completed(message: asynq_pb2.TaskMessage, *, at: float) -> bytes:
    """Return the bytes of the message of a task that succeeded at a time (Unix s)."""
    twin = copy(message)
    twin.completed_at = int(at)
    return twin.SerializeToString()


def failed(message: asynq_pb2.TaskMessage, *, at: float, error: str, count: bool) -> bytes:
    """Return the bytes of the message of a task that failed at a time (Unix s); `count` says whether it costs a retry."""
    twin = copy(message)
    twin.last_failed_at = int(at)
    twin.error_msg = printable(error)
    if count:
        twin.retried += 1
    return twin.SerializeToString()


def with_payload(message: asynq_pb2.TaskMessage, payload: bytes) -> bytes:
    """Return the bytes of the message with another payload."""
    twin = copy(message)
    twin.payload = payload
    return twin.SerializeToString()


def printable(text: str) -> str:
    """Return the text in a form that UTF-8, and so protobuf, can carry."""
    return text.encode("utf-8", "backslashreplace").decode()


def encode_server(info: ServerInfo) -> bytes:
    """Return the bytes of a worker server's record."""
    record = asynq_pb2.ServerInfo(
        host=info.host,
        pid=info.pid,
        server_id=info.id,
        concurrency=info.concurrency,
        queues=dict(info.queues),
        strict_priority=info.strict_priority,
        status=info.status,
        start_time=timestamp(info.started_at),
        active_worker_count=info.active_count,
    )
    return record.SerializeToString()


def encode_running(task: RunningTask, *, host: str, pid: int, server_id: str) -> bytes:
    """Return the bytes of the record of a task that a server works on."""
    record = asynq_pb2.WorkerInfo(
        host=host,
        pid=pid,
        server_id=server_id,
        task_id=task.id,
        task_type=task.type,
        task_payload=task.payload,
        queue=task.queue,
        start_time=timestamp(task.started_at),
        deadline=timestamp(task.deadline),
    )
    return record.SerializeToString()


def decode_server(data: bytes, running: Sequence[bytes]) -> ServerInfo:
    """Return what a server's record and those of its running tasks say; of these, what cannot be read is left out.

    Raises:
        MessageInvalid: The bytes are no such record.

    """
    try:
        record = asynq_pb2.ServerInfo.FromString(data)
    except DecodeError as error:
        raise MessageInvalid(f"not a server record: {error}") from None
    return ServerInfo(
        id=record.server_id,
        host=record.host,
        pid=record.pid,
        concurrency=record.concurrency,
        queues=dict(record.queues),
        strict_priority=record.strict_priority,
        status=record.status,
        started_at=read_timestamp(record.start_time) or datetime.fromtimestamp(0, UTC),
        active_count=record.active_worker_count,
        running=tuple(_readable(running)),
    )


def _readable(running: Iterable[bytes]) -> Iterator[RunningTask]:
    for data in running:
        with suppress(DecodeError):
            yield decode_running(data)


def decode_running(data: bytes) -> RunningTask:
    """Return what the record of a running task says; protobuf's `DecodeError` if it is none."""
    record = asynq_pb2.WorkerInfo.FromString(data)
    return RunningTask(
        id=record.task_id,
        type=record.task_type,
        queue=record.queue,
        payload=record.task_payload,
        started_at=read_timestamp(record.start_time) or datetime.fromtimestamp(0, UTC),
        deadline=read_timestamp(record.deadline),
    )


def whole_seconds(span: timedelta) -> int:
    """Return a span in whole seconds, rounded up: a timeout of 0.2 s must not become 0, "none"."""
    return -(span // timedelta(seconds=-1))


def span(seconds: int) -> timedelta:
    """Return the span of a wire field, cut to what makes sense: strangers write any 64 bits."""
    return timedelta(seconds=min(max(seconds, 0), _LONGEST_SPAN))


def moment(unix_seconds: float) -> datetime | None:
    """Return the time of a wire field; None for 0 ("not set") and for a time that only Go can hold: its years have no end."""
    try:
        return datetime.fromtimestamp(unix_seconds, UTC) if unix_seconds else None
    except (OverflowError, ValueError, OSError):
        return None


def timestamp(moment: datetime | None) -> Timestamp:
    """Return the wire's form of a time; Go's zero time for None."""
    if moment is None:
        return GO_ZERO_TIME
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def read_timestamp(stamp: Timestamp) -> datetime | None:
    """Return a time of the wire; None for Go's zero time, for an unset field, and for a time that only Go can hold."""
    if stamp.seconds == GO_ZERO_TIME.seconds or (stamp.seconds == 0 and stamp.nanos == 0):
        return None
    try:
        return stamp.ToDatetime(UTC)
    except ValueError:
        return None
