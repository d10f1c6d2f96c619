"""Scheduler: enqueues periodic tasks. Any number of replicas may run.

Each firing has an id made of the entry and its time, and the script that enqueues it also leaves a mark of that id: so a
firing is enqueued once, whoever comes first, however often a replica dies in between.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import structlog

from taskflow.broker.queue import Broker
from taskflow.broker.schedules import ScheduleEntry, ScheduleEvent, ScheduleState, ScheduleStore
from taskflow.broker.subscriptions import Listener, Subscriptions
from taskflow.client import Client
from taskflow.cron import Spec
from taskflow.errors import BrokerUnavailable, DuplicateTask, ScheduleNotFound
from taskflow.task import Task
from taskflow.wire.keys import SCHEDULE_NEWS

_LOG = structlog.get_logger("taskflow.scheduler")

BEAT = 10.0
"""How often (s) the entries are read anew and published, as in asynq."""
ON_TIME = timedelta(seconds=30)
"""A firing that is no later than this is not a missed one: the scheduler was busy, not away."""


class Scheduler:
    """Fires entries from code and settings, and those kept in Redis.

    Args:
        broker: Where the tasks go.
        entries: The entries from code and settings. One kept in Redis under the same id takes precedence.

    """

    def __init__(self, broker: Broker, entries: Iterable[ScheduleEntry] = ()) -> None:
        self._broker = broker
        self._client = Client(broker)
        self._store = ScheduleStore(broker)
        self._own = {entry.id: entry for entry in entries}
        self._rules: dict[tuple[str, str | None], Spec] = {}
        self._states: dict[str, ScheduleState] = {}
        self._dice = random.Random()  # noqa: S311 - jitter
        self._stopping = asyncio.Event()
        self.ready = asyncio.Event()
        """Set once it fires."""

    def stop(self) -> None:
        """Stop."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until `stop` is called; an outage of Redis is waited out.

        Raises:
            UnsupportedServer: The server is too old.

        """
        await self._broker.open()
        subscriptions = Subscriptions(self._broker.url)
        try:
            async with subscriptions.listen(SCHEDULE_NEWS) as listener:
                await self._work(listener)
        finally:
            await subscriptions.close()

    async def _work(self, listener: Listener) -> None:
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            while not self._stopping.is_set():
                wait = await self._try()
                news = asyncio.create_task(listener.wait(wait))
                await asyncio.wait([news, stopping], return_when=asyncio.FIRST_COMPLETED)
                news.cancel()
        finally:
            stopping.cancel()

    async def _try(self) -> float:
        """Do one round; return how long (s) to wait before the next."""
        try:
            wait = await self.run_once()
        except BrokerUnavailable as error:
            _LOG.warning("the scheduler waits for Redis", error=str(error))
            return 1.0
        self.ready.set()
        return wait

    async def run_once(self) -> float:
        """Fire what is due, publish what there is, and return how long (s) nothing falls due, at most a beat."""
        now = datetime.fromtimestamp(self._broker.clock.now(), UTC)
        await self._broker.synchronise()
        await self._load(now)
        for state in list(self._states.values()):
            if not state.paused:
                await self._fire(state, now)
        await self._store.publish(list(self._states.values()))
        next_fires = [state.next_fire for state in self._states.values() if state.next_fire and not state.paused]
        nearest = min(next_fires, default=now + timedelta(seconds=BEAT))
        now = datetime.fromtimestamp(self._broker.clock.now(), UTC)
        return min(BEAT, max(0.0, (nearest - now).total_seconds()))

    async def states(self) -> list[ScheduleState]:
        """Return all entries as they stand."""
        await self._load(datetime.fromtimestamp(self._broker.clock.now(), UTC))
        return list(self._states.values())

    async def fire_now(self, entry_id: str) -> str:
        """Enqueue an entry's task at once, beside its times; return the task's id. Raises `ScheduleNotFound`."""
        states = {state.entry.id: state.entry for state in await self.states()}
        if entry_id not in states:
            raise ScheduleNotFound(entry_id)
        entry = states[entry_id]
        info = await self._client.enqueue(Task(entry.type, entry.payload, entry.options()))
        await self._store.record_event(entry_id, ScheduleEvent(task_id=info.id, at=datetime.now(UTC)))
        return info.id

    async def _load(self, now: datetime) -> None:
        stored = {entry.id: entry for entry in await self._store.entries()}
        paused, fired = await self._store.paused(), await self._store.fired()
        new = {entry_id: now for entry_id in {**self._own, **stored} if entry_id not in fired}
        await self._store.note_fired(new)
        self._states = {
            entry_id: ScheduleState(
                entry=entry,
                paused=entry_id in paused,
                last_fired=fired.get(entry_id),
                next_fire=self._rule(entry).next(fired.get(entry_id, now)),
                stored=entry_id in stored,
            )
            for entry_id, entry in sorted({**self._own, **stored}.items())
        }

    def _rule(self, entry: ScheduleEntry) -> Spec:
        key = (entry.spec, entry.timezone)
        if key not in self._rules:
            self._rules[key] = entry.rule()
        return self._rules[key]

    async def _fire(self, state: ScheduleState, now: datetime) -> None:
        entry = state.entry
        if state.next_fire is None or state.next_fire > now:
            return
        times = self._rule(entry).missed(state.last_fired or now, now, most=max(1, entry.catch_up))
        for moment in _wanted(entry, times, now):
            await self._enqueue(entry, moment)
        await self._store.note_fired({entry.id: times[-1]})
        self._states[entry.id] = ScheduleState(
            entry=entry,
            paused=state.paused,
            last_fired=times[-1],
            next_fire=self._rule(entry).next(times[-1]),
            stored=state.stored,
        )

    async def _enqueue(self, entry: ScheduleEntry, moment: datetime) -> None:
        firing = f"{entry.id}:{int(moment.timestamp())}"
        delay = entry.jitter * self._dice.random()
        task = Task(entry.type, entry.payload, entry.options(task_id=firing, process_in=delay or None))
        try:
            stored = await self._client.enqueue_once(task, once=firing)
        except DuplicateTask as error:
            _LOG.info("not enqueued: an earlier task holds the unique lock", schedule=entry.id, holder=error.holder)
            return
        if stored:
            await self._store.record_event(entry.id, ScheduleEvent(task_id=firing, at=moment))


def _wanted(entry: ScheduleEntry, times: list[datetime], now: datetime) -> list[datetime]:
    """Return which of the times that have passed are fired."""
    if entry.missed == "all":
        return times
    if entry.missed == "once":
        return times[-1:]
    return [moment for moment in times if now - moment <= ON_TIME]
