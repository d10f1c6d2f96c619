"""Broker: what clients and workers do with queues. Every operation takes a batch and is one round trip."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from taskflow.broker import connection, scripts
from taskflow.broker.clock import Clock
from taskflow.broker.cluster import ClusterLink
from taskflow.broker.connection import COMMAND, Profile, Server
from taskflow.broker.delivery import (
    Begun,
    Delivery,
    Exchanged,
    Expired,
    Outcome,
    Pushed,
    Settled,
    Settlement,
    begin_call,
    dequeue_call,
    read_deliveries,
    read_exchanged,
    read_settled,
    result_call,
)
from taskflow.broker.known_queues import KnownQueues, queue_news
from taskflow.broker.link import Link
from taskflow.broker.placement import CHUNK, Placed, Placement, all_placed, enqueue_calls, read_placed
from taskflow.broker.scripts import Call, Script
from taskflow.errors import BrokerUnavailable, TaskFlowError
from taskflow.wire.keys import ALL_QUEUES, queue_keys

RECLAIM, EXTEND, FORWARD, EXPIRED, ORPHANS, CLEAN = map(
    Script, ("reclaim", "extend", "forward", "expired", "orphans", "clean")
)
LEASE_SECONDS = 30.0
"""asynq's own lease; a heartbeat extends it long before its end."""
FORWARD_CHUNK = 100
ARCHIVE_SECONDS = 90 * 24 * 3600
ARCHIVE_SIZE = 10_000
"""Archived tasks are kept 90 days, and the newest 10,000 of a queue, as in asynq."""


class Broker:
    """The queues of one Redis server, for asyncio programs.

    Args:
        url: Where Redis is: `redis://`, `rediss://` (TLS) or `unix://`.
        profile: How to wait for it; see `connection`.
        clock: The one clock; brokers of one process share it.
        lease_seconds: How long a worker may be silent before a task counts as lost.

    Every operation raises `BrokerUnavailable` if Redis does not answer or cannot write.

    """

    def __init__(
        self,
        url: str,
        *,
        profile: Profile = COMMAND,
        clock: Clock | None = None,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self.url = url
        self.clock = clock or Clock()
        self._link = _link(url, profile)
        self.lease_seconds = lease_seconds
        self.server: Server | None = None
        self._known_queues = KnownQueues()

    async def open(self) -> Server:
        """Connect: learn the server's version and set the clock. Done by the first operation if not before.

        Raises:
            UnsupportedServer: The server is too old.

        """
        if self.server is None:
            (info,) = await self.execute(("INFO",))
            server = connection.read_server(info)
            await self.synchronise()
            self.server = server
        return self.server

    async def close(self) -> None:
        """Close the connections."""
        await self._link.close()

    async def synchronise(self) -> None:
        """Set the clock by the server's."""
        asked_at = time.time()
        ((seconds, micros),) = await self.execute(("TIME",))
        self.clock.synchronise(int(seconds) + int(micros) / 1e6, asked_at=asked_at, answered_at=time.time())

    async def infos(self) -> dict[str, bytes]:
        """Return what the server says of itself (`INFO`), by its address; of a cluster, each primary that answers."""
        if isinstance(self._link, ClusterLink):
            with scripts.redis_errors():
                answers = await self._link.ask_primaries(("INFO",))
            return {name: answer for name, answer in sorted(answers.items()) if isinstance(answer, bytes)}
        (info,) = await self.execute(("INFO",))
        return {connection.parse_url(self.url).place: info}

    async def execute(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Run plain commands in one round trip; return their replies as Redis has them. Raises `TaskFlowError` too."""
        return scripts.checked(await self.attempt(*commands))

    async def attempt(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Do as `execute` does, but what the server refused (another kind of value under a key) is an error in its place."""
        try:
            return await scripts.attempt(self._link, commands)
        except BrokerUnavailable:
            self._known_queues.forget()  # after a failover, what was written last may be gone
            raise

    async def run(self, calls: Sequence[Call]) -> list[Any]:
        """Run calls of scripts in one round trip; return their replies. Raises `TaskFlowError` if one is refused."""
        return scripts.checked(await self._run(calls))

    async def _run(self, calls: Sequence[Call], *, each: bool = False, patient: bool = True) -> list[Any]:
        """Run calls; what is refused is an error in its place, and with `each` so is what a part of a cluster left unanswered."""
        server = self.server or await self.open()
        try:
            replies = await scripts.run(self._link, calls, flags=server.understands_flags, each=each, patient=patient)
        except BrokerUnavailable:
            self._known_queues.forget()
            raise
        if each and any(isinstance(reply, BrokerUnavailable) for reply in replies):
            self._known_queues.forget()
        return replies

    async def sweep(self, calls: Sequence[Call]) -> list[Any]:
        """Run a call for each queue; `None` stands in place of the reply where a part of a cluster is away."""
        replies = _checked_but_missing(await self._run(calls, each=True))
        return [None if isinstance(reply, BrokerUnavailable) else reply for reply in replies]

    # -- enqueue ------------------------------------------------------------------------------------------------------

    async def enqueue(self, placements: Sequence[Placement]) -> list[Placed]:
        """Store new tasks; return what became of each. Safe to repeat: a task stored already answers as a repeat."""
        return all_placed(await self.enqueue_each(placements))

    async def enqueue_each(self, placements: Sequence[Placement]) -> list[Placed | BrokerUnavailable]:
        """Do as `enqueue` does, but where only a part of a cluster is away, the error stands in place of its tasks' answers."""
        await self._publish_queues({placement.queue for placement in placements})
        calls = enqueue_calls(placements, now_ns=self.clock.now_ns())
        replies = _checked_but_missing(await self._run([call for call, _ in calls], each=True))
        if notes := self._known_queues.notes(calls, replies):
            await self._name(notes)
            self._known_queues.heed(notes)
        return read_placed(calls, replies, len(placements))

    async def _publish_queues(self, queues: set[str]) -> None:
        new = self._known_queues.unknown(queues)
        if not new:
            return
        try:
            await self._name(new)
        except BrokerUnavailable:
            if not (isinstance(self._link, ClusterLink) and self._known_queues.had(new)):
                raise  # else the node with the names is away, which is no reason to refuse tasks of others
        else:
            self._known_queues.learn(new)

    async def _name(self, queues: Collection[str]) -> None:
        (added,) = await self.execute(("SADD", ALL_QUEUES, *queues))
        if added:
            await self.execute(*queue_news(queues))

    async def queue_names(self) -> list[bytes]:
        """Return the names of all queues, as they stand in Redis, where anybody may have put any bytes."""
        (names,) = await self.execute(("SMEMBERS", ALL_QUEUES))
        return list(names)

    async def pending(self, queues: Sequence[str]) -> list[int]:
        """Return how many tasks of each queue are pending; 1 where Redis refuses to say."""
        lengths: list[int] = []
        for first in range(0, len(queues), CHUNK):
            commands = [("LLEN", queue_keys(queue).pending) for queue in queues[first : first + CHUNK]]
            replies = await self.attempt(*commands)
            lengths += [reply if isinstance(reply, int) else 1 for reply in replies]
        return lengths

    # -- the way of a task through a worker ---------------------------------------------------------------------------

    async def exchange(
        self, outcomes: Sequence[tuple[Delivery, Outcome]], wants: Mapping[str, int], *, owner: str
    ) -> Exchanged:
        """Settle outcomes and lease new tasks, up to `wants[queue]` each, in one round trip.

        `owner` is the server's id and the number of the fetch (`id:7`), so that the fetch can be reclaimed if its reply
        is lost. When this raises, outcomes and fetch may or may not have taken effect: settling again is safe.
        """
        now, now_ns = self.clock.now(), self.clock.now_ns()
        settlement = Settlement(now, now_ns)
        for position, (delivery, outcome) in enumerate(outcomes):
            settlement.add(position, delivery, outcome)
        settling = settlement.calls()
        token = repr(round(now + self.lease_seconds, 6))
        fetching = [
            (queue, dequeue_call(queue, count, expiry=token, owner=owner, now_ns=now_ns))
            for queue, count in wants.items()
            if count > 0
        ]
        calls = [call for call, _ in settling] + [call for _, call in fetching]
        if not calls:
            return Exchanged([], [], frozenset())
        replies = await self._run(calls, each=True, patient=False)
        settled = read_settled(settling, replies, len(outcomes))
        return read_exchanged(
            settled, [queue for queue, _ in fetching], replies[len(settling) :], token, errors=_refused(replies)
        )

    async def dequeue(self, wants: Mapping[str, int], *, owner: str = "") -> list[Delivery]:
        """Lease up to `wants[queue]` tasks of each queue, the oldest first."""
        return (await self.exchange([], wants, owner=owner)).deliveries

    async def settle(self, outcomes: Sequence[tuple[Delivery, Outcome]]) -> list[Settled]:
        """Settle outcomes, each only if its lease is still the delivery's; what got no answer counts as refused."""
        answers = (await self.exchange(outcomes, {}, owner="")).settled
        return [Settled.REFUSED if answer is None else answer for answer in answers]

    async def wait_for_push(self, queue: str, *, seconds: float) -> bool:
        """Wait until a queue holds a task; return whether it does. It occupies the connection: use a broker of its own.

        The element is moved to where it already is, so nothing is taken.
        """
        (element,) = await self.execute(_wait_command(queue, seconds))
        return element is not None

    async def take_at_push(self, queue: str, *, seconds: float, owner: str) -> Pushed:
        """Wait until a queue holds a task and lease it at that very moment.

        Both commands are sent at once, and Redis carries out the second when the first has its answer: that saves a
        round trip. Otherwise as `wait_for_push`.
        """
        server = self.server or await self.open()
        token = repr(round(self.clock.now() + seconds + self.lease_seconds, 6))
        take = dequeue_call(queue, 1, expiry=token, owner=owner, now_ns=None)
        cluster = isinstance(self._link, ClusterLink)
        fetch = take.command(flags=server.understands_flags, cluster=cluster)
        element, reply = await self.execute(_wait_command(queue, seconds), fetch)
        paused = reply == -1
        return Pushed(element is not None, paused, [] if paused else read_deliveries(queue, reply, token))

    async def reclaim(self, queues: Sequence[str], *, owner: str) -> tuple[int, list[str]]:
        """Put back what a fetch leased whose reply was lost, without counting a retry.

        Returns how many tasks, and the queues that a part of a cluster has which is away.
        """
        now_ns = self.clock.now_ns()
        calls = []
        for queue in queues:
            keys = queue_keys(queue)
            calls.append(Call(RECLAIM, (keys.active, keys.lease, keys.pending), [keys.task_prefix, now_ns, owner]))
        counts = await self.sweep(calls)
        away = [queue for queue, count in zip(queues, counts, strict=True) if count is None]
        return sum(count or 0 for count in counts), away

    async def extend(self, deliveries: Sequence[Delivery]) -> list[bool]:
        """Extend the leases by the lease time from now; return for each whether it is still the delivery's.

        A delivery is marked `lost` when it is not. When this raises, or where a part of a cluster is away, either end may stand
        in Redis, and both are known.
        """
        token = repr(round(self.clock.now() + self.lease_seconds, 6))
        by_queue: dict[str, list[Delivery]] = {}
        for delivery in deliveries:
            by_queue.setdefault(delivery.queue, []).append(delivery)
        calls, chunks = [], []
        for queue, all_members in by_queue.items():
            for first in range(0, len(all_members), CHUNK):
                members = all_members[first : first + CHUNK]
                args: list[Any] = [token]
                for delivery in members:
                    args += (delivery.raw_id, delivery.tokens)
                    delivery.propose(token)
                calls.append(Call(EXTEND, (queue_keys(queue).lease,), args))
                chunks.append(members)
        for members, codes in zip(chunks, await self.sweep(calls), strict=True):
            for delivery, code in zip(members, codes or (), strict=codes is not None):
                if code:
                    delivery.confirm(token)
                else:
                    delivery.lost = True
        return [not delivery.lost for delivery in deliveries]

    async def begin(self, delivery: Delivery) -> Begun:
        """Begin a suspect that was leased and held back: from now on a death of its worker counts."""
        now_ns = self.clock.now_ns()
        return Begun(await self._run_leased(delivery, lambda: begin_call(delivery, now_ns=now_ns)))

    async def write_result(self, delivery: Delivery, result: bytes) -> bool:
        """Write the result of a running task; return whether its lease is still the delivery's."""
        return await self._run_leased(delivery, lambda: result_call(delivery, result)) == 1

    async def _run_leased(self, delivery: Delivery, call: Callable[[], Call]) -> int:
        """Run a call that is refused (0) if the lease is another's; return what it answers."""
        while True:
            tokens = delivery.tokens
            (code,) = await self.run([call()])
            if code or not delivery.moved_since(tokens):
                return int(code)

    # -- sweeps -------------------------------------------------------------------------------------------------------

    async def forward(self, queues: Sequence[str]) -> float | None:
        """Make due tasks pending, all of them; return when the next falls due (Unix s), None if nothing waits."""
        nearest: float | None = None
        waiting = list(queues)
        while waiting:
            replies = await self.sweep([self._forward_call(queue) for queue in waiting])
            again = []
            for queue, reply in zip(waiting, replies, strict=True):
                taken, due = reply or (0, b"")
                if taken >= FORWARD_CHUNK:
                    again.append(queue)
                elif due:
                    nearest = min(float(due), nearest or float(due))
            waiting = again
        return nearest

    def _forward_call(self, queue: str) -> Call:
        keys = queue_keys(queue)
        script_keys = (keys.scheduled, keys.retry, keys.pending, keys.groups, keys.archived, keys.due, keys.outbox)
        args = [keys.task_prefix, keys.group_prefix, repr(self.clock.now()), self.clock.now_ns(), FORWARD_CHUNK]
        return Call(FORWARD, script_keys, args)

    async def expired(self, queues: Sequence[str], *, cutoff: float) -> list[Expired]:
        """Return up to 500 tasks of each queue whose lease ended before a time (Unix s)."""
        calls = []
        for queue in queues:
            keys = queue_keys(queue)
            calls.append(Call(EXPIRED, (keys.active, keys.lease), [keys.task_prefix, repr(cutoff), CHUNK]))
        return self._read_expired(queues, await self.sweep(calls))

    async def orphans(self, queues: Sequence[str]) -> list[Expired]:
        """Return the active tasks that have no lease at all: what a broken settlement of another program left behind."""
        calls = []
        for queue in queues:
            keys = queue_keys(queue)
            calls.append(Call(ORPHANS, (keys.active, keys.lease), [keys.task_prefix]))
        return self._read_expired(queues, await self.sweep(calls))

    @staticmethod
    def _read_expired(queues: Sequence[str], replies: Sequence[list[bytes] | None]) -> list[Expired]:
        found = []
        for queue, answer in zip(queues, replies, strict=True):
            reply = answer or []
            for i in range(0, len(reply), 6):
                raw_id, token, data, owner, deaths, begun = reply[i : i + 6]
                delivery = Delivery(queue, raw_id, data, token.decode())
                found.append(Expired(delivery, owner.decode(errors="replace"), int(deaths), bool(begun)))
        return found

    async def clean(self, queues: Sequence[str]) -> int:
        """Delete completed tasks past their retention and archived ones past theirs; return how many."""
        now = int(self.clock.now())
        total = 0
        waiting = [(queue, archived) for queue in queues for archived in (False, True)]
        while waiting:
            replies = await self.sweep([self._clean_call(queue, now, archived=archived) for queue, archived in waiting])
            counts = [reply or 0 for reply in replies]
            total += sum(counts)
            waiting = [sweep for sweep, count in zip(waiting, counts, strict=True) if count >= CHUNK]
        return total

    @staticmethod
    def _clean_call(queue: str, now: int, *, archived: bool) -> Call:
        keys = queue_keys(queue)
        if archived:
            return Call(CLEAN, (keys.archived,), [keys.task_prefix, now - ARCHIVE_SECONDS, ARCHIVE_SIZE, CHUNK])
        return Call(CLEAN, (keys.completed,), [keys.task_prefix, now, 0, CHUNK])

    async def cancelled(self, deliveries: Sequence[Delivery]) -> list[bool]:
        """Return for each running task whether it carries the mark of a cancellation."""
        commands = [("HEXISTS", delivery.task_key, "stop") for delivery in deliveries]
        marks = await self.attempt(*commands)
        return [mark == 1 for mark in marks]  # an error is no mark: somebody put another kind of value under the key


def _refused(replies: list[Any]) -> tuple[TaskFlowError, ...]:
    """Return what the server refused; what it did not answer is no refusal."""
    errors = (reply for reply in replies if isinstance(reply, TaskFlowError))
    return tuple(error for error in errors if not isinstance(error, BrokerUnavailable))


def _checked_but_missing(replies: list[Any]) -> list[Any]:
    """Return the replies; raise the first that is a refusal."""
    for refused in _refused(replies):
        raise refused
    return replies


def _wait_command(queue: str, seconds: float) -> tuple[Any, ...]:
    pending = queue_keys(queue).pending
    return ("BLMOVE", pending, pending, "RIGHT", "RIGHT", seconds)


def _link(url: str, profile: Profile) -> Link | ClusterLink:
    """Return connections that open when first used. Raises `ConfigError` for a URL that cannot be used."""
    if connection.parse_url(url).kind == "cluster":
        return ClusterLink(connection.connect_cluster(url, profile), timeout=profile.timeout)
    return Link(partial(connection.open_connection, url, profile), timeout=profile.timeout)
