"""ScheduleStore: periodic tasks kept in Redis, what has been fired, and the records that asynq's tools read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp
from msgspec import Struct, field

from taskflow.broker.queue import Broker
from taskflow.cron import Spec
from taskflow.durations import format_duration
from taskflow.errors import InvalidOption, ScheduleNotFound
from taskflow.task import EnqueueOptions, Task, TaskOptions, check_task_type
from taskflow.wire import asynq_pb2
from taskflow.wire.keys import (
    ALL_SCHEDULERS,
    SCHEDULE_HISTORY,
    SCHEDULE_NEWS,
    SCHEDULER_KEY,
    SCHEDULES,
    SCHEDULES_FIRED,
    SCHEDULES_PAUSED,
)
from taskflow.wire.message import GO_ZERO_TIME
from taskflow.wire.payload import encode_payload

RECORD_SECONDS = 20
"""How long the records for asynq's tools last; they are written anew every 10 s, as asynq does."""
EVENTS = 1000
"""How many events of an entry are kept, as in asynq."""
MAX_ID_BYTES = 128

Missed = Literal["skip", "once", "all"]
"""What becomes of times at which no scheduler ran: none of them is fired, the last, or all up to `catch_up`."""


class ScheduleEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A periodic task.

    Attributes:
        id: Its name, 1 to 128 bytes.
        spec: When: see `cron.Spec`.
        type: Type of the task.
        payload: Its payload, as it travels.
        timezone: Time zone of the spec, unless the spec names one. Default UTC.
        queue, max_retries, timeout, retention, unique, headers: Options of each task; see `TaskOptions`.
        missed: What becomes of times at which no scheduler ran. Default `skip`.
        catch_up: How many missed times `all` fires at most. Default 100.
        jitter: Each task falls due up to this much later, at random. Default none.

    Raises:
        InvalidOption: Something cannot be used; `option` names it.

    """

    id: str
    spec: str
    type: str
    payload: bytes = b""
    timezone: str | None = None
    queue: str = "default"
    max_retries: int = 25
    timeout: timedelta | None = None
    retention: timedelta = timedelta(0)
    unique: timedelta | None = None
    headers: dict[str, str] = field(default_factory=dict)
    missed: Missed = "skip"
    catch_up: int = 100
    jitter: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        if not self.id.strip() or len(self.id.encode()) > MAX_ID_BYTES:
            raise InvalidOption("id", f"must be a name of 1 to {MAX_ID_BYTES} bytes, not {self.id!r}")
        check_task_type(self.type)
        self.rule()
        self.options()
        if self.catch_up < 1:
            raise InvalidOption("catch_up", f"must be at least 1, not {self.catch_up}")
        if self.jitter < timedelta(0):
            raise InvalidOption("jitter", "must not be negative")

    @classmethod
    def of(
        cls,
        task: Task,
        spec: str,
        *,
        id: str,  # noqa: A002 - the entry's own word
        timezone: str | None = None,
        missed: Missed = "skip",
        catch_up: int = 100,
        jitter: timedelta = timedelta(0),
    ) -> ScheduleEntry:
        """Return an entry for a task. Raises `InvalidOption`, also for options that only a single task can have."""
        options = task.options
        for name in ("task_id", "process_at", "process_in", "deadline", "group"):
            if getattr(options, name) is not None:
                raise InvalidOption(name, "a periodic task cannot have it")
        return cls(
            id=id,
            spec=spec,
            type=task.type,
            payload=encode_payload(task.payload),
            timezone=timezone,
            queue=options.queue,
            max_retries=options.max_retries,
            timeout=options.timeout,
            retention=options.retention,
            unique=options.unique,
            headers=dict(options.headers),
            missed=missed,
            catch_up=catch_up,
            jitter=jitter,
        )

    def rule(self) -> Spec:
        """Return the spec, parsed. Raises `InvalidOption`."""
        return Spec(self.spec, timezone=self.timezone)

    def options(self, **more: object) -> TaskOptions:
        """Return the options of a task, with more of them. Raises `InvalidOption`."""
        options: EnqueueOptions = {
            "queue": self.queue,
            "max_retries": self.max_retries,
            "timeout": self.timeout,
            "retention": self.retention,
            "unique": self.unique,
            "headers": self.headers,
        }
        options.update(more)  # type: ignore[typeddict-item]  # the scheduler's: task_id, process_in
        return TaskOptions(**options)

    def asynq_options(self) -> list[str]:
        """Return the options in the words that asynq's tools parse."""
        words = [f'Queue("{self.queue}")', f"MaxRetry({self.max_retries})"]
        spans = {"Timeout": self.timeout, "Retention": self.retention, "Unique": self.unique}
        return words + [f"{name}({format_duration(span)})" for name, span in spans.items() if span]


class ScheduleState(Struct, frozen=True, kw_only=True):
    """An entry as it stands: whether it is paused, when it was last fired, and when it is next."""

    entry: ScheduleEntry
    paused: bool = False
    last_fired: datetime | None = None
    next_fire: datetime | None = None
    stored: bool = False
    """Whether it is kept in Redis; others come from code or settings and last as long as their scheduler."""


class ScheduleEvent(Struct, frozen=True, kw_only=True):
    """A task that an entry enqueued."""

    task_id: str
    at: datetime


class ScheduleStore:
    """The entries of a broker's Redis server."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    # -- entries ------------------------------------------------------------------------------------------------------

    async def entries(self) -> list[ScheduleEntry]:
        """Return the entries kept in Redis, sorted by id; what cannot be read is left out."""
        (values,) = await self._broker.execute(("HVALS", SCHEDULES))
        found = []
        for value in values:
            try:
                found.append(msgspec.json.decode(value, type=ScheduleEntry))
            except (msgspec.MsgspecError, InvalidOption):
                continue
        return sorted(found, key=lambda entry: entry.id)

    async def put(self, entry: ScheduleEntry) -> None:
        """Keep an entry; one of the same id is replaced."""
        await self._broker.execute(("HSET", SCHEDULES, entry.id, msgspec.json.encode(entry)), _news(entry.id))

    async def delete(self, entry_id: str) -> None:
        """Forget an entry and its events. Raises `ScheduleNotFound` if none of that id is kept in Redis."""
        (deleted,) = await self._broker.execute(("HDEL", SCHEDULES, entry_id))
        if not deleted:
            raise ScheduleNotFound(entry_id)
        await self._broker.execute(
            ("HDEL", SCHEDULES_FIRED, entry_id),
            ("SREM", SCHEDULES_PAUSED, entry_id),
            ("DEL", SCHEDULE_HISTORY + entry_id),
            _news(entry_id),
        )

    async def pause(self, entry_id: str) -> None:
        """Let an entry fire no more; times that pass meanwhile are not missed ones."""
        await self._broker.execute(("SADD", SCHEDULES_PAUSED, entry_id), _news(entry_id))

    async def resume(self, entry_id: str) -> None:
        """Let an entry fire again, from now on."""
        await self.note_fired({entry_id: datetime.fromtimestamp(self._broker.clock.now(), UTC)})
        await self._broker.execute(("SREM", SCHEDULES_PAUSED, entry_id), _news(entry_id))

    async def paused(self) -> set[str]:
        """Return the ids of paused entries."""
        (ids,) = await self._broker.execute(("SMEMBERS", SCHEDULES_PAUSED))
        return {entry_id.decode(errors="replace") for entry_id in ids}

    # -- firing -------------------------------------------------------------------------------------------------------

    async def fired(self) -> dict[str, datetime]:
        """Return up to when each entry's times are done with."""
        (flat,) = await self._broker.execute(("HGETALL", SCHEDULES_FIRED))
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return {name.decode(errors="replace"): datetime.fromtimestamp(float(at), UTC) for name, at in pairs}

    async def note_fired(self, times: dict[str, datetime]) -> None:
        """Note up to when entries' times are done with. Replicas may race: each firing has an id, so none is lost or doubled."""
        if times:
            flat = [part for entry_id, at in times.items() for part in (entry_id, repr(at.timestamp()))]
            await self._broker.execute(("HSET", SCHEDULES_FIRED, *flat))

    # -- for asynq's tools --------------------------------------------------------------------------------------------

    async def publish(self, states: Sequence[ScheduleState]) -> None:
        """Write the records of entries that asynq's tools read; all replicas share one, so that no entry shows twice."""
        records = [_record(state).SerializeToString() for state in states]
        expiry = int(self._broker.clock.now()) + RECORD_SECONDS
        push = [("RPUSH", SCHEDULER_KEY, *records)] if records else []
        await self._broker.execute(
            ("ZADD", ALL_SCHEDULERS, expiry, SCHEDULER_KEY),
            ("DEL", SCHEDULER_KEY),
            *push,
            ("EXPIRE", SCHEDULER_KEY, RECORD_SECONDS),
        )

    async def record_event(self, entry_id: str, event: ScheduleEvent) -> None:
        """Write that an entry enqueued a task."""
        key = SCHEDULE_HISTORY + entry_id
        record = asynq_pb2.SchedulerEnqueueEvent(task_id=event.task_id, enqueue_time=_timestamp(event.at))
        await self._broker.execute(
            ("ZADD", key, int(event.at.timestamp()), record.SerializeToString()),
            ("ZREMRANGEBYRANK", key, 0, -EVENTS - 1),
        )

    async def events(self, entry_id: str, *, page: int = 0, size: int = 20) -> list[ScheduleEvent]:
        """Return one page of an entry's events, the newest first."""
        first = page * size
        (records,) = await self._broker.execute(("ZREVRANGE", SCHEDULE_HISTORY + entry_id, first, first + size - 1))
        events = [asynq_pb2.SchedulerEnqueueEvent.FromString(record) for record in records]
        return [ScheduleEvent(task_id=event.task_id, at=event.enqueue_time.ToDatetime(UTC)) for event in events]


def _news(entry_id: str) -> tuple[str, str, str]:
    return ("PUBLISH", SCHEDULE_NEWS, entry_id)


def _record(state: ScheduleState) -> asynq_pb2.SchedulerEntry:
    entry = state.entry
    return asynq_pb2.SchedulerEntry(
        id=entry.id,
        spec=entry.spec,
        task_type=entry.type,
        task_payload=entry.payload,
        enqueue_options=entry.asynq_options(),
        next_enqueue_time=_timestamp(state.next_fire),
        prev_enqueue_time=_timestamp(state.last_fired),
    )


def _timestamp(moment: datetime | None) -> Timestamp:
    if moment is None:
        return GO_ZERO_TIME
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
