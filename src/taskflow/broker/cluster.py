"""ClusterLink: a link for each primary of a Redis Cluster; each command goes where its key is.

All keys of a queue share one slot, so a script never spans nodes. The client library knows the topology; MOVED, ASK and
TRYAGAIN are followed here, for each command alone.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import redis
import redis.asyncio.cluster
from redis.exceptions import AskError, ClusterDownError, MovedError, RedisError, ResponseError, TryAgainError

from taskflow.broker.connection import opened
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
        self._silent: set[str] = set()
        """The names of nodes that did not answer last time."""

    async def exchange(self, commands: Sequence[Command], *, patient: bool = True) -> list[Any]:
        """Send commands and return their replies, in order; an error reply is a `ResponseError` in its place.

        Where a node does not answer, `BrokerUnavailable` stands in place of the reply: the command may have taken effect.

        Args:
            commands: The commands.
            patient: Whether to wait, for a second or two, until commands can be served that cannot be now.

        Raises:
            BrokerUnavailable: No node answers.

        """
        await self._learn()
        replies: list[Any] = [None] * len(commands)
        waiting = list(range(len(commands)))
        for attempt in range(_REDIRECTIONS):
            await self._send(commands, waiting, replies)
            waiting = [i for i in waiting if _again(replies[i])]
            if waiting:
                await self._redirect(commands, waiting, replies)
                waiting = [i for i in waiting if _again(replies[i])]
            if not waiting or not patient:
                break
            await asyncio.sleep(_PAUSE * 2**attempt)
        return replies

    async def _send(self, commands: Sequence[Command], waiting: Sequence[int], replies: list[Any]) -> None:
        """Send some of the commands, those of a node together, all nodes at once."""
        by_node: dict[str, tuple[Node, list[int]]] = {}
        for i in waiting:
            try:
                node = self._node_of(commands[i])
            except BrokerUnavailable as error:
                replies[i] = error
            else:
                by_node.setdefault(node.name, (node, []))[1].append(i)
        trips = [self._ask(node, [commands[i] for i in members]) for node, members in by_node.values()]
        for (_, members), answers in zip(by_node.values(), await asyncio.gather(*trips), strict=True):
            for i, reply in zip(members, answers, strict=True):
                replies[i] = reply
        if any(isinstance(replies[i], BrokerUnavailable) for i in waiting):
            await self._refresh()

    async def _ask(self, node: Node, commands: Sequence[Command]) -> list[Any]:
        """Return a node's replies; if it gives none, what is to stand in their places."""
        try:
            replies = await self._link(node).exchange(commands)
        except (BrokerUnavailable, RedisError, OSError) as error:
            self._silent.add(node.name)
            return [BrokerUnavailable(f"a node of the cluster does not answer: {error}")] * len(commands)
        self._silent.discard(node.name)
        return replies

    async def _redirect(self, commands: Sequence[Command], waiting: Sequence[int], replies: list[Any]) -> None:
        """Follow the replies to where they point."""
        pointers = [i for i in waiting if str(replies[i]).startswith(_POINTERS)]
        if any(str(replies[i]).startswith("MOVED ") for i in pointers):
            await self._refresh()  # what the nodes say may be old news for some seconds: so each reply is followed too
        for i in pointers:
            replies[i] = await self._follow(str(replies[i]), commands[i])

    async def _follow(self, pointer: str, command: Command) -> Any:
        """Send a command to the node that the reply to it names."""
        host, port = _address(pointer)
        node = self._cluster.get_node(host=host, port=port) or await self._strange_node(host, port)
        asking = [("ASKING",)] if pointer.startswith("ASK ") else []
        return (await self._ask(node, [*asking, command]))[-1]

    async def _strange_node(self, host: str, port: int) -> Node:
        """Return a node that has just joined."""
        await self._refresh()
        node = self._cluster.get_node(host=host, port=port)
        if node is None:
            raise BrokerUnavailable(f"the cluster points to {host}:{port}, which is none of its nodes")
        return node

    def _node_of(self, command: Command) -> Node:
        key = first_key(command)
        try:
            if key is None:
                primaries = self._cluster.get_primaries()
                return random.choice([each for each in primaries if each.name not in self._silent] or primaries)  # noqa: S311
            node = self._cluster.get_node_from_key(key)
        except (RedisError, IndexError) as error:
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
            link = self._links[node.name] = Link(partial(_connected, node), timeout=self._timeout)
        return link

    async def load(self, text: str) -> None:
        """Teach a script to all primaries that answer."""
        await self._learn()
        nodes = self._cluster.get_primaries()
        await asyncio.gather(*(self._ask(node, [("SCRIPT", "LOAD", text)]) for node in nodes))

    async def ask_primaries(self, command: Command) -> dict[str, Any]:
        """Return what each primary answers to a command, by its address; `BrokerUnavailable` in place of a missing answer."""
        await self._learn()
        nodes = self._cluster.get_primaries()
        answers = await asyncio.gather(*(self._ask(node, [command]) for node in nodes))
        return {node.name: reply for node, (reply,) in zip(nodes, answers, strict=True)}

    async def close(self) -> None:
        """Close the connections, those to nodes that are gone too: the library gives up at the first that it cannot close."""
        for link in self._links.values():
            await link.close()
        manager = self._cluster.nodes_manager
        for node in (*manager.nodes_cache.values(), *manager.startup_nodes.values()):
            with suppress(RedisError, OSError):
                await node.disconnect()
        with suppress(RedisError, OSError):
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


async def _connected(node: Node) -> Any:
    return await opened(node.connection_class(**node.connection_kwargs))


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
