"""Bytes that asynq wrote, kept in `golden/`, against our wire module. Runs without Go."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

from taskflow import Task, TaskOptions
from taskflow.broker.placing import place
from taskflow.errors import MessageInvalid
from taskflow.task import RunningTask, ServerInfo
from taskflow.wire import asynq_pb2
from taskflow.wire import keys as key_names
from taskflow.wire import message as wire
from taskflow.wire.keys import ALL_SCHEDULERS, QueueKeys, queue_keys, server_key, workers_key

Record = dict[str, Any]
_BYTES = {"payload", "task_payload"}
_TIMES = {"start_time", "deadline", "next_enqueue_time", "prev_enqueue_time", "enqueue_time"}
_UNKNOWN_FIELD = b"\xfa\x07\x05later"
"""Field 127, text: what a later asynq may add to a message."""


def records(kind: str) -> list[Record]:
    return json.loads((Path(__file__).parent / "golden" / f"{kind}.json").read_text())  # type: ignore[no-any-return]


def every(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("record", records(kind), ids=lambda record: record["name"])


MESSAGES = {record["name"]: record for record in records("messages")}
"""The messages by name; the hand-made table below must stay complete."""
NEVER_RUN = [
    record
    for record in MESSAGES.values()
    if not record["fields"]["last_failed_at"] and not record["fields"]["completed_at"]
]
OUT_OF_RANGE = {"max_values", "negative_values"}
"""Go takes such options; our client refuses them, and our reader must bear them."""


def data_of(record: Record) -> bytes:
    return base64.b64decode(record["bytes"])


def shown(message: Message) -> Record:
    """A message's fields in the form of the golden files."""
    fields: Record = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.name in _BYTES:
            fields[field.name] = base64.b64encode(value).decode()
        elif isinstance(value, Message):
            fields[field.name] = {"seconds": value.seconds, "nanos": value.nanos}  # type: ignore[attr-defined]
        elif hasattr(value, "items"):
            fields[field.name] = dict(value.items())
        else:
            fields[field.name] = value if isinstance(value, str | int | bool) else list(value)
    return fields


def build(kind: type[Message], fields: Record) -> Message:
    """A message with the fields of a golden record."""
    message = kind()
    for name, value in fields.items():
        if isinstance(value, dict) and set(value) == {"seconds", "nanos"}:
            getattr(message, name).seconds = value["seconds"]
            getattr(message, name).nanos = value["nanos"]
        elif isinstance(value, dict):
            getattr(message, name).update(value)
        elif isinstance(value, list):
            getattr(message, name).extend(value)
        else:
            setattr(message, name, base64.b64decode(value) if name in _BYTES else value)
    return message


def has_one_encoding(record: Record) -> bool:
    """Whether every encoder writes the same bytes: maps are written in any order."""
    maps = [value for value in record["fields"].values() if isinstance(value, dict) and "seconds" not in value]
    return all(len(entries) <= 1 for entries in maps)


# -- task messages ----------------------------------------------------------------------------------------------------


@every("messages")
def test_a_message_means_what_go_says(record: Record) -> None:
    assert shown(wire.decode(data_of(record))) == record["fields"]


@every("messages")
def test_a_message_is_written_as_go_writes_it(record: Record) -> None:
    decoded = wire.decode(data_of(record))
    built = build(asynq_pb2.TaskMessage, record["fields"])

    assert built == decoded
    if has_one_encoding(record):
        assert decoded.SerializeToString() == data_of(record)
        assert built.SerializeToString() == data_of(record)


@every("messages")
def test_fields_of_a_later_asynq_survive(record: Record) -> None:
    message = wire.decode(data_of(record) + _UNKNOWN_FIELD)

    for data in (
        message.SerializeToString(),
        wire.copy(message).SerializeToString(),
        wire.completed(message, at=1.0),
        wire.failed(message, at=1.0, error="no", count=True),
    ):
        assert _UNKNOWN_FIELD in data
        assert wire.decode(data).type == record["fields"]["type"]


@pytest.mark.parametrize("record", NEVER_RUN, ids=lambda record: record["name"])
def test_our_client_writes_what_gos_client_writes(record: Record) -> None:
    fields = record["fields"]
    if record["name"] in OUT_OF_RANGE:
        with pytest.raises(ValueError, match=r"deadline|max_retries|timeout|retention"):
            task_of(record)
        return

    placement, _ = place(task_of(record), now=1_790_000_000.0)

    assert placement.lock == fields["unique_key"]
    assert shown(wire.decode(placement.message)) == fields
    if has_one_encoding(record):
        assert placement.message == data_of(record)


def task_of(record: Record) -> Task:
    """The task that a golden message stands for; where Go used a default, ours has to be the same."""
    fields = record["fields"]
    payload: bytes | None = base64.b64decode(fields["payload"])
    if not payload and not record["name"].startswith("empty"):
        payload = None  # the message does not tell nil from empty; the lock does
    options = TaskOptions(
        queue=fields["queue"],
        max_retries=fields["retry"],
        timeout=timedelta(seconds=fields["timeout"]) if fields["timeout"] not in {0, 1800} else None,
        deadline=datetime.fromtimestamp(fields["deadline"], UTC) if 0 < fields["deadline"] < 2**40 else None,
        unique=timedelta(hours=1) if fields["unique_key"] else None,
        task_id=fields["id"],
        retention=timedelta(seconds=fields["retention"]),
        group=fields["group_key"] or None,
        headers=fields["headers"],
    )
    return Task(fields["type"], payload, options)


def test_an_ended_attempt_is_written_as_go_writes_it() -> None:
    """From the message before the attempt, ours becomes the very bytes that Go wrote after it."""
    for name, counts in (("retried", True), ("archived", False)):
        fields = MESSAGES[name]["fields"]
        before = build(asynq_pb2.TaskMessage, {**fields, "retried": 0, "error_msg": "", "last_failed_at": 0})
        assert isinstance(before, asynq_pb2.TaskMessage)
        after = wire.failed(before, at=fields["last_failed_at"] + 0.9, error=fields["error_msg"], count=counts)
        assert after == data_of(MESSAGES[name])

    fields = MESSAGES["completed"]["fields"]
    before = build(asynq_pb2.TaskMessage, {**fields, "completed_at": 0})
    assert isinstance(before, asynq_pb2.TaskMessage)
    assert wire.completed(before, at=fields["completed_at"] + 0.9) == data_of(MESSAGES["completed"])


def test_times_that_only_go_can_hold_are_no_error() -> None:
    fields = MESSAGES["max_values"]["fields"]
    assert wire.moment(fields["deadline"]) is None
    assert wire.moment(MESSAGES["negative_values"]["fields"]["deadline"]) == datetime(
        1969, 12, 31, 23, 59, 59, tzinfo=UTC
    )

    record = asynq_pb2.WorkerInfo(task_id="a", task_type="b")
    record.deadline.seconds = fields["deadline"]
    assert wire.decode_running(record.SerializeToString()).deadline is None


@pytest.mark.parametrize("data", [b"", b"\xff\xff\xff", b"\x12\x03abc", b"\x0a\x02\xff\xfe"])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    """Nothing, noise, a message without a type, and one whose type is not UTF-8."""
    with pytest.raises(MessageInvalid):
        wire.decode(data)


# -- keys -------------------------------------------------------------------------------------------------------------


@every("messages")
def test_the_keys_of_a_task_are_gos(record: Record) -> None:
    fields = record["fields"]
    keys = queue_keys(fields["queue"])

    assert keys.task(fields["id"]) == record["key"]
    assert fields["unique_key"] in {"", keys.unique(fields["type"], lock_payload(record))}


def lock_payload(record: Record) -> bytes | None:
    payload = base64.b64decode(record["fields"]["payload"])
    return None if record["name"] == "nil_payload_unique" else payload


def test_the_lock_of_a_binary_payload_is_gos() -> None:
    """The digest is over the bytes as they are; this one was computed with `md5sum`."""
    key = queue_keys("q").unique("blob", bytes(range(256)))

    assert key == "asynq:{q}:unique:blob:e2c865db4162bed963bfaa9ef6ac18f0"


@every("server")
def test_the_key_of_a_server_is_gos(record: Record) -> None:
    fields = record["fields"]

    assert server_key(fields["host"], fields["pid"], fields["server_id"]) == record["key"]


@every("worker")
def test_the_key_of_running_tasks_is_gos(record: Record) -> None:
    fields = record["fields"]

    assert workers_key(fields["host"], fields["pid"], fields["server_id"]) == record["key"]


@every("scheduler")
def test_the_key_of_a_scheduler_is_gos(record: Record) -> None:
    assert record["key"].startswith(f"{ALL_SCHEDULERS}:{{golden-host:")


# -- servers and schedulers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "record"),
    [
        pytest.param(kind, record, id=f"{name}-{record['name']}")
        for name, kind in (
            ("server", asynq_pb2.ServerInfo),
            ("worker", asynq_pb2.WorkerInfo),
            ("scheduler", asynq_pb2.SchedulerEntry),
            ("event", asynq_pb2.SchedulerEnqueueEvent),
        )
        for record in records(name)
    ],
)
def test_a_record_means_what_go_says(kind: type[Message], record: Record) -> None:
    decoded = kind.FromString(data_of(record))

    assert shown(decoded) == record["fields"]
    assert build(kind, record["fields"]) == decoded
    if has_one_encoding(record):
        assert decoded.SerializeToString() == data_of(record)
    with_more = kind.FromString(data_of(record) + _UNKNOWN_FIELD)
    assert _UNKNOWN_FIELD in with_more.SerializeToString()


@every("server")
def test_our_server_record_is_gos(record: Record) -> None:
    fields = record["fields"]
    info = ServerInfo(
        id=fields["server_id"],
        host=fields["host"],
        pid=fields["pid"],
        concurrency=fields["concurrency"],
        queues=fields["queues"],
        strict_priority=fields["strict_priority"],
        status=fields["status"],
        started_at=moment_of(fields["start_time"]),
        active_count=fields["active_worker_count"],
    )

    assert wire.decode_server(data_of(record), []) == info
    expected = in_microseconds(record)
    assert shown(asynq_pb2.ServerInfo.FromString(wire.encode_server(info))) == expected
    if has_one_encoding(record):
        assert wire.encode_server(info) == build(asynq_pb2.ServerInfo, expected).SerializeToString()


@every("worker")
def test_our_record_of_a_running_task_is_gos(record: Record) -> None:
    fields = record["fields"]
    running = RunningTask(
        id=fields["task_id"],
        type=fields["task_type"],
        queue=fields["queue"],
        payload=base64.b64decode(fields["task_payload"]),
        started_at=moment_of(fields["start_time"]),
        deadline=moment_of(fields["deadline"]),
    )

    assert wire.decode_running(data_of(record)) == running
    ours = wire.encode_running(running, host=fields["host"], pid=fields["pid"], server_id=fields["server_id"])
    assert ours == build(asynq_pb2.WorkerInfo, in_microseconds(record)).SerializeToString()


def test_a_server_is_read_with_what_it_runs() -> None:
    running = [data_of(record) for record in records("worker")]

    info = wire.decode_server(data_of(records("server")[0]), running)

    assert {task.id for task in info.running} == {"golden-both", "golden-deadline", "golden-timeout"}


def test_never_is_gos_zero_time() -> None:
    """A running task without a deadline: Go shows an unset field as 1970, its own zero time as never."""
    running = RunningTask(id="a", type="b", queue="c", payload=b"", started_at=datetime.now(UTC), deadline=None)

    data = wire.encode_running(running, host="h", pid=1, server_id="s")

    assert asynq_pb2.WorkerInfo.FromString(data).deadline.seconds == -62135596800
    assert wire.decode_running(data).deadline is None


def moment_of(stamp: dict[str, int]) -> datetime:
    return datetime.fromtimestamp(stamp["seconds"], UTC) + timedelta(microseconds=stamp["nanos"] // 1000)


def in_microseconds(record: Record) -> Record:
    """The fields as far as Python's times go: Go's carry nanoseconds."""
    cut = dict(record["fields"])
    for name in _TIMES & set(cut):
        stamp = cut[name]
        cut[name] = {**stamp, "nanos": stamp["nanos"] // 1000 * 1000}
    return cut


def test_the_page_about_the_format_names_every_key() -> None:
    page = (Path(__file__).parents[2] / "docs" / "wire-format.md").read_text()
    keys = queue_keys("q")
    texts = [getattr(keys, name) for name in QueueKeys.__slots__ if name != "queue"]
    texts += [value for name, value in vars(key_names).items() if name.isupper() and isinstance(value, str)]

    missing = [text for text in texts if f"`{text}" not in page]
    assert not missing
    fields = {field.name for field in asynq_pb2.TaskMessage.DESCRIPTOR.fields}
    assert not {field for field in fields if f"`{field}`" not in page}
