"""RedisInfo: what the Redis servers say of themselves: version, memory, persistence, keys."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from taskflow.broker import connection
from taskflow.broker.queue import Broker


class RedisNode(Struct, frozen=True, kw_only=True):
    """One server.

    Attributes:
        address: Where it is.
        name, version: `redis` or `valkey`, and its version.
        uptime: Since its start.
        replicas: How many replicas follow it.
        memory, memory_peak: Bytes that it uses, and has used at most.
        memory_limit: Its `maxmemory`; None: no limit but the host's.
        eviction: Its `maxmemory-policy`.
        evicted: How many keys it has thrown away because its memory was full.
        keys, expiring: How many keys it holds, and how many of them expire.
        clients: How many connections are open.
        commands_per_second: How many commands it carries out now.
        aof: Whether each write goes into a file (`appendonly`).
        aof_ok: Whether the last one did.
        saved_at: When it last wrote a snapshot; its start if it has written none.
        save_ok: Whether it could.

    """

    address: str
    name: str
    version: str
    uptime: timedelta
    replicas: int
    memory: int
    memory_peak: int
    memory_limit: int | None
    eviction: str
    evicted: int
    keys: int
    expiring: int
    clients: int
    commands_per_second: int
    aof: bool
    aof_ok: bool
    saved_at: datetime
    save_ok: bool

    @property
    def memory_share(self) -> float | None:
        """How much of its memory is used, from 0 to 1; None without a limit."""
        return self.memory / self.memory_limit if self.memory_limit else None


class RedisInfo(Struct, frozen=True, kw_only=True):
    """What holds the queues: `kind` is `single`, `sentinel` or `cluster`; `nodes` are the primaries that answer."""

    kind: str
    nodes: tuple[RedisNode, ...]


async def read_redis_info(broker: Broker) -> RedisInfo:
    """Return what the servers say of themselves. Raises `BrokerUnavailable` if none answers."""
    replies = await broker.infos()
    nodes = tuple(read_node(address, reply) for address, reply in replies.items())
    return RedisInfo(kind=connection.parse_url(broker.url).kind, nodes=nodes)


def read_node(address: str, reply: bytes) -> RedisNode:
    """Return what the reply to `INFO` says; what it does not tell (managed servers hide some) is 0."""
    facts = connection.read_facts(reply)
    valkey = "valkey_version" in facts
    databases = [_keys_of(value) for name, value in facts.items() if name.startswith("db") and "keys=" in value]
    return RedisNode(
        address=address,
        name="valkey" if valkey else "redis",
        version=facts.get("valkey_version" if valkey else "redis_version", "unknown"),
        uptime=timedelta(seconds=_number(facts, "uptime_in_seconds")),
        replicas=_number(facts, "connected_slaves"),
        memory=_number(facts, "used_memory"),
        memory_peak=_number(facts, "used_memory_peak"),
        memory_limit=_number(facts, "maxmemory") or None,
        eviction=facts.get("maxmemory_policy", "noeviction"),
        evicted=_number(facts, "evicted_keys"),
        keys=sum(keys for keys, _ in databases),
        expiring=sum(expiring for _, expiring in databases),
        clients=_number(facts, "connected_clients"),
        commands_per_second=_number(facts, "instantaneous_ops_per_sec"),
        aof=facts.get("aof_enabled") == "1",
        aof_ok=facts.get("aof_last_write_status", "ok") == "ok",
        saved_at=datetime.fromtimestamp(_number(facts, "rdb_last_save_time"), UTC),
        save_ok=facts.get("rdb_last_bgsave_status", "ok") == "ok",
    )


def _number(facts: Mapping[str, str], name: str) -> int:
    text = facts.get(name, "")
    return int(text) if text.isdigit() else 0


def _keys_of(database: str) -> tuple[int, int]:
    """Return how many keys a database has, and how many of them expire: `keys=3,expires=1,avg_ttl=0`."""
    facts = dict(part.split("=", 1) for part in database.split(",") if "=" in part)
    return _number(facts, "keys"), _number(facts, "expires")
