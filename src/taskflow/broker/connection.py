"""One URL -> Redis clients whose every time-out and retry is set here: the library's defaults are trusted nowhere.

A client that repeats a command whose reply was lost would run a script twice, so no profile retries by itself; what is
safe to repeat is repeated by its caller.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import redis
import redis.asyncio
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


def check_url(url: str) -> str:
    """Return the URL if it can be used.

    Raises:
        ConfigError: Its scheme is none of redis://, rediss:// (TLS) and unix://.

    """
    scheme = urlsplit(url).scheme
    if scheme not in SCHEMES:
        raise ConfigError(f"redis.url: scheme {scheme!r} is not supported; use redis://, rediss:// (TLS) or unix://")
    return url


def connect(url: str, profile: Profile = COMMAND) -> redis.asyncio.Redis:
    """Return an asyncio client; it connects when first used. Raises `ConfigError` for a URL that cannot be used."""
    return redis.asyncio.Redis.from_url(check_url(url), **_options(url, profile))


def connect_sync(url: str, profile: Profile = COMMAND) -> redis.Redis:
    """Return a blocking client; it connects when first used. Raises `ConfigError` for a URL that cannot be used."""
    return redis.Redis.from_url(check_url(url), **_options(url, profile))


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


def read_server(reply: bytes) -> Server:
    """Return what the reply to `INFO` says. Raises `UnsupportedServer` if the server is too old."""
    lines = reply.decode(errors="replace").splitlines()
    info = dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))
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
