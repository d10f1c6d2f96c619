"""One URL -> Redis clients whose every time-out and retry is set here: the library's defaults are trusted nowhere.

A client that repeats a command whose reply was lost would run a script twice, so no profile retries by itself; what is
safe to repeat is repeated by its caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.cluster
from msgspec import Struct
from redis.backoff import NoBackoff
from redis.retry import Retry

from taskflow.errors import ConfigError, UnsupportedServer

SCHEMES = ("redis", "rediss", "unix")
MIN_REDIS = (6, 2)
MIN_VALKEY = (7, 2)
FLAGS_SINCE = (7, 0)
"""The first version that understands flags on scripts."""


class Profile(Struct, frozen=True):
    """How a client waits: seconds for a connection, for a reply, and between checks of an idle connection."""

    name: str
    timeout: float
    connect_timeout: float = 3.0
    health_check: int = 15
    max_connections: int = 128


BLOCK_SECONDS = 10
"""How long a blocking command may wait in Redis before it is sent anew."""
COMMAND = Profile("command", timeout=3.0)
BLOCKING = Profile("blocking", timeout=BLOCK_SECONDS + 5.0, health_check=0, max_connections=4096)
HEARTBEAT = Profile("heartbeat", timeout=2.0, connect_timeout=2.0, max_connections=4)
PUBSUB = Profile("pubsub", timeout=5.0, max_connections=16)


class Server(Struct, frozen=True):
    """What a Redis server says of itself: `name` is redis or valkey."""

    name: str
    version: tuple[int, int]
    replica: bool
    eviction: str

    @property
    def understands_flags(self) -> bool:
        """Whether scripts may begin with a line of flags."""
        return self.name == "valkey" or self.version >= FLAGS_SINCE


class Address(Struct, frozen=True):
    """A URL taken apart: `nodes` are the sentinels or the cluster's first nodes, `service` is the primary's name there."""

    kind: Literal["single", "sentinel", "cluster"]
    url: str
    nodes: tuple[tuple[str, int], ...] = ()
    service: str = ""
    options: Mapping[str, Any] = {}

    @property
    def place(self) -> str:
        """Where it points, without secrets."""
        if self.kind == "single":
            parts = urlsplit(self.url)
            return parts.netloc.rpartition("@")[2] or parts.path
        return self.service or ",".join(f"{host}:{port}" for host, port in self.nodes)


def parse_url(url: str) -> Address:
    """Return a URL taken apart.

    `redis://`, `rediss://` (TLS) and `unix://` name one server. `redis+sentinel://host:26379,host:26379/service/0` names
    sentinels, `redis+cluster://host:7000,host:7001` nodes of a cluster; with `rediss+` before the `+` over TLS. User and
    password before the hosts are those of the data nodes; `?sentinel_password=` is the sentinels' own.

    Raises:
        ConfigError: It cannot be used.

    """
    scheme = urlsplit(url).scheme
    base, _, kind = scheme.partition("+")
    if base not in SCHEMES or kind not in {"", "sentinel", "cluster"} or (kind and base == "unix"):
        known = ", ".join(f"{name}://" for name in (*SCHEMES, "redis+sentinel", "redis+cluster"))
        raise ConfigError(f"redis.url: scheme {scheme!r} is not supported; use one of {known}")
    if not kind:
        return Address("single", url)
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    options: dict[str, Any] = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    options |= {"username": unquote(user) or None, "password": unquote(password) or None}
    if base == "rediss":
        options["ssl"] = True
    nodes = tuple(_host_and_port(host, default=26379 if kind == "sentinel" else 6379) for host in hosts.split(","))
    if kind == "cluster":
        return Address("cluster", url, nodes, options=options)
    service, _, db = parts.path.strip("/").partition("/")
    if not service:
        raise ConfigError("redis.url: name the service: redis+sentinel://host:26379/SERVICE")
    return Address("sentinel", url, nodes, service, options | {"db": int(db or 0)})


def _host_and_port(text: str, *, default: int) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = text, str(default)
    if not host or not port.isdecimal():
        raise ConfigError(f"redis.url: {text!r} is no host:port")
    return host.strip("[]"), int(port)


SyncRedis = redis.Redis | redis.RedisCluster


async def connect(url: str, profile: Profile = COMMAND) -> redis.asyncio.Redis:
    """Return a client for one server; it connects when first used.

    Sentinels are asked for the primary. Of a cluster it is one of the primaries: what is published anywhere is heard there.

    Raises:
        ConfigError: The URL cannot be used.
        redis.RedisError: Neither a sentinel nor a node of the cluster knows a primary.

    """
    address = parse_url(url)
    options = _options(url, profile)
    if address.kind == "single":
        return redis.asyncio.Redis.from_url(url, **options)
    if address.kind == "sentinel":
        sentinel, options = _sentinel_options(address, options)
        host, port = await _primary(address, sentinel)
        return redis.asyncio.Redis(host=host, port=port, **options)
    async with connect_cluster(url, profile) as cluster:
        node = cluster.get_random_primary_node()
        pool = redis.asyncio.ConnectionPool(connection_class=node.connection_class, **node.connection_kwargs)
        return redis.asyncio.Redis.from_pool(pool)


async def _primary(address: Address, options: dict[str, Any]) -> tuple[str, int]:
    """Ask the sentinels where the primary is."""
    finder: Any = redis.asyncio.Sentinel(address.nodes, sentinel_kwargs=options)  # type: ignore[no-untyped-call]
    try:
        host, port = await finder.discover_master(address.service)
    finally:
        for sentinel in finder.sentinels:
            await sentinel.aclose()
    return host, port


async def open_connection(url: str, profile: Profile) -> Any:
    """Return an open connection of the library's to one server. Raises as `connect` does."""
    client = await connect(url, profile)
    return await opened(client.connection_pool.make_connection())  # type: ignore[no-untyped-call]


async def opened(connection: Any) -> Any:
    """Open a connection of the library's and return it; if that is cancelled, nothing stays open.

    The library loses a cancellation that comes in the midst of its handshake: it would go on, connected. So it connects in
    a task of its own.
    """
    connecting = asyncio.ensure_future(connection.connect())
    try:
        await asyncio.shield(connecting)
    except BaseException:
        connecting.cancel()
        await asyncio.wait([connecting])
        await connection.disconnect(nowait=True)
        raise
    return connection


def connect_cluster(url: str, profile: Profile) -> redis.asyncio.RedisCluster:
    """Return a client for a cluster, which knows its topology once it is initialised."""
    address = parse_url(url)
    nodes = [redis.asyncio.cluster.ClusterNode(host, port) for host, port in address.nodes]
    return redis.asyncio.RedisCluster(startup_nodes=nodes, **_cluster_options(address, _options(url, profile)))


def connect_sync(url: str, profile: Profile = COMMAND) -> SyncRedis:
    """Return a blocking client; one for a cluster connects at once. Raises `ConfigError` for a URL that cannot be used."""
    address = parse_url(url)
    options = _options(url, profile)
    if address.kind == "single":
        return redis.Redis.from_url(url, **options)
    if address.kind == "sentinel":
        sentinel, options = _sentinel_options(address, options)
        finder: Any = redis.Sentinel(list(address.nodes), sentinel_kwargs=sentinel)  # type: ignore[no-untyped-call]
        client: redis.Redis = finder.master_for(address.service, **options)
        return client
    nodes = [redis.cluster.ClusterNode(host, port) for host, port in address.nodes]  # type: ignore[no-untyped-call]
    return redis.RedisCluster(startup_nodes=nodes, **_cluster_options(address, options))


def _options(url: str, profile: Profile) -> dict[str, Any]:
    keepalive = {} if url.startswith("unix:") else {"socket_keepalive": True}
    return keepalive | {
        "socket_timeout": profile.timeout,
        "socket_connect_timeout": profile.connect_timeout,
        "health_check_interval": profile.health_check,
        "max_connections": profile.max_connections,
        "client_name": f"taskflow-{profile.name}",
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "decode_responses": False,
        "protocol": 2,
    }


def _sentinel_options(address: Address, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of the connections to the sentinels, and of those to the primary."""
    own = dict(address.options)
    sentinel = {"password": own.pop("sentinel_password", None), "username": own.pop("sentinel_username", None)}
    common = {name: options[name] for name in ("socket_timeout", "socket_connect_timeout", "protocol")}
    return {**common, **sentinel}, {**options, **own}


def _cluster_options(address: Address, options: dict[str, Any]) -> dict[str, Any]:
    chosen = {name: value for name, value in options.items() if name != "retry_on_error"}
    return {**chosen, "require_full_coverage": False, **address.options}


def read_facts(reply: bytes) -> dict[str, str]:
    """Return what the reply to `INFO` says, by name."""
    lines = reply.decode(errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))


def read_server(reply: bytes) -> Server:
    """Return what the reply to `INFO` says. Raises `UnsupportedServer` if the server is too old."""
    info = read_facts(reply)
    valkey = "valkey_version" in info
    version = info["valkey_version" if valkey else "redis_version"]
    major, minor = (int(part) for part in version.split(".")[:2])
    server = Server(
        name="valkey" if valkey else "redis",
        version=(major, minor),
        replica=info.get("role") == "slave",
        eviction=info.get("maxmemory_policy", "noeviction"),
    )
    oldest = MIN_VALKEY if valkey else MIN_REDIS
    if server.version < oldest:
        wanted = "Valkey 7.2" if valkey else "Redis 6.2"
        raise UnsupportedServer(f"{server.name} {version} is too old: TaskFlow needs {wanted} or newer")
    return server


def check_safe(server: Server, *, allow_eviction: bool = False) -> None:
    """Refuse a server that would lose tasks.

    Raises:
        UnsupportedServer: It is a replica, or it evicts keys when its memory is full.

    """
    if server.replica:
        raise UnsupportedServer("this Redis server is a replica, which refuses writes; connect to the primary")
    if server.eviction != "noeviction" and not allow_eviction:
        raise UnsupportedServer(
            f"maxmemory-policy is {server.eviction!r}: Redis would throw tasks away when its memory is full. "
            "Run `CONFIG SET maxmemory-policy noeviction`, or set redis.allow_eviction to take the risk"
        )
