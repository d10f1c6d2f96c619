"""Groups: members gather in a group; when it is due they move into a closed set, and one aggregate task takes their place.

A closed set belongs to whoever closed it until its deadline, which carries microseconds: as with leases, the deadline in
Redis is the token. Whoever comes too late finds that the set is another's, and writes nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Any

from msgspec import Struct

from taskflow.broker.placement import CHUNK, Placement
from taskflow.broker.queue import EXTEND, Broker
from taskflow.broker.scripts import Call, Script
from taskflow.errors import MessageInvalid
from taskflow.task import GroupInfo
from taskflow.wire import message as wire
from taskflow.wire.keys import DUE_CHANNEL, ENDED_CHANNEL, queue_keys
from taskflow.wire.message import TaskMessage

CLOSE, READ_SET, REJECT, AGGREGATE, REOPEN, RECLAIM_SETS, GROUPS = map(
    Script,
    ("close_group", "read_set", "reject_members", "aggregate", "reopen_set", "reclaim_sets", "groups"),
)
SET_SECONDS = 120.0
"""How long a closed set may be silent before its members go back into their group, as in asynq."""
LARGEST_SET = 5000
"""The most members of one set, so that the script that removes them holds up the server for some milliseconds only."""


class GroupPolicy(Struct, frozen=True, kw_only=True):
    """When a group is closed: by its size, its oldest member, or its newest.

    Attributes:
        grace: How long (s) no new member must have come. Default 60 s, as in asynq.
        max_delay: How long (s) the oldest member may wait at most; 0: as long as members keep coming.
        max_size: How many members are enough, and the most of one set; 0: 5,000.

    """

    grace: float = 60.0
    max_delay: float = 0.0
    max_size: int = 0


class ClosedSet:
    """A closed set that is the caller's. `tokens` are the deadlines that may stand in Redis now, `size` counts its members.

    `locks` are the members' unique locks, known once they were read: id, key, id, key.
    """

    __slots__ = ("deadline", "key", "locks", "name", "queue", "size", "tokens")

    def __init__(self, queue: str, name: bytes, key: bytes, token: str, size: int) -> None:
        self.queue = queue
        self.name = name
        """The group's name as it stands in Redis."""
        self.key = key
        self.tokens = token
        self.deadline = float(token)
        self.size = size
        self.locks: list[bytes | str] = []

    @property
    def group(self) -> str:
        """The group's name."""
        return self.name.decode(errors="replace")


class Member(Struct, frozen=True):
    """A task in a closed set. `message` is None if it has no hash (`data` None), or one that cannot be decoded."""

    raw_id: bytes
    data: bytes | None
    lock: bytes
    message: TaskMessage | None

    @property
    def id(self) -> str:
        """The task's id."""
        return self.raw_id.decode(errors="replace")


class Aggregation(IntEnum):
    """What became of an aggregate task; but for STORED and REPEAT the members are where they were."""

    LOST = 0
    """The set is another's by now, or its members are back in their group."""
    STORED = 1
    REPEAT = 2
    """The aggregate task is there, with this very message."""
    ID_TAKEN = 3
    CHANGED = 4
    """Members were cancelled or deleted since the set was read."""
    LOCKED = 5
    """Another task holds the aggregate task's unique lock."""

    @property
    def done(self) -> bool:
        """Whether the aggregate task stands in for the members."""
        return self in {Aggregation.STORED, Aggregation.REPEAT}


class Groups:
    """The groups of a broker's queues. Every operation raises `BrokerUnavailable` if Redis does not answer.

    Args:
        broker: Where the queues are.
        set_seconds: How long a closed set may be silent before it counts as abandoned.

    """

    def __init__(self, broker: Broker, *, set_seconds: float = SET_SECONDS) -> None:
        self._broker = broker
        self.set_seconds = set_seconds
        self._seen: dict[str, list[bytes]] = {}

    # -- look ---------------------------------------------------------------------------------------------------------

    async def infos(self, queue: str) -> list[GroupInfo]:
        """Return the groups of a queue with their sizes, by name. Members that are being aggregated are not counted."""
        keys = queue_keys(queue)
        (reply,) = await self._broker.run([Call(GROUPS, (keys.groups,), [keys.group_prefix])])
        pairs = zip(reply[::2], reply[1::2], strict=True)
        found = [GroupInfo(queue=queue, name=name.decode(errors="replace"), size=size) for name, size in pairs]
        return sorted(found, key=lambda group: group.name)

    async def names(self, queues: Sequence[str]) -> dict[str, Sequence[bytes]]:
        """Return the names of the groups of each queue, as they stand in Redis."""
        replies = await self._broker.execute(*(("SMEMBERS", queue_keys(queue).groups) for queue in queues))
        return {queue: sorted(names) for queue, names in zip(queues, replies, strict=True)}

    # -- close --------------------------------------------------------------------------------------------------------

    async def close(
        self,
        queue: str,
        policy: GroupPolicy,
        names: Sequence[bytes] | None = None,
        *,
        most: int = CHUNK,
    ) -> Sequence[ClosedSet]:
        """Close those groups of a queue that are due, at most `most` of them; `names` are to be looked at, None for all.

        What is in a group beyond the largest size stays in it, and is due at the next call.
        """
        if names is None:
            names = (await self.names([queue]))[queue]
        closed: list[ClosedSet] = []
        for first in range(0, len(names), CHUNK):
            if most <= len(closed):
                break
            closed += await self._close(queue, policy, names[first : first + CHUNK], most - len(closed))
        return closed

    async def _close(self, queue: str, policy: GroupPolicy, names: Sequence[bytes], most: int) -> list[ClosedSet]:
        keys = queue_keys(queue)
        now = self._broker.clock.now()
        token = self._token()
        args: list[Any] = [keys.group_prefix, repr(now), token, policy.max_size, repr(policy.max_delay)]
        args += (repr(policy.grace), LARGEST_SET, most)
        ids = [str(uuid.uuid4()).encode() for _ in names]
        for name, set_id in zip(names, ids, strict=True):
            args += (name, set_id)
        (sizes,) = await self._broker.run([Call(CLOSE, (keys.groups, keys.aggregation_sets), args)])
        prefix = keys.group_prefix.encode()
        return [
            ClosedSet(queue, name, prefix + name + b":" + set_id, token, size)
            for name, set_id, size in zip(names, ids, sizes, strict=True)
            if size
        ]

    def _token(self) -> str:
        return repr(round(self._broker.clock.now() + self.set_seconds, 6))

    # -- a closed set -------------------------------------------------------------------------------------------------

    async def members(self, closed: ClosedSet) -> list[Member] | None:
        """Return the members of a set, oldest first; None if it is not the caller's any more."""
        while True:
            found: list[Member] = []
            for first in range(0, max(closed.size, 1), CHUNK):
                part = await self._read(closed, first)
                if part is None:
                    return None
                found += part
            if len(found) == closed.size:
                closed.locks = _locks(closed.queue, found)
                return found
            closed.size = len(found)  # some were cancelled or deleted, perhaps between two parts: ranks have moved

    async def _read(self, closed: ClosedSet, first: int) -> list[Member] | None:
        keys = queue_keys(closed.queue)
        args = [keys.task_prefix, closed.tokens, first, first + CHUNK - 1]
        (reply,) = await self._broker.run([Call(READ_SET, (closed.key, keys.aggregation_sets), args)])
        if reply is None:
            return None
        return [Member(*row, _decoded(row[1])) for row in zip(reply[::3], reply[1::3], reply[2::3], strict=True)]

    async def reject(self, closed: ClosedSet, members: Iterable[Member]) -> int:
        """Take members off a set that cannot be aggregated: archive them, and drop those without a hash.

        Returns how many; -1 if the set is not the caller's any more. At most 5,000 at once.
        """
        keys = queue_keys(closed.queue)
        now = self._broker.clock.now()
        args: list[Any] = [keys.task_prefix, closed.tokens, int(now), ENDED_CHANNEL]
        for member in members:
            args += (member.raw_id, _archived(closed.queue, member, now), member.lock)
        script_keys = (closed.key, keys.aggregation_sets, keys.archived)
        (taken,) = await self._broker.run([Call(REJECT, script_keys, args)])
        closed.size -= max(0, taken)
        return int(taken)

    async def extend(self, closed: ClosedSet) -> bool:
        """Move a set's deadline; return whether the set is still the caller's. When this raises, it may have moved."""
        token = self._token()
        args = [token, closed.key, closed.tokens]
        closed.tokens = f"{closed.tokens} {token}"
        ((code,),) = await self._broker.run([Call(EXTEND, (queue_keys(closed.queue).aggregation_sets,), args)])
        if code:
            closed.tokens, closed.deadline = token, float(token)
        return bool(code)

    async def settle(self, closed: ClosedSet, task: Placement) -> Aggregation:
        """Put a task in the place of a set that was read. Safe to repeat.

        The task must be of the set's queue; its id and lock may be a member's own.
        """
        keys = queue_keys(closed.queue)
        now_ns = self._broker.clock.now_ns()
        args: list[Any] = [keys.prefix, ENDED_CHANNEL, closed.tokens, closed.size, now_ns]
        args += (
            now_ns // 1_000_000_000,
            DUE_CHANNEL,
            closed.queue,
            task.id,
            task.message,
            "" if task.due is None else repr(task.due),
        )
        args += (task.group, task.lock, task.lock_terms, *closed.locks)
        script_keys = (closed.key, keys.aggregation_sets, keys.pending, keys.scheduled, keys.groups, keys.due)
        (code,) = await self._broker.run([Call(AGGREGATE, script_keys, args)])
        return Aggregation.LOCKED if isinstance(code, bytes) else Aggregation(code)

    async def reopen(self, closed: ClosedSet) -> int:
        """Put the members of a set back into its group; return how many: 0 if it is not the caller's any more."""
        keys = queue_keys(closed.queue)
        args = [keys.group_prefix, closed.tokens, LARGEST_SET]
        (count,) = await self._broker.run([Call(REOPEN, (keys.groups, keys.aggregation_sets, closed.key), args)])
        return max(0, int(count))

    # -- sweep --------------------------------------------------------------------------------------------------------

    async def reclaim(self, queues: Sequence[str]) -> int:
        """Put the members of abandoned sets back into their groups; return how many tasks.

        A group whose set another program has put back meanwhile is named again: asynq does the one and forgets the other.
        """
        total = 0
        waiting = list(queues)
        while waiting:
            calls = []
            for queue in waiting:
                keys = queue_keys(queue)
                args: list[Any] = [keys.group_prefix, repr(self._broker.clock.now()), LARGEST_SET, CHUNK]
                args += self._seen.get(queue, [])
                calls.append(Call(RECLAIM_SETS, (keys.groups, keys.aggregation_sets), args))
            replies: Mapping[str, Any] = dict(zip(waiting, await self._broker.run(calls), strict=True))
            self._seen |= {queue: groups for queue, (_, groups) in replies.items()}
            total += sum(count for count, _ in replies.values())
            waiting = [queue for queue, (count, _) in replies.items() if count >= LARGEST_SET]
        return total


def _locks(queue: str, members: Iterable[Member]) -> list[bytes | str]:
    """Return the locks that the members' messages name, each after the member's id; messages are strangers' text."""
    prefix = queue_keys(queue).unique_prefix
    held = ((member.raw_id, member.message.unique_key) for member in members if member.message is not None)
    return [part for raw_id, lock in held if lock.startswith(prefix) for part in (raw_id, lock)]


def _decoded(data: bytes | None) -> TaskMessage | None:
    try:
        message = None if data is None else wire.decode(data)
    except MessageInvalid:
        return None
    return message if message is not None and message.type.strip() else None


def _archived(queue: str, member: Member, now: float) -> bytes:
    """Return the message under which a member is archived, b"" for one without a hash."""
    if member.data is None:
        return b""
    message = wire.undecodable(member.id, queue, member.data)
    return wire.failed(message, at=now, error=wire.UNDECODABLE, count=False)
