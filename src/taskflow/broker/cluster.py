"""ClusterLink: a link for each primary of a Redis Cluster; each command goes where its key is.

All keys of a queue share one slot, so a script never spans nodes. The client library knows the topology; MOVED, ASK and
TRYAGAIN are followed here, for each command alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import redis
import redis.asyncio.cluster
from redis.exceptions import AskError, ClusterDownError, MovedError, RedisError, ResponseError, TryAgainError

from taskflow.broker.link import Link, exchange_blocking
from taskflow.errors import BrokerUnavailable

_REDIRECTIONS = 6
"""How often a command follows the cluster's directions, or is tried again, while slots move."""
_PAUSE = 0.05
"""How long (s) to wait before a command is tried again that the cluster cannot serve now; doubled each time."""
_POINTERS = ("MOVED ", "ASK ")
"""How replies begin that point to another node."""
_WORDS = {MovedError: "MOVED", AskError: "ASK", TryAgainError: "TRYAGAIN", ClusterDownError: "CLUSTERDOWN"}
_KEYLESS = frozenset({"TIME", "INFO", "PUBLISH", "FLUSHALL"})

Node = redis.asyncio.cluster.ClusterNode
Command = tuple[Any, ...]


class ClusterLink:
    """Runs commands on the nodes of a cluster; used as a `Link` is.

    Args:
        cluster: The library's client, which knows the topology.
        timeout: How long (s) replies may take.

    """

    def __init__(self, cluster: redis.asyncio.RedisCluster, *, timeout: float) -> None:
        self._cluster = cluster
        self._timeout = timeout
        self._links: dict[str, Link] = {}

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands and return their replies, in order; an error reply is a `ResponseError` in its place.

        Raises:
            BrokerUnavailable: A node does not answer: commands may have taken effect, on other nodes too.

        """
        replies: list[Any] = [None] * len(commands)
        waiting = list(range(len(commands)))
        for attempt in range(_REDIRECTIONS):
            await self._send(commands, waiting, replies)
            waiting = [i for i in waiting if _again(replies[i])]
            if not waiting:
                break
            await self._redirect(commands, waiting, replies, attempt)
            waiting = [i for i in waiting if _again(replies[i])]
        return replies

    async def _send(self, commands: Sequence[Command], waiting: Sequence[int], replies: list[Any]) -> None:
        """Send some of the commands, those of a node together, all nodes at once."""
        by_node: dict[str, tuple[Node, list[int]]] = {}
        for i in waiting:
            node = await self._node_of(commands[i])
            by_node.setdefault(node.name, (node, []))[1].append(i)
        trips = [self._link(node).exchange([commands[i] for i in members]) for node, members in by_node.values()]
        results = await asyncio.gather(*trips, return_exceptions=True)
        lost = [result for result in results if isinstance(result, BaseException)]
        if lost:
            await self._refresh()
            raise lost[0]
        for (_, members), result in zip(by_node.values(), results, strict=True):
            assert not isinstance(result, BaseException)  # noqa: S101 - raised above
            for i, reply in zip(members, result, strict=True):
                replies[i] = reply

    async def _redirect(
        self, commands: Sequence[Command], waiting: Sequence[int], replies: list[Any], attempt: int
    ) -> None:
        """Follow the replies to where they point, and wait before the commands that nobody can serve now are sent again."""
        pointers = [i for i in waiting if str(replies[i]).startswith(_POINTERS)]
        if any(str(replies[i]).startswith("MOVED ") for i in pointers):
            await self._refresh()  # what the nodes say may be old news for some seconds: so each reply is followed too
        for i in pointers:
            replies[i] = await self._follow(str(replies[i]), commands[i])
        if any(_again(replies[i]) for i in waiting):
            await asyncio.sleep(_PAUSE * 2**attempt)

    async def _follow(self, pointer: str, command: Command) -> Any:
        """Send a command to the node that the reply to it names."""
        host, port = _address(pointer)
        node = self._cluster.get_node(host=host, port=port) or await self._strange_node(host, port)
        asking = [("ASKING",)] if pointer.startswith("ASK ") else []
        return (await self._link(node).exchange([*asking, command]))[-1]

    async def _strange_node(self, host: str, port: int) -> Node:
        """Return a node that has just joined."""
        await self._refresh()
        node = self._cluster.get_node(host=host, port=port)
        if node is None:
            raise BrokerUnavailable(f"the cluster points to {host}:{port}, which is none of its nodes")
        return node

    async def _node_of(self, command: Command) -> Node:
        await self._learn()
        key = first_key(command)
        try:
            if key is None:
                return self._cluster.get_random_primary_node()
            node = self._cluster.get_node_from_key(key)
        except (RedisError, IndexError) as error:
            await self._refresh()
            raise BrokerUnavailable(f"no node of the cluster serves the key of {command[0]}: {error}") from error
        assert node is not None  # noqa: S101 - only replicas can be missing
        return node

    async def _learn(self) -> None:
        """Ask for the topology if it is not known yet."""
        try:
            await self._cluster.initialize()
        except (RedisError, OSError) as error:
            raise BrokerUnavailable(f"the cluster does not answer: {error}") from error

    async def _refresh(self) -> None:
        """Ask for the topology anew."""
        try:
            await self._cluster.nodes_manager.initialize()
        except (RedisError, OSError) as error:
            raise BrokerUnavailable(f"the cluster does not answer: {error}") from error

    def _link(self, node: Node) -> Link:
        link = self._links.get(node.name)
        if link is None:
            link = self._links[node.name] = Link(partial(_open, node), timeout=self._timeout)
        return link

    async def load(self, text: str) -> None:
        """Teach a script to all primaries."""
        await self._learn()
        nodes = self._cluster.get_primaries()
        await asyncio.gather(*(self._link(node).exchange([("SCRIPT", "LOAD", text)]) for node in nodes))

    async def close(self) -> None:
        """Close the connections."""
        for link in self._links.values():
            await link.close()
        await self._cluster.aclose()


def execute_blocking(client: redis.RedisCluster, command: Command) -> Any:
    """Run a command where its key is, with a blocking client; a script is taught to all primaries.

    An error reply is returned as a `ResponseError`, as in the reply to a pipeline.

    Raises:
        redis.RedisError: The node does not answer; the next command goes where the cluster says then.

    """
    if command[:2] == ("SCRIPT", "LOAD"):
        primaries: list[Any] = client.get_primaries()  # type: ignore[no-untyped-call]
        return [_ask(client, node, [command])[0] for node in primaries][-1]
    for attempt in range(_REDIRECTIONS):
        reply = _ask(client, _blocking_node_of(client, command), [command])[0]
        if _again(reply) and str(reply).startswith(_POINTERS):
            reply = _follow_blocking(client, str(reply), command)
        if not _again(reply):
            break
        time.sleep(_PAUSE * 2**attempt)
    return reply


def _follow_blocking(client: redis.RedisCluster, pointer: str, command: Command) -> Any:
    asking = pointer.startswith("ASK ")
    if not asking:
        client.nodes_manager.initialize()
    host, port = _address(pointer)
    node: Any = client.get_node(host=host, port=port)  # type: ignore[no-untyped-call]
    if node is None:
        return ResponseError(pointer)
    return _ask(client, node, [*([("ASKING",)] if asking else []), command])[-1]


def _blocking_node_of(client: redis.RedisCluster, command: Command) -> Any:
    key = first_key(command)
    if key is None:
        return client.get_random_primary_node()
    return client.get_node_from_key(key)  # type: ignore[no-untyped-call]


def _ask(client: redis.RedisCluster, node: Any, commands: Sequence[Command]) -> list[Any]:
    try:
        return [_as_text(reply) for reply in exchange_blocking(client.get_redis_connection(node), commands)]
    except RedisError:
        with suppress(RedisError):
            client.nodes_manager.initialize()  # the node is gone, perhaps for good
        raise


async def _open(node: Node) -> Any:
    connection: Any = node.connection_class(**node.connection_kwargs)
    await connection.connect()
    return connection


def nowhere(key: str | bytes) -> bytes:
    """Return a key that never exists, in the slot of another."""
    data = key.encode() if isinstance(key, str) else key
    first = data.find(b"{")
    last = data.find(b"}", first + 1)
    tag = data[first + 1 : last] if first >= 0 and last > first + 1 else data
    return b"taskflow:{" + tag + b"}:nowhere"


def first_key(command: Command) -> Any:
    """Return the first key of a command, None if it has none."""
    if command[0] in _KEYLESS:
        return None
    return command[3] if command[0] == "EVALSHA" else command[1]


def _address(pointer: str) -> tuple[str, int]:
    """Return where a reply points: `MOVED 15495 127.0.0.1:7000`."""
    host, _, port = pointer.split()[2].rpartition(":")
    return host, int(port)


def _as_text(reply: Any) -> Any:
    """Return an error of the library's with the word that it has cut off, so that it reads as it was sent."""
    word = _WORDS.get(type(reply))
    return reply if word is None else ResponseError(f"{word} {reply}")


def _again(reply: object) -> bool:
    """Whether a reply asks to try again, here or elsewhere."""
    return isinstance(reply, ResponseError) and str(reply).startswith((*_POINTERS, "TRYAGAIN", "CLUSTERDOWN"))
