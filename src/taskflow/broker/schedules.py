"""ScheduleStore: periodic tasks kept in Redis, what has been fired, and the records that asynq's tools read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from google.protobuf.message import DecodeError
from msgspec import Struct

from taskflow.broker.queue import Broker
from taskflow.broker.schedule_entry import AsynqEntry, Fired, ScheduleEntry, ScheduleEvent, ScheduleState, Snapshot
from taskflow.broker.scripts import Call, Script
from taskflow.errors import ScheduleExists, ScheduleNotFound
from taskflow.wire import asynq_pb2
from taskflow.wire.keys import (
    ALL_SCHEDULERS,
    CODE_SCHEDULER_PREFIX,
    SCHEDULE_HISTORY,
    SCHEDULE_NEWS,
    SCHEDULER_KEY,
    SCHEDULES,
    SCHEDULES_CODE,
    SCHEDULES_FIRED,
    SCHEDULES_PAUSED,
)
from taskflow.wire.message import read_timestamp, timestamp

LIST = Script("list_schedules")
RECORD_SECONDS = 20
"""How long the records for asynq's tools last; they are written anew every 10 s, as asynq does."""
EVENTS = 1000
"""How many events of an entry are kept, as in asynq."""
_SILENT = 24 * 3600
"""How long (s) an entry of a program's code that no scheduler has any more is worth a word: later it may be meant so."""
FORGET_AFTER = timedelta(days=30)
"""How long what is known of an entry outlives the program that had it."""


class _Seen(Struct, frozen=True):
    """An entry of a program's code, and when (Unix s) a scheduler last had it."""

    entry: ScheduleEntry
    at: float


class Pulse(Struct, frozen=True):
    """Whether a scheduler runs that fires what is kept in Redis, and ids of a program's entries that no scheduler has had lately."""

    running: bool
    silent: tuple[str, ...]


class ScheduleStore:
    """The entries of a broker's Redis server. Every method raises `BrokerUnavailable` if it does not answer."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._decoded: dict[bytes, ScheduleEntry] = {}

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._broker.clock.now(), UTC)

    # -- entries ------------------------------------------------------------------------------------------------------

    async def snapshot(self) -> Snapshot:
        """Return all that Redis holds of periodic tasks."""
        stored, code, fired, paused = await self._broker.execute(
            ("HGETALL", SCHEDULES),
            ("HGETALL", SCHEDULES_CODE),
            ("HGETALL", SCHEDULES_FIRED),
            ("SMEMBERS", SCHEDULES_PAUSED),
        )
        entries, unreadable = self._read_entries(_pairs(stored))
        return Snapshot(
            entries,
            {seen.entry.id: seen.entry for seen in self._read_seen(_pairs(code))},
            {entry_id: fired for entry_id, text in _pairs(fired).items() if (fired := _read_fired(text)) is not None},
            frozenset(_text(entry_id) for entry_id in paused),
            unreadable,
        )

    def _read_entries(self, values: Mapping[str, bytes]) -> tuple[dict[str, ScheduleEntry], tuple[str, ...]]:
        found: dict[str, ScheduleEntry] = {}
        unreadable = []
        for entry_id, value in values.items():
            try:
                found[entry_id] = self._decoded.get(value) or msgspec.json.decode(value, type=ScheduleEntry)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                unreadable.append(entry_id)
        self._decoded = {values[entry_id]: entry for entry_id, entry in found.items()}
        return found, tuple(sorted(unreadable))

    def _read_seen(self, values: Mapping[str, bytes]) -> list[_Seen]:
        since = self._broker.clock.now() - RECORD_SECONDS
        return [seen for seen in _decode_seen(values) if seen.at > since]

    async def entries(self) -> list[ScheduleEntry]:
        """Return the entries kept in Redis, sorted by id; what cannot be read is left out."""
        stored = (await self.snapshot()).stored
        return [stored[entry_id] for entry_id in sorted(stored)]

    async def pulse(self) -> Pulse:
        """Return whether schedulers run, and what they leave to fire if not."""
        alive, code = await self._broker.execute(("ZSCORE", ALL_SCHEDULERS, SCHEDULER_KEY), ("HGETALL", SCHEDULES_CODE))
        now = self._broker.clock.now()
        silent = [seen for seen in _decode_seen(_pairs(code)) if now - _SILENT <= seen.at <= now - RECORD_SECONDS]
        return Pulse(alive is not None and float(alive) >= now, tuple(sorted(seen.entry.id for seen in silent)))

    async def put(self, entry: ScheduleEntry, *, replace: bool = True) -> None:
        """Keep an entry. A new one, and one with a new rule, counts from now on.

        Raises:
            ScheduleExists: One of the same id is kept, and it is not to be replaced.

        """
        value, fired = await self._broker.execute(("HGET", SCHEDULES, entry.id), ("HGET", SCHEDULES_FIRED, entry.id))
        old = self._read_entries({entry.id: value})[0].get(entry.id) if value else None
        if old is None or not old.has_rule_of(entry):
            await self._start_anew(entry.id, fired)
        command = "HSET" if replace else "HSETNX"
        (added,) = await self._broker.execute((command, SCHEDULES, entry.id, msgspec.json.encode(entry)))
        if not (added or replace):
            raise ScheduleExists(entry.id)
        await self._tell(entry.id)

    async def _start_anew(self, entry_id: str, fired: bytes | None) -> None:
        known = _read_fired(fired) if fired else None
        await self.note_fired({entry_id: Fired(self._now(), known.last if known else None)})

    async def delete(self, entry_id: str) -> None:
        """Forget an entry and its events. Raises `ScheduleNotFound` if none of that id is kept in Redis."""
        (deleted,) = await self._broker.execute(("HDEL", SCHEDULES, entry_id))
        if not deleted:
            raise ScheduleNotFound(entry_id)
        await self.forget([entry_id])
        await self._tell(entry_id)

    async def forget(self, entry_ids: Sequence[str]) -> None:
        """Delete what is known of entries: their last times and events, and that they are paused."""
        if entry_ids:
            await self._broker.execute(
                ("HDEL", SCHEDULES_FIRED, *entry_ids),
                ("HDEL", SCHEDULES_CODE, *entry_ids),
                ("SREM", SCHEDULES_PAUSED, *entry_ids),
                *(("DEL", SCHEDULE_HISTORY + entry_id) for entry_id in entry_ids),
            )

    async def pause(self, entry_id: str) -> None:
        """Let an entry fire no more; times that pass meanwhile are not missed ones."""
        await self._broker.execute(("SADD", SCHEDULES_PAUSED, entry_id))
        await self._tell(entry_id)

    async def resume(self, entry_id: str) -> None:
        """Let a paused entry fire again, from now on."""
        paused, fired = await self._broker.execute(
            ("SISMEMBER", SCHEDULES_PAUSED, entry_id), ("HGET", SCHEDULES_FIRED, entry_id)
        )
        if paused:
            await self._start_anew(entry_id, fired)
            await self._broker.execute(("SREM", SCHEDULES_PAUSED, entry_id))
            await self._tell(entry_id)

    async def _tell(self, entry_id: str) -> None:
        await self._broker.execute(("PUBLISH", SCHEDULE_NEWS, entry_id))

    # -- firing -------------------------------------------------------------------------------------------------------

    async def note_fired(self, fired: Mapping[str, Fired]) -> None:
        """Note up to when entries' times are done with. Replicas may race: each firing has an id, so none is lost or doubled."""
        if fired:
            await self._broker.execute(_note(fired))

    async def record(self, entry_id: str, events: Iterable[ScheduleEvent], fired: Fired | None = None) -> None:
        """Write what an entry enqueued, and up to when its times are done with."""
        key = SCHEDULE_HISTORY + entry_id
        scored: list[object] = []
        for event in events:
            record = asynq_pb2.SchedulerEnqueueEvent(task_id=event.task_id, enqueue_time=timestamp(event.at))
            scored += (int(event.at.timestamp()), record.SerializeToString())
        commands: list[tuple[Any, ...]] = [_note({entry_id: fired})] if fired else []
        if scored:
            commands += [("ZADD", key, *scored), ("ZREMRANGEBYRANK", key, 0, -EVENTS - 1)]
        await self._broker.execute(*commands)

    async def events(self, entry_id: str, *, page: int = 0, size: int = 20) -> list[ScheduleEvent]:
        """Return one page of an entry's events, the newest first; what cannot be read is left out."""
        first = page * size
        (records,) = await self._broker.execute(("ZREVRANGE", SCHEDULE_HISTORY + entry_id, first, first + size - 1))
        found = []
        for data in records:
            try:
                record = asynq_pb2.SchedulerEnqueueEvent.FromString(data)
            except DecodeError:
                continue
            if (at := read_timestamp(record.enqueue_time)) is not None:
                found.append(ScheduleEvent(task_id=record.task_id, at=at))
        return found

    # -- for others to see --------------------------------------------------------------------------------------------

    async def publish(self, states: Iterable[ScheduleState]) -> None:
        """Write the records of a scheduler's entries, for asynq's tools and for ours.

        The entries kept in Redis have one list, which all schedulers write; those of a program's code have another, which
        its replicas share: so no entry shows twice.
        """
        known = list(states)
        own = [state for state in known if state.origin == "code"]
        stored = [state for state in known if state.origin == "redis"]
        digest = hashlib.sha256("\n".join(state.entry.id for state in own).encode()).hexdigest()[:16]
        lists = {SCHEDULER_KEY: stored} | ({f"{CODE_SCHEDULER_PREFIX}{digest}}}": own} if own else {})
        now = self._broker.clock.now()
        scored = [part for key in lists for part in (int(now) + RECORD_SECONDS, key)]
        seen = [part for state in own for part in (state.entry.id, msgspec.json.encode(_Seen(state.entry, now)))]
        await self._broker.execute(
            ("ZREMRANGEBYSCORE", ALL_SCHEDULERS, "-inf", int(now) - 1),
            ("ZADD", ALL_SCHEDULERS, *scored),
            *([("HSET", SCHEDULES_CODE, *seen)] if seen else []),
        )
        await self._broker.run(
            [Call(LIST, (key,), [RECORD_SECONDS, *map(_record, members)]) for key, members in lists.items()]
        )

    async def asynq_entries(self) -> list[AsynqEntry]:
        """Return the entries of asynq schedulers that run; what cannot be read is left out."""
        now = int(self._broker.clock.now())
        (members,) = await self._broker.execute(("ZRANGEBYSCORE", ALL_SCHEDULERS, now, "+inf"))
        keys = [key for key in members if key != SCHEDULER_KEY.encode()]
        keys = [key for key in keys if not key.startswith(CODE_SCHEDULER_PREFIX.encode())]
        lists = await self._broker.attempt(*(("LRANGE", key, 0, -1) for key in keys))
        found = []
        for data in (record for records in lists if isinstance(records, list) for record in records):
            try:
                found.append(_read_record(asynq_pb2.SchedulerEntry.FromString(data)))
            except DecodeError:
                continue  # as asynq does
        return found


def _decode_seen(values: Mapping[str, bytes]) -> list[_Seen]:
    found = []
    for value in values.values():
        try:
            found.append(msgspec.json.decode(value, type=_Seen))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue  # a newer version's
    return found


def _pairs(flat: Sequence[bytes]) -> dict[str, bytes]:
    return {_text(name): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _note(fired: Mapping[str, Fired]) -> tuple[Any, ...]:
    flat: list[str] = []
    for entry_id, state in fired.items():
        moments = [state.until] if state.last is None else [state.until, state.last]
        flat += (entry_id, " ".join(repr(moment.timestamp()) for moment in moments))
    return ("HSET", SCHEDULES_FIRED, *flat)


def _read_fired(text: bytes) -> Fired | None:
    """Return what `_note` wrote; None if it is something else."""
    try:
        until, *last = (datetime.fromtimestamp(float(part), UTC) for part in text.split())
    except (ValueError, OverflowError, OSError):
        return None
    return Fired(until, last[0] if last else None)


def _record(state: ScheduleState) -> bytes:
    entry = state.entry
    record = asynq_pb2.SchedulerEntry(
        id=entry.id,
        spec=entry.asynq_spec(),
        task_type=entry.type,
        task_payload=entry.payload,
        enqueue_options=entry.asynq_options(),
        next_enqueue_time=timestamp(state.next_fire),
        prev_enqueue_time=timestamp(state.last_fired),
    )
    return record.SerializeToString()


def _read_record(record: asynq_pb2.SchedulerEntry) -> AsynqEntry:
    return AsynqEntry(
        id=record.id,
        spec=record.spec,
        type=record.task_type,
        payload=record.task_payload,
        options=tuple(record.enqueue_options),
        last_fired=read_timestamp(record.prev_enqueue_time),
        next_fire=read_timestamp(record.next_enqueue_time),
    )
