"""ServerRecords: what worker servers say of themselves in Redis, in asynq's records: that they live, and what they run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from taskflow.broker.queue import Broker
from taskflow.broker.scripts import Call, Script
from taskflow.errors import BrokerUnavailable, MessageInvalid
from taskflow.task import RunningTask, ServerInfo, Stall
from taskflow.wire import message as wire
from taskflow.wire.keys import ALL_SERVERS, ALL_WORKERS, STALLS, server_key, workers_key

ANNOUNCE, SERVE = map(Script, ("announce", "serve"))
STALL_SECONDS = 600
"""How long it is known that a server's event loop was blocked."""


class ServerRecords:
    """The records of a broker's Redis server. Every method raises `BrokerUnavailable` if it does not answer."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def publish(self, info: ServerInfo, running: Sequence[RunningTask], *, ttl_seconds: int) -> None:
        """Publish a worker server and what it runs; both vanish after the TTL."""
        server, workers = server_key(info.host, info.pid, info.id), workers_key(info.host, info.pid, info.id)
        args: list[Any] = [ttl_seconds, wire.encode_server(info)]
        for task in running:
            args += (task.id, wire.encode_running(task, host=info.host, pid=info.pid, server_id=info.id))
        expiry = int(self._broker.clock.now()) + ttl_seconds
        announced = {ALL_SERVERS: server, ALL_WORKERS: workers}
        calls = [Call(ANNOUNCE, (kind,), [expiry, record]) for kind, record in announced.items()]
        if not any(await self._broker.sweep([*calls, Call(SERVE, (server, workers), args)])):
            raise BrokerUnavailable("no node of the cluster takes the record of this server")

    async def withdraw(self, info: ServerInfo) -> None:
        """Remove a worker server's records."""
        server, workers = server_key(info.host, info.pid, info.id), workers_key(info.host, info.pid, info.id)
        await self._broker.execute(
            ("ZREM", ALL_SERVERS, server), ("ZREM", ALL_WORKERS, workers), ("DEL", server, workers)
        )

    async def infos(self, *, running: bool = True) -> list[ServerInfo]:
        """Return the worker servers whose records have not expired, Go's too, with what each runs now unless told not to."""
        now = int(self._broker.clock.now())
        (members,) = await self._broker.execute(("ZRANGEBYSCORE", ALL_SERVERS, now, "+inf"))
        workers = [member.replace(ALL_SERVERS.encode(), ALL_WORKERS.encode(), 1) for member in members]
        records = await self._broker.attempt(*(("GET", member) for member in members))
        tasks_of = await self._broker.attempt(*(("HVALS", key) for key in workers)) if running else [()] * len(members)
        return [
            info
            for record, tasks in zip(records, tasks_of, strict=True)
            if (info := _server_info(record, tasks if isinstance(tasks, list) else [])) is not None
        ]

    async def note_stall(self, server_id: str, stall: Stall) -> None:
        """Note that a server's event loop was blocked."""
        await self._broker.execute(("SET", STALLS + server_id, msgspec.json.encode(stall), "EX", STALL_SECONDS))

    async def stalls(self, server_ids: Iterable[str]) -> dict[str, Stall]:
        """Return those of the servers whose event loop was blocked in the last ten minutes."""
        ids = list(server_ids)
        found = {}
        for server_id, data in zip(
            ids, await self._broker.attempt(*(("GET", STALLS + each) for each in ids)), strict=True
        ):
            with suppress(msgspec.MsgspecError, UnicodeDecodeError):
                if isinstance(data, bytes):
                    found[server_id] = msgspec.json.decode(data, type=Stall)
        return found

    async def alive(self) -> set[str]:
        """Return the ids of the worker servers whose records have not expired, Go's too."""
        now = int(self._broker.clock.now())
        (members,) = await self._broker.execute(("ZRANGEBYSCORE", ALL_SERVERS, now, "+inf"))
        return {member.decode(errors="replace").rstrip("}").rpartition(":")[2] for member in members}


def _server_info(record: object, running: Sequence[bytes]) -> ServerInfo | None:
    """Return what a server's records say; None if they cannot be read: one broken record must not hide the others."""
    if not isinstance(record, bytes):
        return None
    try:
        return wire.decode_server(record, running)
    except MessageInvalid:
        return None
