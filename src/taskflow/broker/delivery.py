"""Deliveries, tasks leased to a worker, and the outcomes that settle them, as calls of scripts. No I/O.

A lease's expiry carries microseconds, so it is as good as a token: a script acts for a worker only if the expiry that
stands in Redis is one that this worker knows for this very task.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

import msgspec
from msgspec import Struct

from taskflow.broker.placement import CHUNK
from taskflow.broker.scripts import Call, Script
from taskflow.errors import BrokerUnavailable, MessageInvalid, TaskFlowError
from taskflow.task import CALLBACK_HEADER, Attempt, Progress
from taskflow.wire import message as wire
from taskflow.wire import notice
from taskflow.wire.keys import ENDED_CHANNEL, QueueKeys, day_name, queue_keys
from taskflow.wire.message import TaskMessage

DEQUEUE, BEGIN, RESULT, DONE, COMPLETE, RETRY, ARCHIVE, REQUEUE = map(
    Script, ("dequeue", "begin", "result", "done", "complete", "retry", "archive", "requeue")
)
STATS_SECONDS = 90 * 24 * 3600
"""How long daily counters are kept: 90 days, as in asynq."""
NO_LEASE = "-"
SUSPECT_AFTER = 2
"""A task that so many workers have died with is a suspect: it is run alone, see dequeue.lua."""


class Delivery:
    """A task leased to this worker: its message, and the lease.

    `expiry` (Unix s) is the last end of the lease that Redis confirmed; `tokens` are all ends that may stand there now.
    `message` is None if the bytes could not be decoded. `cancelled` says that the task is to be stopped, not run,
    `suspect` that it is leased but not begun: it is to be run alone.
    """

    __slots__ = (
        "cancelled",
        "data",
        "expiry",
        "id",
        "last_progress",
        "lost",
        "message",
        "queue",
        "raw_id",
        "started_at",
        "suspect",
        "tokens",
    )

    def __init__(
        self, queue: str, raw_id: bytes, data: bytes, token: str, *, cancelled: bool = False, suspect: bool = False
    ) -> None:
        self.queue = queue
        self.raw_id = raw_id
        """The id as it stands in Redis, where anybody may have put any bytes."""
        self.id = raw_id.decode(errors="replace")
        self.data = data
        self.message = _decoded(data)
        self.tokens = token
        self.expiry = 0.0 if token == NO_LEASE else float(token)
        self.cancelled = cancelled
        self.suspect = suspect
        self.started_at = 0.0
        self.last_progress: Progress | None = None
        """What its handler published last, once the handler has ended."""
        self.lost = False
        """Whether Redis has said that the lease is another's by now."""

    @property
    def task_key(self) -> bytes:
        """The key of the task's hash."""
        return queue_keys(self.queue).task_prefix.encode() + self.raw_id

    def moved_since(self, tokens: str) -> bool:
        """Whether the heartbeat has moved the lease's end since `tokens` were sent: a refusal of those says nothing then."""
        return self.tokens != tokens and not self.lost

    def propose(self, token: str) -> None:
        """Note a new end of the lease before it is sent: from now on either may stand in Redis."""
        self.tokens = f"{self.tokens} {token}"

    def confirm(self, token: str) -> None:
        """Note that Redis took the new end."""
        self.tokens = token
        self.expiry = float(token)


def _decoded(data: bytes) -> TaskMessage | None:
    try:
        return wire.decode(data)
    except MessageInvalid:
        return None


class Done(Struct, frozen=True):
    """The task ended and is not kept; its `result` is for its webhook. `revoked` says why its handler dropped it, if it did."""

    result: bytes | None = None
    revoked: str | None = None


class Complete(Struct, frozen=True):
    """The task succeeded and is kept for its retention; `result` is None if it has none."""

    result: bytes | None = None


class Retry(Struct, frozen=True):
    """The task failed and is tried again at a time (Unix s); `counts` says whether it costs one of its retries."""

    at: float
    error: str
    counts: bool = True
    attempt: Attempt | None = None


class Archive(Struct, frozen=True):
    """The task is given up; `cause` is the exception behind it, for this process only."""

    error: str
    cancelled: bool = False
    attempt: Attempt | None = None
    cause: BaseException | None = None

    def message(self, delivery: Delivery, now: float) -> bytes:
        """Return the message that an archived task keeps: one that cannot be decoded is replaced by one that can."""
        readable = delivery.message or wire.undecodable(delivery.id, delivery.queue, delivery.data)
        return wire.failed(readable, at=now, error=self.error, count=False)


class Requeue(Struct, frozen=True):
    """The task goes back to the front of its queue; `died` says that its worker is gone."""

    died: bool = False


Outcome = Done | Complete | Retry | Archive | Requeue


class Settled(IntEnum):
    """What a settling script answers for a task."""

    REFUSED = 0
    SETTLED = 1
    CANCELLED_MEANWHILE = 2


class Begun(IntEnum):
    """What begin.lua answers for a suspect."""

    REFUSED = 0
    BEGUN = 1
    TO_BE_STOPPED = 2


class Exchanged(Struct, frozen=True):
    """What came of one round trip: how each outcome was taken, what was delivered, and which queues give nothing.

    A queue gives nothing while it is paused, or when the server refused because somebody put another kind of value
    under one of its keys; `errors` has what the server said then. Where a part of a cluster is away, its outcomes have
    None for an answer, and its queues are `away`: their tasks may have been leased.
    """

    settled: list[Settled | None]
    deliveries: list[Delivery]
    paused: frozenset[str]
    away: frozenset[str] = frozenset()
    errors: tuple[TaskFlowError, ...] = ()


class Pushed(Struct, frozen=True):
    """What came of waiting for a push: whether there was one, whether the queue is paused, and what could be taken."""

    pushed: bool
    paused: bool
    deliveries: list[Delivery]


class Expired(Struct, frozen=True):
    """An active task whose lease is over, or missing. `owner` is '' for a Go server's task, `deaths` counts dead workers."""

    delivery: Delivery
    owner: str
    deaths: int
    begun: bool = True
    """Unless it had been, it was a suspect that waited for its turn, and not what killed its worker."""

    @property
    def server_id(self) -> str:
        """The id of the Python server that had the task, '' for a Go server."""
        return self.owner.partition(":")[0]


_ATTEMPT = msgspec.json.Encoder()


class Settlement:
    """The calls that settle some deliveries: one per queue and kind of outcome, each with its deliveries' positions."""

    __slots__ = ("_tables", "now", "now_ns")

    def __init__(self, now: float, now_ns: int) -> None:
        self.now = now
        self.now_ns = now_ns
        self._tables: dict[tuple[str, type[Outcome], bool], tuple[list[Any], list[int]]] = {}

    def add(self, position: int, delivery: Delivery, outcome: Outcome) -> None:
        """Add a delivery's outcome."""
        kind = type(outcome)
        row = self._row(delivery, outcome)
        message = delivery.message
        told = False
        if message is not None and (headers := message.headers) and CALLBACK_HEADER in headers:
            noted = self._notice(message, outcome)
            told = bool(noted)
            row += noted
        table = self._tables.get((delivery.queue, kind, told))
        if table is None:
            table = self._tables[delivery.queue, kind, told] = ([], [])
        table[0].append(row)
        table[1].append(position)

    def calls(self) -> list[tuple[Call, list[int]]]:
        """Return the calls, each with the positions it settles."""
        return [
            (self._call(queue, kind, rows[first : first + CHUNK], told=told), positions[first : first + CHUNK])
            for (queue, kind, told), (rows, positions) in self._tables.items()
            for first in range(0, len(rows), CHUNK)
        ]

    def _notice(self, message: TaskMessage, outcome: Outcome) -> tuple[str, bytes] | tuple[()]:
        """Return what the outbox is to hold of the end of a task with a callback URL; nothing if it has not ended."""
        match outcome:
            case Done(revoked=str(reason)):
                data = notice.encode(message, "cancelled", at_ns=self.now_ns, error=reason)
            case Done(result) | Complete(result):
                data = notice.encode(message, "completed", at_ns=self.now_ns, result=result)
            case Archive(error, cancelled):
                data = notice.encode(message, "cancelled" if cancelled else "failed", at_ns=self.now_ns, error=error)
            case _:
                return ()
        return uuid.uuid4().hex, data

    def _row(self, delivery: Delivery, outcome: Outcome) -> tuple[Any, ...]:
        message = delivery.message
        lock = message.unique_key if message is not None else ""
        match outcome:
            case Done():
                return (delivery.raw_id, delivery.tokens, lock)
            case Complete(result):
                assert message is not None  # noqa: S101 - what cannot be decoded is never run
                kept_until = int(self.now) + message.retention
                data = wire.completed(message, at=self.now)
                return (
                    delivery.raw_id,
                    delivery.tokens,
                    lock,
                    data,
                    kept_until,
                    result or b"",
                    int(result is not None),
                )
            case Retry(at, error, counts, attempt):
                assert message is not None  # noqa: S101 - what cannot be decoded is never run
                data = wire.failed(message, at=self.now, error=error, count=counts)
                return (delivery.raw_id, delivery.tokens, data, repr(at), int(counts), attempt_line(attempt))
            case Archive(_, cancelled, attempt):
                data = outcome.message(delivery, self.now)
                return (delivery.raw_id, delivery.tokens, lock, data, int(cancelled), attempt_line(attempt))
            case Requeue(died):
                return (delivery.raw_id, delivery.tokens, int(died))

    def _call(self, queue: str, kind: type[Outcome], rows: list[tuple[Any, ...]], *, told: bool) -> Call:
        keys = queue_keys(queue)
        script, script_keys, args = self._heads(keys, kind, "1" if told else "")
        for row in rows:
            args += row
        return Call(script, script_keys, args)

    def _heads(self, keys: QueueKeys, kind: type[Outcome], told: str) -> tuple[Script, tuple[str, ...], list[Any]]:
        if kind is Requeue:
            return REQUEUE, (keys.active, keys.lease, keys.pending), [keys.task_prefix, self.now_ns]
        day = day_name(self.now)
        leased = (keys.active, keys.lease)
        processed = (keys.processed_on(day), keys.processed)
        failed = (keys.failed_on(day), keys.failed)
        args: list[Any] = [keys.task_prefix, int(self.now) + STATS_SECONDS]
        if kind is Done:
            return DONE, (*leased, *processed, keys.outbox), [*args, told]
        if kind is Complete:
            return COMPLETE, (*leased, keys.completed, *processed, keys.outbox), [*args, ENDED_CHANNEL, told]
        if kind is Retry:
            return RETRY, (*leased, keys.retry, keys.due, *processed, *failed), args
        archived = (*leased, keys.archived, *processed, *failed, keys.outbox)
        return ARCHIVE, archived, [*args, ENDED_CHANNEL, int(self.now), told]


def attempt_line(attempt: Attempt | None) -> bytes:
    """Return an attempt as the line that a task's hash keeps of it; nothing for None."""
    return b"" if attempt is None else _ATTEMPT.encode(attempt)


def read_attempts(lines: bytes | None) -> tuple[Attempt, ...]:
    """Return the failed attempts that a task's hash keeps, oldest first; a line that cannot be read is left out."""
    attempts = []
    for line in (lines or b"").splitlines():
        try:
            attempts.append(msgspec.json.decode(line, type=Attempt))
        except msgspec.MsgspecError:
            continue
    return tuple(attempts)


def dequeue_call(queue: str, count: int, *, expiry: str, owner: str, now_ns: int | None) -> Call:
    """Return the call that leases up to `count` tasks until `expiry` (Unix s) to an owner; `now_ns` None: by Redis's clock."""
    keys = queue_keys(queue)
    now = "" if now_ns is None else now_ns
    args = [keys.task_prefix, expiry, min(count, CHUNK), owner, now, SUSPECT_AFTER]
    return Call(DEQUEUE, (keys.pending, keys.active, keys.lease, keys.paused), args)


def begin_call(delivery: Delivery, *, now_ns: int) -> Call:
    """Return the call that begins a suspect."""
    return Call(
        BEGIN, (queue_keys(delivery.queue).lease, delivery.task_key), [delivery.raw_id, delivery.tokens, now_ns]
    )


def result_call(delivery: Delivery, result: bytes) -> Call:
    """Return the call that writes the result of a running task."""
    return Call(
        RESULT, (queue_keys(delivery.queue).lease, delivery.task_key), [delivery.raw_id, delivery.tokens, result]
    )


def read_deliveries(queue: str, reply: Sequence[bytes], token: str) -> list[Delivery]:
    """Return the deliveries that a reply of dequeue.lua holds."""
    ids, messages, marks = reply[::3], reply[1::3], reply[2::3]
    return [
        Delivery(queue, raw_id, data, token, cancelled=mark == b"1", suspect=mark == b"s")
        for raw_id, data, mark in zip(ids, messages, marks, strict=True)
    ]


def read_settled(
    settling: Sequence[tuple[Call, list[int]]], replies: Sequence[Any], count: int
) -> list[Settled | None]:
    """Return the answers to `count` outcomes, from the replies to their calls; None where there is none."""
    settled: list[Settled | None] = [Settled.REFUSED] * count
    for (_, positions), reply in zip(settling, replies, strict=False):
        if isinstance(reply, BrokerUnavailable):
            for position in positions:
                settled[position] = None
        elif not isinstance(reply, TaskFlowError):
            for position, code in zip(positions, reply, strict=True):
                settled[position] = Settled(code)
    return settled


def read_exchanged(
    settled: list[Settled | None],
    queues: Sequence[str],
    replies: Sequence[Any],
    token: str,
    *,
    errors: tuple[TaskFlowError, ...],
) -> Exchanged:
    """Return what came of a round trip, from the replies to the fetches from some queues."""
    deliveries: list[Delivery] = []
    paused, away = set(), set()
    for queue, reply in zip(queues, replies, strict=True):
        if isinstance(reply, list):
            deliveries += read_deliveries(queue, reply, token)
        elif isinstance(reply, BrokerUnavailable):
            away.add(queue)
        else:
            paused.add(queue)
    return Exchanged(settled, deliveries, frozenset(paused), frozenset(away), errors)


def attempt_now(now: float, worker: str, error: str, traceback: str | None) -> Attempt:
    """Return the record of an attempt that failed now (Unix s)."""
    return Attempt(at=datetime.fromtimestamp(now, UTC), worker=worker, error=wire.printable(error), traceback=traceback)
