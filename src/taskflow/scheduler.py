"""Scheduler: enqueues periodic tasks. Any number of replicas may run.

Each firing has an id made of the entry and its time, and the script that enqueues it also leaves a mark of that id: so a
firing is enqueued once, whoever comes first, however often a replica dies in between.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from taskflow.broker import connection
from taskflow.broker.queue import Broker
from taskflow.broker.schedule_entry import Fired, ScheduleEntry, ScheduleEvent, ScheduleState, Snapshot
from taskflow.broker.schedules import FORGET_AFTER, ScheduleStore
from taskflow.broker.subscriptions import Listener, Subscriptions
from taskflow.client import Client
from taskflow.errors import BrokerUnavailable, DuplicateTask, ScheduleNotFound, TaskFlowError
from taskflow.signals import stop_on_signals
from taskflow.task import TaskInfo
from taskflow.wire.keys import SCHEDULE_NEWS
from taskflow.wire.payload import encode_payload

if TYPE_CHECKING:
    from taskflow.config import Settings

_LOG = structlog.get_logger("taskflow.scheduler")

BEAT = 10.0
"""How often (s) the entries are read anew and published, as in asynq; a change in Redis is read at once."""
ON_TIME = timedelta(seconds=30)
"""A firing that is no later than this is not a missed one: the scheduler was busy, or another takes over."""
_OUTAGE_CHECK = 1.0
"""How long (s) to wait before Redis is tried again."""


class Scheduler:
    """Fires entries from code and settings, and those kept in Redis.

    Args:
        redis: URL of the Redis server, or a `Broker` to share.
        entries: The entries from code and settings. One kept in Redis under the same id takes precedence.
        allow_eviction: Work also on a server that throws keys away when its memory is full.

    Raises:
        ConfigError: The URL cannot be used.

    """

    def __init__(
        self, redis: str | Broker, entries: Iterable[ScheduleEntry] = (), *, allow_eviction: bool = False
    ) -> None:
        self._broker = redis if isinstance(redis, Broker) else Broker(redis)
        self._owns_broker = not isinstance(redis, Broker)
        self._allow_eviction = allow_eviction
        self._client = Client(self._broker)
        self.store = ScheduleStore(self._broker)
        self._own = {entry.id: entry for entry in entries}
        self._states: dict[str, ScheduleState] = {}
        self._read_again_at = datetime.fromtimestamp(0, UTC)
        self._unreadable: tuple[str, ...] = ()
        self._available = True
        self._dice = random.Random()  # noqa: S311 - jitter
        self._stopping = asyncio.Event()
        self.ready = asyncio.Event()
        """Set once it fires."""

    def stop(self) -> None:
        """Stop."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until `stop` is called.

        Raises:
            BrokerUnavailable: Redis does not answer at the start; later outages are waited out.
            UnsupportedServer: The server is too old or set up to lose tasks.

        """
        try:
            connection.check_safe(await self._broker.open(), allow_eviction=self._allow_eviction)
            subscriptions = Subscriptions(self._broker.url)
            try:
                async with subscriptions.listen(SCHEDULE_NEWS) as listener:
                    await self._work(listener)
            finally:
                await subscriptions.close()
        finally:
            if self._owns_broker:
                await self._broker.close()
        _LOG.info("scheduler stopped")

    async def run_with_signals(self) -> None:
        """Work until SIGTERM or SIGINT. Raises as `run` does."""
        with stop_on_signals(self.stop):
            await self.run()

    async def _work(self, listener: Listener) -> None:
        word = asyncio.create_task(self._stopping.wait())
        hearing = asyncio.create_task(listener.wait())
        news = True
        try:
            while not self._stopping.is_set():
                wait = await self._try(news=news)
                await asyncio.wait([word, hearing], timeout=wait, return_when=asyncio.FIRST_COMPLETED)
                news = hearing.done()
                if news:
                    hearing = asyncio.create_task(listener.wait())
        finally:
            word.cancel()
            hearing.cancel()

    async def _try(self, *, news: bool) -> float:
        """Do one round; return how long (s) to wait before the next."""
        try:
            wait = await self.run_once(news=news)
        except BrokerUnavailable as error:
            if self._available:
                _LOG.warning("the scheduler waits for Redis", error=str(error))
            self._available = False
            return _OUTAGE_CHECK
        except TaskFlowError:
            _LOG.exception("Redis refused a round of the scheduler")
            return BEAT
        self._available = True
        if not self.ready.is_set():
            _LOG.info("scheduler started", entries=len(self._states))
            self.ready.set()
        return wait

    # -- one round ----------------------------------------------------------------------------------------------------

    async def run_once(self, *, news: bool = True) -> float:
        """Fire what is due; return how long (s) nothing falls due, at most until the entries are read anew.

        They are read, and published, at each beat; with `news` now.

        Raises:
            BrokerUnavailable: Redis does not answer; what is due fires in the next round.
            TaskFlowError: Redis refused to read or write what the entries need.

        """
        if news:
            self._read_again_at = datetime.fromtimestamp(0, UTC)
        beat = self._now() >= self._read_again_at
        if beat:
            await self._broker.synchronise()
        now = self._now()
        if beat:
            self._keep(await self.store.snapshot(), now)
        await self._fire_all(now)
        if beat:
            await self._publish(now)
            self._read_again_at = now + timedelta(seconds=BEAT)
        return max(0.0, (self._next_round() - self._now()).total_seconds())

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._broker.clock.now(), UTC)

    def _next_round(self) -> datetime:
        next_fires = [state.next_fire for state in self._states.values() if state.next_fire is not None]
        return min([self._read_again_at, *next_fires])

    def _keep(self, snapshot: Snapshot, now: datetime) -> None:
        self._snapshot = snapshot
        self._states = snapshot.states(self._own, now=now, before=self._states)
        if snapshot.unreadable != self._unreadable:
            _LOG.error("schedules in Redis cannot be read; they do not fire", schedules=snapshot.unreadable)
            self._unreadable = snapshot.unreadable

    async def _publish(self, now: datetime) -> None:
        """Publish the entries, note that all times up to now are done with, and forget entries that nobody knows any more."""
        await self.store.note_fired({id_: Fired(now, state.last_fired) for id_, state in self._states.items()})
        await self.store.publish(self._states.values())
        known = {*self._states, *self._snapshot.code, *self._snapshot.unreadable}
        fired = self._snapshot.fired.items()
        await self.store.forget([id_ for id_, done in fired if id_ not in known and now - done.until > FORGET_AFTER])

    # -- firing -------------------------------------------------------------------------------------------------------

    async def _fire_all(self, now: datetime) -> None:
        due = [state for state in self._states.values() if state.next_fire is not None and state.next_fire <= now]
        outcomes = await asyncio.gather(*(self._fire(state, now) for state in due), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _fire(self, state: ScheduleState, now: datetime) -> None:
        """Fire an entry whose time has come. Raises `BrokerUnavailable`; whatever else is wrong with it is logged."""
        entry = state.entry
        times = wanted_times(entry, state.done_until, now)
        # Together, so that the client sends them in one batch.
        answers = await asyncio.gather(*(self._enqueue(entry, moment) for moment in times), return_exceptions=True)
        events = []
        for moment, answer in zip(times, answers, strict=True):
            if isinstance(answer, ScheduleEvent):
                events.append(answer)
            elif isinstance(answer, DuplicateTask):
                _LOG.info(
                    "not enqueued: an earlier task holds the unique lock", schedule=entry.id, at=moment.isoformat()
                )
            elif isinstance(answer, BrokerUnavailable) or not isinstance(answer, TaskFlowError):
                raise answer
            else:
                _LOG.error("a schedule could not fire", schedule=entry.id, at=moment.isoformat(), error=str(answer))
        fired = Fired(now, events[-1].at if events else state.last_fired)
        await self.store.record(entry.id, events, fired)
        next_fire = entry.rule().next(now)
        self._states[entry.id] = ScheduleState(
            entry=entry, origin=state.origin, done_until=now, last_fired=fired.last, next_fire=next_fire
        )

    async def _enqueue(self, entry: ScheduleEntry, moment: datetime) -> ScheduleEvent:
        """Enqueue the task of one time, unless a replica has. The event is the same whoever did it, so it is kept once."""
        firing = f"{entry.id}:{int(moment.timestamp())}"
        delay = entry.jitter * self._dice.random()
        await self._client.enqueue_once(entry.task(task_id=firing, process_in=delay or None), once=firing)
        return ScheduleEvent(task_id=firing, at=moment)

    async def fire_now(self, entry_id: str) -> TaskInfo:
        """Enqueue an entry's task at once, beside its times. Raises `ScheduleNotFound`, and as `Client.enqueue` does."""
        entries = {**self._own, **(await self.store.snapshot()).stored}
        if entry_id not in entries:
            raise ScheduleNotFound(entry_id)
        return await fire_now(self._client, self.store, entries[entry_id])

    async def states(self) -> list[ScheduleState]:
        """Return all entries as they stand."""
        return list((await self.store.snapshot()).states(self._own, now=self._now()).values())


async def fire_now(client: Client, store: ScheduleStore, entry: ScheduleEntry) -> TaskInfo:
    """Enqueue an entry's task at once, beside its times, and write the event, if it is new. Raises as `Client.enqueue` does."""
    info = await client.enqueue(entry.task())
    at = datetime.fromtimestamp(client.broker.clock.now(), UTC)
    if not info.existing:
        await store.record(entry.id, [ScheduleEvent(task_id=info.id, at=at)])
    return info


def wanted_times(entry: ScheduleEntry, done_until: datetime, now: datetime) -> list[datetime]:
    """Return which of the times that have passed are fired, oldest first: those on time, and missed ones as the entry says."""
    wanted = {"skip": 0, "once": 1, "all": entry.catch_up}[entry.missed]
    times = entry.rule().latest(done_until, now, most=int(ON_TIME.total_seconds()) + 1 + wanted)
    on_time = [moment for moment in times if now - moment <= ON_TIME]
    if entry.missed == "once" and on_time:
        return on_time
    late = times[: len(times) - len(on_time)]
    return late[max(0, len(late) - wanted) :] + on_time


def entries_of(settings: Settings) -> list[ScheduleEntry]:
    """Return the entries that the settings name; what they leave out is as the sections `tasks` and `queues` say."""
    return [
        ScheduleEntry(
            id=entry_id,
            spec=section.spec,
            type=section.type,
            payload=encode_payload(section.payload),
            timezone=section.timezone,
            queue=settings.queues.default if section.queue is None else section.queue,
            max_retries=settings.tasks.max_retries if section.max_retries is None else section.max_retries,
            timeout=settings.tasks.timeout if section.timeout is None else section.timeout,
            retention=settings.tasks.retention if section.retention is None else section.retention,
            unique=None if section.unique is None else section.unique.lock(),
            headers=dict(section.headers),
            missed=section.missed,
            catch_up=section.catch_up,
            jitter=section.jitter,
        )
        for entry_id, section in settings.schedules.items()
    ]


def effective_entries(code: Mapping[str, ScheduleEntry], settings: Settings) -> list[ScheduleEntry]:
    """Return the entries of a program: those of its code, and those of its settings, which take precedence."""
    return list({**code, **{entry.id: entry for entry in entries_of(settings)}}.values())
