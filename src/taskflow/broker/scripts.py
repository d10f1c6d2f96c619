"""The Lua scripts: read once, run by their digest in pipelines; a server that does not know one is taught it.

A script's header is its contract. Two of its lines are read by this module: `include` names parts that stand before
the script, `flags` become its first line where the server understands them. A line `include` within the code puts parts
there: what few calls need costs the others nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from redis.exceptions import (
    ClusterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from taskflow.broker.cluster import ClusterLink, execute_blocking, nowhere
from taskflow.broker.connection import SyncRedis
from taskflow.broker.link import Link, exchange_blocking
from taskflow.errors import BrokerUnavailable, TaskFlowError

_FOLDER = Path(__file__).parent / "lua"
_HEADER = re.compile(r"^--   (include|flags) ([\w, -]+)", re.MULTILINE)
_INCLUDE = re.compile(r"^ +-- include ([\w, ]+)$", re.MULTILINE)
_UNAVAILABLE = (
    "OOM ",
    "READONLY",
    "LOADING",
    "MASTERDOWN",
    "NOREPLICAS",
    "MISCONF",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "MOVED ",
    "ASK ",
    "BUSY ",
)
"""How replies begin by which a server says that it cannot write now."""
_UNAVAILABLE_TYPES = (ClusterDownError, OutOfMemoryError, ReadOnlyError, TryAgainError)
"""The same, where the client library has parsed the reply: it cuts the first word off."""


class Script:
    """One script: its text and digest, with and without the line of flags.

    `roams` says that it also uses keys that it is not given, but puts together: the tasks' hashes.
    """

    __slots__ = ("digest", "flagged_digest", "flagged_text", "name", "roams", "text")

    def __init__(self, name: str) -> None:
        source = (_FOLDER / f"{name}.lua").read_text()
        header = dict(_HEADER.findall(source))
        body = _parts(header.get("include", "")) + _INCLUDE.sub(lambda line: _parts(line[1]), source)
        self.name = name
        self.roams = "key prefix" in source
        self.text = body
        self.flagged_text = f"#!lua flags={header['flags']}\n{body}" if "flags" in header else body
        self.digest = _digest(self.text)
        self.flagged_digest = _digest(self.flagged_text)


def _parts(names: str) -> str:
    """Return the texts of parts, whose names have commas between."""
    files = [_FOLDER / "parts" / f"{name.strip()}.lua" for name in names.split(",") if name]
    return "".join(f"{file.read_text()}\n" for file in files)


def _digest(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Call:
    """A script with its keys and arguments."""

    __slots__ = ("args", "keys", "script")

    def __init__(self, script: Script, keys: Sequence[str | bytes], args: list[Any]) -> None:
        self.script = script
        self.keys = keys
        self.args = args

    def command(self, *, flags: bool, cluster: bool) -> tuple[Any, ...]:
        """The command that runs it; `flags` says whether the server understands flags.

        On a cluster a script that roams gets one key more, which never exists: while the slot moves to another node, that
        makes the cluster refuse the script, to be tried again, and not run it where half of its keys have gone.
        """
        digest = self.script.flagged_digest if flags else self.script.digest
        if cluster and self.script.roams:
            return ("EVALSHA", digest, len(self.keys) + 1, *self.keys, nowhere(self.keys[0]), *self.args)
        return ("EVALSHA", digest, len(self.keys), *self.keys, *self.args)

    def text(self, *, flags: bool) -> str:
        """The script's text, for a server that does not know it yet."""
        return self.script.flagged_text if flags else self.script.text


async def run(
    link: Link | ClusterLink, calls: Sequence[Call], *, flags: bool, each: bool = False, patient: bool = True
) -> list[Any]:
    """Run the calls in one round trip and return their replies, in order; what the server refused is an error in its place.

    Nothing is repeated but calls whose script the server did not know, and those had no effect.

    Args:
        link: The connections.
        calls: The calls.
        flags: Whether the server understands flags.
        patient: Whether to wait until a cluster can serve again what it cannot now.
        each: Whether on a cluster `BrokerUnavailable` shall stand in place of the replies of nodes that do not answer.

    Raises:
        BrokerUnavailable: The server did not answer (the calls may have run), or cannot write now (they had no effect).

    """
    cluster = isinstance(link, ClusterLink)
    with redis_errors():
        commands = [call.command(flags=flags, cluster=cluster) for call in calls]
        if isinstance(link, ClusterLink):
            replies = await link.exchange(commands, patient=patient)
        else:
            replies = await link.exchange(commands)
        unknown = [i for i, reply in enumerate(replies) if _is_unknown(reply)]
        if unknown:
            for text in {calls[i].text(flags=flags) for i in unknown}:
                await link.load(text)
            again = await link.exchange([commands[i] for i in unknown])
            for i, reply in zip(unknown, again, strict=True):
                replies[i] = reply
    return _translate_all(replies, each=each and cluster)


async def execute(link: Link | ClusterLink, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Run plain commands in one round trip and return their replies as RESP2 has them: bytes, numbers, lists, None.

    Raises:
        BrokerUnavailable: As `run` does.
        TaskFlowError: The server refused one; the others have run.

    """
    return checked(await attempt(link, commands))


async def attempt(link: Link | ClusterLink, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Do as `execute` does, but what the server refused is an error in its place."""
    with redis_errors():
        replies = await link.exchange(commands)
    return _translate_all(replies)


def _is_unknown(reply: object) -> bool:
    """Whether the server does not know the script."""
    return isinstance(reply, NoScriptError) or (isinstance(reply, ResponseError) and str(reply).startswith("NOSCRIPT"))


def run_sync(client: SyncRedis, calls: Sequence[Call], *, flags: bool) -> list[Any]:
    """Do as `run` does, with a blocking client."""
    cluster = isinstance(client, redis.RedisCluster)
    with redis_errors():
        replies = _exchange_sync(client, [call.command(flags=flags, cluster=cluster) for call in calls])
        unknown = [i for i, reply in enumerate(replies) if _is_unknown(reply)]
        if unknown:
            _exchange_sync(client, [("SCRIPT", "LOAD", calls[i].text(flags=flags)) for i in unknown])
            again = _exchange_sync(client, [calls[i].command(flags=flags, cluster=cluster) for i in unknown])
            for i, reply in zip(unknown, again, strict=True):
                replies[i] = reply
    return _translate_all(replies)


def execute_sync(client: SyncRedis, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Do as `execute` does, with a blocking client."""
    with redis_errors():
        replies = _exchange_sync(client, commands)
    return checked(_translate_all(replies))


def _exchange_sync(client: SyncRedis, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    if isinstance(client, redis.RedisCluster):
        return [execute_blocking(client, command) for command in commands]
    return exchange_blocking(client, commands)


def _translate_all(replies: list[Any], *, each: bool = False) -> list[Any]:
    """Return the replies with TaskFlow's errors in place of the library's; raise `BrokerUnavailable` unless `each`."""
    for i, reply in enumerate(replies):
        if isinstance(reply, RedisError):
            replies[i] = translated(reply)
        if isinstance(replies[i], BrokerUnavailable) and not each:
            raise replies[i]
    return replies


def checked(replies: list[Any]) -> list[Any]:
    """Return the replies; raise the first that is an error."""
    for reply in replies:
        if isinstance(reply, TaskFlowError):
            raise reply
    return replies


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turn the client library's errors into TaskFlow's."""
    try:
        yield
    except RedisError as error:
        raise translated(error) from error
    except OSError as error:
        raise BrokerUnavailable(f"Redis did not answer: {error}") from error


def translated(error: RedisError) -> TaskFlowError:
    """Return TaskFlow's error for one of the client library's."""
    if (
        isinstance(error, ResponseError)
        and not isinstance(error, _UNAVAILABLE_TYPES)
        and not str(error).startswith(_UNAVAILABLE)
    ):
        return TaskFlowError(f"Redis refused a command: {error}")
    return BrokerUnavailable(f"Redis did not answer or cannot write now: {error}")
