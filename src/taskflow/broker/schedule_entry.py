"""ScheduleEntry: a periodic task, and what is known of it at a moment. Frozen values, no I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Literal, get_args

from msgspec import Struct, field

from taskflow.cron import Missed, Spec, parsed
from taskflow.durations import format_duration
from taskflow.errors import InvalidOption
from taskflow.task import EnqueueOptions, Task, TaskOptions, check_task_type
from taskflow.unique import Unique
from taskflow.wire.keys import queue_keys
from taskflow.wire.payload import encode_payload
from taskflow.wire.unique import lock_key

MAX_ID_BYTES = 128
MAX_CATCH_UP = 10_000

Origin = Literal["redis", "code"]
"""Where an entry is kept: in Redis, or in a program's code or settings."""


class ScheduleEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A periodic task.

    Attributes:
        id: Its name, 1 to 128 bytes, one of a kind on a Redis server.
        spec: When: see `cron.Spec`.
        type: Type of the task.
        payload: Its payload, as it travels.
        timezone: Time zone of the spec, unless the spec names one. Default UTC.
        queue, max_retries, timeout, retention, unique, headers, callback_url: Options of each task; see `TaskOptions`.
        missed: What becomes of times at which no scheduler ran. Default `skip`.
        catch_up: How many missed times `all` fires at most: 1 to 10,000. Default 100.
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
    unique: timedelta | Unique | None = None
    headers: dict[str, str] = field(default_factory=dict)
    callback_url: str | None = None
    missed: Missed = "skip"
    catch_up: int = 100
    jitter: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        if not self.id.strip() or not self.id.isprintable() or len(self.id.encode()) > MAX_ID_BYTES:
            raise InvalidOption(
                "id", f"must be a name of 1 to {MAX_ID_BYTES} bytes without control characters, not {self.id!r}"
            )
        check_task_type(self.type)
        self.rule()
        self.options()
        if isinstance(self.unique, Unique):
            lock_key(queue_keys(self.queue), self.type, self.payload or None, self.unique)
        if self.missed not in get_args(Missed):
            raise InvalidOption("missed", f"must be one of {', '.join(get_args(Missed))}, not {self.missed!r}")
        if not 1 <= self.catch_up <= MAX_CATCH_UP:
            raise InvalidOption("catch_up", f"must be 1 to {MAX_CATCH_UP}, not {self.catch_up}")
        try:
            TaskOptions(process_in=self.jitter)
        except InvalidOption as error:
            raise InvalidOption("jitter", error.reason) from error

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
            callback_url=options.callback_url,
            missed=missed,
            catch_up=catch_up,
            jitter=jitter,
        )

    def rule(self) -> Spec:
        """Return the spec, parsed. Raises `InvalidOption`."""
        return parsed(self.spec, self.timezone)

    def has_rule_of(self, other: ScheduleEntry) -> bool:
        """Whether it fires at the same times as another."""
        return (self.spec, self.timezone) == (other.spec, other.timezone)

    def options(self, **more: Any) -> TaskOptions:
        """Return the options of a task, with more of them. Raises `InvalidOption`."""
        options: EnqueueOptions = {
            "queue": self.queue,
            "max_retries": self.max_retries,
            "timeout": self.timeout,
            "retention": self.retention,
            "unique": self.unique,
            "headers": self.headers,
            "callback_url": self.callback_url,
            **more,  # type: ignore[typeddict-item]  # the scheduler's: task_id, process_in
        }
        return TaskOptions(**options)

    def task(self, **more: Any) -> Task:
        """Return a task to enqueue, with more options."""
        return Task(self.type, self.payload or None, self.options(**more))

    def asynq_spec(self) -> str:
        """Return the spec with its time zone, as asynq writes it."""
        return self.spec if self.timezone is None or "TZ=" in self.spec else f"CRON_TZ={self.timezone} {self.spec}"

    def asynq_options(self) -> list[str]:
        """Return the options in the words that asynq's tools parse."""
        words = [f"Queue({json.dumps(self.queue, ensure_ascii=False)})", f"MaxRetry({self.max_retries})"]
        unique = self.unique.ttl if isinstance(self.unique, Unique) else self.unique
        spans = {"Timeout": self.timeout, "Retention": self.retention, "Unique": unique}
        return words + [f"{name}({format_duration(span)})" for name, span in spans.items() if span]


class Fired(Struct, frozen=True):
    """Up to when the times of an entry are done with, and which of them was fired last, if any was."""

    until: datetime
    last: datetime | None = None


class ScheduleState(Struct, frozen=True, kw_only=True):
    """An entry as it stands. While it is paused there is no next time."""

    entry: ScheduleEntry
    origin: Origin
    done_until: datetime
    paused: bool = False
    last_fired: datetime | None = None
    next_fire: datetime | None = None


class ScheduleEvent(Struct, frozen=True, kw_only=True):
    """A task that an entry enqueued, and the time for which it did."""

    task_id: str
    at: datetime


class AsynqEntry(Struct, frozen=True, kw_only=True):
    """An entry of an asynq scheduler: what its record says. `options` are Go text, such as `MaxRetry(3)`."""

    id: str
    spec: str
    type: str
    payload: bytes
    options: tuple[str, ...]
    last_fired: datetime | None
    next_fire: datetime | None


class Snapshot(Struct, frozen=True):
    """What Redis holds of periodic tasks at a moment.

    `stored` are the entries kept there, `code` those of the programs whose schedulers run; `unreadable` has ids of entries
    that cannot be read, or whose options are refused by now.
    """

    stored: Mapping[str, ScheduleEntry]
    code: Mapping[str, ScheduleEntry]
    fired: Mapping[str, Fired]
    paused: frozenset[str]
    unreadable: tuple[str, ...]

    def states(
        self,
        own: Mapping[str, ScheduleEntry],
        *,
        now: datetime,
        before: Mapping[str, ScheduleState] = MappingProxyType({}),
    ) -> dict[str, ScheduleState]:
        """Return the entries of a program's code and those kept in Redis, which take precedence, as they stand.

        `before` are earlier states, whose next times need not be found again.
        """
        entries = dict(sorted({**own, **self.stored}.items()))
        return {entry_id: self._state(entry, now, before.get(entry_id)) for entry_id, entry in entries.items()}

    def _state(self, entry: ScheduleEntry, now: datetime, before: ScheduleState | None) -> ScheduleState:
        fired = self.fired.get(entry.id) or Fired(now)
        next_fire = None
        if entry.id not in self.paused:
            known = before.next_fire if before is not None and before.entry.has_rule_of(entry) else None
            next_fire = known if known is not None and known > fired.until else entry.rule().next(fired.until)
        return ScheduleState(
            entry=entry,
            origin="redis" if entry.id in self.stored else "code",
            done_until=fired.until,
            paused=entry.id in self.paused,
            last_fired=fired.last,
            next_fire=next_fire,
        )
