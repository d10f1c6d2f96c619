"""TaskCatalog: which task types exist. Workers publish theirs, with the schema of the payload and the defaults.

What a worker says of a type is a version of it: another schema, default, docstring or version of the program is another one.
So while a new version of a program takes the place of an old one, both are known, each with the servers that serve it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct, structs

from taskflow.broker.queue import Broker
from taskflow.broker.scripts import Call, Script
from taskflow.broker.servers import ServerRecords
from taskflow.task import ServerInfo
from taskflow.unique import Unique
from taskflow.wire.keys import TASK_TYPES, served_types_key

PUBLISH, SEE, SERVE, FORGET = map(Script, ("publish_types", "see_types", "serve_types", "forget_types"))
REFRESH_SECONDS = 60.0
"""How often a worker says again that it serves its types."""
LIVE = timedelta(seconds=2.5 * REFRESH_SECONDS)
"""A version that was seen no longer than this before the type was last seen is live: workers may still run it."""
FORGET_VERSION = timedelta(days=1)
"""How long a version that is no longer live is kept after it was last seen, while its type has a live one."""
FORGET_TYPE = timedelta(days=30)
"""How long a type that nobody serves is kept after it was last seen."""
MOST_VERSIONS = 20
"""How many versions of a type are kept that are no longer live."""
_SERVED_SECONDS = round(3 * REFRESH_SECONDS)
_CHUNK = 250
_NEVER = datetime.fromtimestamp(0, UTC)


class TaskType(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a worker says of a type it serves.

    Attributes:
        type: The type, or the prefix of types (`prefix` true).
        schema: JSON Schema of the payload, None if any payload will do.
        doc: The first paragraph of the handler's docstring.
        queue: Where its tasks go unless told otherwise.
        max_retries: Its own default of retries, None for the program's.
        timeout_seconds: Its own default timeout, None for the program's.
        unique: Its own default unique lock, None for no lock.
        callback_url: Where a webhook tells of the end of each task, None for nowhere.
        version: What the program calls its version, None if it has no name for it.
        first_seen: When a worker first said that it serves it.
        last_seen: When one last said so.

    """

    type: str
    prefix: bool = False
    schema: dict[str, Any] | None = None
    doc: str = ""
    queue: str | None = None
    max_retries: int | None = None
    timeout_seconds: float | None = None
    unique: timedelta | Unique | None = None
    callback_url: str | None = None
    version: str | None = None
    first_seen: datetime | None = None
    last_seen: datetime | None = None

    @property
    def name(self) -> str:
        """The type, or the prefix with a `*` behind it."""
        return f"{self.type}*" if self.prefix else self.type

    @property
    def id(self) -> str:
        """What tells this version of the type from others: a digest of all but when it was seen."""
        said = structs.replace(self, first_seen=None, last_seen=None)
        return hashlib.blake2b(msgspec.json.encode(said, order="sorted"), digest_size=6).hexdigest()

    def serves(self, task_type: str) -> bool:
        """Whether this is the type, or a prefix of it."""
        return task_type.startswith(self.type) if self.prefix else task_type == self.type


class TypeVersion(Struct, frozen=True, kw_only=True):
    """A version of a type.

    Attributes:
        id: What tells it from others.
        entry: What the workers say of it.
        live: Whether workers may still run it: it was seen about as late as the type. What a live version accepts is accepted.
        serving: How many worker servers serve it now, if that was asked for.
        servers: Those servers, for whoever may see them.

    """

    id: str
    entry: TaskType
    live: bool = True
    serving: int = 0
    servers: tuple[ServerInfo, ...] = ()


class CatalogEntry(Struct, frozen=True):
    """A type of the catalog: its versions, the live ones first, the newest of them first. There is at least one."""

    versions: tuple[TypeVersion, ...]

    @property
    def current(self) -> TaskType:
        """What the newest live version says."""
        return self.versions[0].entry

    @property
    def live(self) -> tuple[TypeVersion, ...]:
        """The versions that workers may still run."""
        return tuple(version for version in self.versions if version.live)

    @property
    def first_seen(self) -> datetime | None:
        """When the oldest version that is known was first seen."""
        return min((at for version in self.versions if (at := version.entry.first_seen) is not None), default=None)

    @property
    def last_seen(self) -> datetime | None:
        """When a worker last said that it serves it."""
        return max((at for version in self.versions if (at := version.entry.last_seen) is not None), default=None)

    @property
    def serving(self) -> int:
        """How many worker servers serve it now, if that was asked for."""
        return sum(version.serving for version in self.versions)

    @property
    def servers(self) -> list[tuple[TypeVersion, ServerInfo]]:
        """The worker servers that serve it now, each with the version that it serves."""
        return [(version, server) for version in self.versions for server in version.servers]


def versions_of(entries: Iterable[TaskType]) -> CatalogEntry:
    """Return a type of what workers say of it: which versions are live, and in which order they come."""
    found = list(entries)
    seen_last = max(_seen(entry) for entry in found)
    versions = [TypeVersion(id=entry.id, entry=entry, live=_seen(entry) >= seen_last - LIVE) for entry in found]
    versions.sort(key=lambda version: (version.live, version.entry.first_seen or _NEVER, version.id), reverse=True)
    return CatalogEntry(tuple(versions))


def kept_of(entry: CatalogEntry, now: datetime) -> CatalogEntry | None:
    """Return a type without the versions that have aged out at a time; None if it has itself."""
    if entry.last_seen is not None and now - entry.last_seen > FORGET_TYPE:
        return None  # an entry without a time was written by hand, and stays
    others = [
        version for version in entry.versions if not version.live and now - _seen(version.entry) <= FORGET_VERSION
    ]
    return CatalogEntry((*entry.live, *others[:MOST_VERSIONS]))


class TaskCatalog:
    """The types that workers have published, in one Redis hash.

    A field `@<id>` holds what is said of a version, as JSON, and `@<id>:seen` when it was last seen (Unix s). A field with the
    name of a type is a worker's of the previous release: JSON that has that time in it. Types stay known for 30 days when their
    workers are gone.

    Every method raises `BrokerUnavailable` if Redis does not answer.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def publish(self, types: Sequence[TaskType], *, server: ServerInfo | None = None) -> None:
        """Say that types are served now. What is said of them is sent if the catalog does not have it.

        Args:
            types: The types.
            server: The server that serves them.

        """
        versions = {entry.id: entry for entry in types}
        ids = list(versions)
        for first in range(0, len(ids), _CHUNK):
            await self._publish({version: versions[version] for version in ids[first : first + _CHUNK]})
        if server is not None:
            key = served_types_key(server.host, server.pid, server.id)
            await self._broker.run([Call(SERVE, (key,), [_SERVED_SECONDS, *ids])])

    async def _publish(self, versions: dict[str, TaskType]) -> None:
        now = self._broker.clock.now()
        (seen,) = await self._broker.run([Call(SEE, (TASK_TYPES,), [now, *versions])])
        at = datetime.fromtimestamp(now, UTC)
        missing: list[Any] = []
        for known, (version, entry) in zip(seen, versions.items(), strict=True):
            if not known:
                missing += (version, msgspec.json.encode(structs.replace(entry, first_seen=at, last_seen=at)))
        if missing:
            await self._broker.run([Call(PUBLISH, (TASK_TYPES,), [now, *missing])])

    async def types(self) -> list[TaskType]:
        """Return what the newest live version of each type says, sorted."""
        return [entry.current for entry in await self.entries()]

    async def find(self, task_type: str) -> TaskType | None:
        """Return the entry that serves a type: the exact one, else the longest prefix, else None."""
        serving = [entry for entry in await self.types() if entry.serves(task_type)]
        return max(serving, key=lambda entry: (not entry.prefix, len(entry.type)), default=None)

    async def entries(self) -> list[CatalogEntry]:
        """Return the types with all their versions, sorted; what cannot be read, or has aged out, is left out."""
        return self._kept([entry for _, _, entry in _said(await self._fields())])

    def _kept(self, said: Iterable[TaskType]) -> list[CatalogEntry]:
        now = datetime.fromtimestamp(self._broker.clock.now(), UTC)
        kept = (kept_of(entry, now) for entry in _grouped(said))
        return [entry for entry in kept if entry is not None]

    async def with_servers(self) -> list[CatalogEntry]:
        """Return the types as `entries` does, each version with the servers that serve it now. Go's publish none."""
        entries = await self.entries()
        serving = await self._serving() if entries else {}
        return [CatalogEntry(tuple(_served(version, serving) for version in entry.versions)) for entry in entries]

    async def forget(self) -> int:
        """Delete what has aged out, unless a worker shows up with it meanwhile; return how many entries."""
        fields = await self._fields()
        said = _said(fields)
        kept = {version.id for entry in self._kept([one for _, _, one in said]) for version in entry.versions}
        gone: list[Any] = []
        for field, seen, entry in said:
            if entry.id not in kept:
                gone += (field, seen, fields[seen])
        chunks = [gone[first : first + 3 * _CHUNK] for first in range(0, len(gone), 3 * _CHUNK)]
        return sum([(await self._broker.run([Call(FORGET, (TASK_TYPES,), chunk)]))[0] for chunk in chunks])

    async def _fields(self) -> dict[bytes, bytes]:
        (found,) = await self._broker.execute(("HGETALL", TASK_TYPES))
        return found if isinstance(found, dict) else dict(zip(found[::2], found[1::2], strict=True))

    async def _serving(self) -> dict[str, list[ServerInfo]]:
        """Return the living servers by the ids of the versions that they serve."""
        infos = await ServerRecords(self._broker).infos(running=False)
        keys = [served_types_key(info.host, info.pid, info.id) for info in infos]
        serving: defaultdict[str, list[ServerInfo]] = defaultdict(list)
        for info, served in zip(infos, await self._broker.attempt(*(("GET", key) for key in keys)), strict=True):
            if isinstance(served, bytes):
                for version in served.decode(errors="replace").split():
                    serving[version].append(info)
        return serving


def _served(version: TypeVersion, serving: Mapping[str, Sequence[ServerInfo]]) -> TypeVersion:
    servers = tuple(serving.get(version.id, ()))
    return structs.replace(version, serving=len(servers), servers=servers)


def _said(fields: dict[bytes, bytes]) -> list[tuple[bytes, bytes, TaskType]]:
    """Return what a hash says of types, each with its field and the field that changes when it is seen.

    Entries that cannot be read are left out.
    """
    found = []
    for field, value in fields.items():
        seen = field + b":seen"
        try:
            entry = msgspec.json.decode(value, type=TaskType)
            if field.startswith(b"@") and seen in fields:
                at = datetime.fromtimestamp(float(fields[seen]), UTC)
                found.append((field, seen, structs.replace(entry, last_seen=at)))
            else:
                found.append((field, field, entry))
        except (msgspec.MsgspecError, ValueError, OverflowError, OSError):
            continue
    return found


def _grouped(entries: Iterable[TaskType]) -> list[CatalogEntry]:
    """Return the types that entries are versions of, sorted."""
    by_name: defaultdict[str, dict[str, TaskType]] = defaultdict(dict)
    for entry in entries:
        same = by_name[entry.name]
        known = same.get(entry.id)  # a worker of the previous release may say the very same
        same[entry.id] = entry if known is None else max(known, entry, key=_seen)
    found = [versions_of(versions.values()) for versions in by_name.values()]
    return sorted(found, key=lambda entry: (entry.current.type, entry.current.prefix))


def _seen(entry: TaskType) -> datetime:
    return entry.last_seen or _NEVER
