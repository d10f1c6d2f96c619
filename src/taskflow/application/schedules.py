"""ScheduleService: the use cases of periodic tasks: look at them, keep them in Redis, pause them, run them now."""

from __future__ import annotations

import builtins
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from itertools import islice
from typing import Literal

from msgspec import Struct

from taskflow.application.commands import CreateTask, PutSchedule
from taskflow.application.queries import MAX_PAGE
from taskflow.broker.schedule_entry import AsynqEntry, ScheduleEntry, ScheduleEvent, ScheduleState
from taskflow.broker.schedules import Pulse, ScheduleStore
from taskflow.client import Client
from taskflow.config import Settings
from taskflow.cron import parsed
from taskflow.errors import InvalidOption, ScheduleElsewhere, ScheduleExists, ScheduleNotFound
from taskflow.scheduler import entries_of, fire_now
from taskflow.task import Task, TaskInfo

MAX_PREVIEW = 1000
MAX_PAGE_SIZE = 1000
"""The most times of a preview, and events on a page."""


class ScheduleInfo(Struct, frozen=True, kw_only=True):
    """A periodic task as people see it.

    Attributes:
        id, spec, type, payload: The spec has its time zone in it.
        options: How its tasks are enqueued, in asynq's words: `Queue("low")`.
        origin: Where it is kept: `redis`, `settings`, `code` (of a program whose scheduler runs), or `asynq` (of a running
            scheduler in Go).
        paused: Whether it does not fire now.
        last_fired: The time for which it last enqueued a task.
        next_fire: Its next time from now on; None while it is paused, and if there is none.
        entry: All of it; None for asynq's.

    """

    id: str
    spec: str
    type: str
    payload: bytes
    options: tuple[str, ...]
    origin: Literal["redis", "settings", "code", "asynq"]
    paused: bool = False
    last_fired: datetime | None = None
    next_fire: datetime | None = None
    entry: ScheduleEntry | None = None


class ScheduleService:
    """What can be done with periodic tasks, whatever door the wish came through.

    Args:
        client: Where they are; it stays the caller's to close.
        settings: Those that the settings name, and the defaults of tasks.
        make_task: Makes the task of a `CreateTask`, checked, with its defaults.

    Every method raises `BrokerUnavailable` if Redis does not answer or cannot write.

    """

    def __init__(
        self, client: Client, *, settings: Settings, make_task: Callable[[CreateTask], Awaitable[Task]]
    ) -> None:
        self._client = client
        self._store = ScheduleStore(client.broker)
        self._settings = settings
        self._make_task = make_task

    async def list(self) -> builtins.list[ScheduleInfo]:
        """Return all periodic tasks, sorted by id: those kept in Redis, those of these settings, those of running schedulers."""
        named = {entry.id: entry for entry in entries_of(self._settings)}
        snapshot = await self._store.snapshot()
        now = self._now()
        states = snapshot.states({**named, **snapshot.code}, now=now)
        ours = [_info(state, now, from_settings=entry_id in named) for entry_id, state in states.items()]
        foreign = map(_foreign_info, await self._store.asynq_entries())
        return sorted([*ours, *foreign], key=lambda info: info.id)

    async def pulse(self) -> Pulse:
        """Return whether schedulers run, and what they leave to fire if not."""
        return await self._store.pulse()

    async def get(self, entry_id: str) -> ScheduleInfo:
        """Return one periodic task. Raises `ScheduleNotFound`."""
        for info in await self.list():
            if info.id == entry_id:
                return info
        raise ScheduleNotFound(entry_id)

    async def put(self, command: PutSchedule, *, replace: bool = True) -> ScheduleEntry:
        """Keep a periodic task in Redis; a running scheduler takes it up at once. Returns it with its defaults.

        One of the same id is replaced, if `replace`; one of code or settings is stood in for until this one is deleted.

        Raises:
            InvalidTaskType: The type is neither published by a worker nor allowed by the settings.
            InvalidPayload: The payload does not fit the type's schema, or is too large (`PayloadTooLarge`).
            InvalidOption: Something else cannot be used.
            ScheduleExists: The id is taken, and not to be replaced.

        """
        task = await self._make_task(
            CreateTask(
                type=command.type,
                payload=command.payload,
                queue=command.queue,
                max_retries=command.max_retries,
                timeout=command.timeout,
                unique=command.unique,
                metadata=command.metadata,
                retention=command.retention,
            )
        )
        entry = ScheduleEntry.of(
            task,
            command.spec,
            id=command.id,
            timezone=command.timezone,
            missed=command.missed,
            catch_up=command.catch_up,
            jitter=command.jitter,
        )
        if not replace and any(info.id == entry.id for info in await self.list()):
            raise ScheduleExists(entry.id)
        await self._store.put(entry, replace=replace)
        return entry

    async def delete(self, entry_id: str) -> None:
        """Forget a periodic task kept in Redis, with its events.

        Raises:
            ScheduleNotFound: There is none.
            ScheduleElsewhere: It is not kept in Redis, so it can only be paused.

        """
        try:
            await self._store.delete(entry_id)
        except ScheduleNotFound:
            info = await self.get(entry_id)
            raise ScheduleElsewhere(entry_id, info.origin, _HOMES[info.origin]) from None

    async def pause(self, entry_id: str) -> None:
        """Let a periodic task fire no more; times that pass meanwhile are not missed ones. Raises as `run` does."""
        await self._store.pause((await self._ours(entry_id)).id)

    async def resume(self, entry_id: str) -> None:
        """Let a periodic task fire again, from now on. Raises as `run` does."""
        await self._store.resume((await self._ours(entry_id)).id)

    async def run(self, entry_id: str) -> TaskInfo:
        """Enqueue a periodic task now, beside its times.

        Raises:
            ScheduleNotFound: There is none.
            ScheduleElsewhere: It is an asynq scheduler's.
            DuplicateTask: An earlier task holds the unique lock.

        """
        return await fire_now(self._client, self._store, await self._ours(entry_id))

    async def events(self, entry_id: str, *, page: int = 0, size: int = 20) -> builtins.list[ScheduleEvent]:
        """Return one page (from 0) of what a periodic task has enqueued, the newest first. Raises `ScheduleNotFound`."""
        if not 0 <= page <= MAX_PAGE:
            raise InvalidOption("page", f"must be a number from 0 to {MAX_PAGE}, not {page}")
        if not 1 <= size <= MAX_PAGE_SIZE:
            raise InvalidOption("size", f"must be a number from 1 to {MAX_PAGE_SIZE}, not {size}")
        events = await self._store.events(entry_id, page=page, size=size)
        if not events:
            await self.get(entry_id)
        return events

    async def next_times(self, entry_id: str, *, count: int = 5) -> builtins.list[datetime]:
        """Return the next times of a periodic task, as if it were not paused. Raises `ScheduleNotFound`."""
        return self.preview((await self.get(entry_id)).spec, count=count)

    def preview(self, spec: str, *, timezone: str | None = None, count: int = 5) -> builtins.list[datetime]:
        """Return the next times of a spec. Raises `InvalidOption`."""
        if not 1 <= count <= MAX_PREVIEW:
            raise InvalidOption("count", f"must be a number from 1 to {MAX_PREVIEW}, not {count}")
        return [*islice(parsed(spec, timezone).times(self._now()), count)]

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._client.broker.clock.now(), UTC)

    async def _ours(self, entry_id: str) -> ScheduleEntry:
        entry = (await self.get(entry_id)).entry
        if entry is None:
            raise ScheduleElsewhere(entry_id, "asynq", _HOMES["asynq"])
        return entry


_HOMES = {
    "settings": "named by the settings; remove it there, or pause it",
    "code": "part of a program's code; remove it there, or pause it",
    "asynq": "an entry of a scheduler in Go; only that can change or run it",
}


def _info(state: ScheduleState, now: datetime, *, from_settings: bool) -> ScheduleInfo:
    entry = state.entry
    return ScheduleInfo(
        id=entry.id,
        spec=entry.asynq_spec(),
        type=entry.type,
        payload=entry.payload,
        options=tuple(entry.asynq_options()),
        origin="settings" if from_settings and state.origin == "code" else state.origin,
        paused=state.paused,
        last_fired=state.last_fired,
        next_fire=None if state.paused else entry.rule().next(now),
        entry=entry,
    )


def _foreign_info(entry: AsynqEntry) -> ScheduleInfo:
    return ScheduleInfo(
        id=entry.id,
        spec=entry.spec,
        type=entry.type,
        payload=entry.payload,
        options=entry.options,
        origin="asynq",
        last_fired=entry.last_fired,
        next_fire=entry.next_fire,
    )
