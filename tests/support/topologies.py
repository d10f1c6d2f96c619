"""Set-ups of local processes, on free ports of the loopback address: one server, Sentinel, Cluster."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from support.waiting import wait_until_sync

SLOTS = 16384
_HOST = "127.0.0.1"
_SYNC_AT_ONCE = ("--repl-diskless-sync-delay", "0")


def free_ports(count: int) -> list[int]:
    """Return free ports; a cluster's node also uses the port 10,000 above its own.

    All lie below 32,768, from where on the system gives ports to connections as it likes.
    """
    found: list[int] = []
    lowest, highest = 10_000, 22_000
    port = lowest + (time.monotonic_ns() // 1000) % (highest - lowest)
    while len(found) < count:
        port = port + 1 if port < highest else lowest
        with suppress(OSError), socket.socket() as first, socket.socket() as second:
            first.bind((_HOST, port))
            second.bind((_HOST, port + 10_000))
            found.append(port)
    return found


class Process:
    """One server process; it can be killed and started again."""

    def __init__(self, program: str, folder: Path, port: int, *arguments: str) -> None:
        self.port = port
        self.folder = folder / str(port)
        self.folder.mkdir()
        base = ["--port", str(port), "--bind", _HOST, "--dir", str(self.folder), "--save", "", "--appendonly", "no"]
        self._command = [program, *base, *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, cwd=self.folder)
        wait_until_sync(self._answers, 10)

    def _answers(self) -> bool:
        with suppress(redis.RedisError), self.client() as client:
            return bool(client.ping())
        return False

    def client(self) -> redis.Redis:
        """A client of this process alone, which does not try again if it is dead."""
        return redis.Redis(host=_HOST, port=self.port, socket_timeout=2, retry=Retry(NoBackoff(), 0))

    def kill(self) -> None:
        """Kill it: no farewell."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Topology(Protocol):
    """A set-up, as the tests know it: its URL, and how long (s) it is away at least when it fails."""

    url: str
    away: float

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def admin(self) -> Any:
        """A client of the library's that reaches every key."""

    @property
    def servers(self) -> list[Process]:
        """The processes that hold data."""

    def fail(self) -> None:
        """Kill a primary, and whatever must be done by hand for the set-up to come back."""


def connections(topology: Topology) -> list[str]:
    """Return the names of TaskFlow's connections to a set-up's servers."""
    found = []
    for server in topology.servers:
        with suppress(redis.ConnectionError), server.client() as client:
            clients: Any = client.client_list()
            found += [each["name"] for each in clients if each["name"].startswith("taskflow")]
    return found


class StandaloneSetup:
    """One server, which writes down what it is told."""

    away = 0.0

    def __init__(self, program: str, folder: Path) -> None:
        self._server = Process(program, folder, free_ports(1)[0], "--appendonly", "yes")
        self.servers = [self._server]
        self.url = f"redis://{_HOST}:{self._server.port}/0"

    def start(self) -> None:
        """Start it."""
        self._server.start()

    def stop(self) -> None:
        """Kill it."""
        self._server.kill()

    def admin(self) -> Any:
        """A client of it."""
        return self._server.client()

    def fail(self) -> None:
        """Kill it and start it again."""
        self._server.kill()
        self._server.start()


class SentinelSetup:
    """A primary, two replicas, three sentinels that need two votes and 1 s of silence to fail over."""

    away = 0.9

    def __init__(self, program: str, folder: Path) -> None:
        data, watch = free_ports(3), free_ports(3)
        self.primary = Process(program, folder, data[0], *_SYNC_AT_ONCE)
        replica = (*_SYNC_AT_ONCE, "--replicaof", _HOST, str(data[0]))
        self.replicas = [Process(program, folder, port, *replica) for port in data[1:]]
        self.servers = [self.primary, *self.replicas]
        self.sentinels = [_sentinel(program, folder, port, data[0]) for port in watch]
        hosts = ",".join(f"{_HOST}:{port}" for port in watch)
        self.url = f"redis+sentinel://{hosts}/tasks/0"

    def start(self) -> None:
        """Start all and wait until they know each other."""
        for process in (self.primary, *self.replicas, *self.sentinels):
            process.start()
        wait_until_sync(self._complete, 20)

    def _complete(self) -> bool:
        with self.sentinels[0].client() as client:
            state = client.sentinel_master("tasks")
        met = state["num-slaves"] == len(self.replicas) and state["num-other-sentinels"] == len(self.sentinels) - 1
        return bool(met) and all(_in_sync(replica) for replica in self.replicas)

    def stop(self) -> None:
        """Kill all."""
        for process in (*self.sentinels, self.primary, *self.replicas):
            process.kill()

    def admin(self) -> Any:
        """A client of the first primary."""
        return self.primary.client()

    def fail(self) -> None:
        """Kill the first primary."""
        self.primary.kill()


def _add_slots(first: int, last: int, client: Any) -> object:
    return client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)


def _replicate(primary: object, client: redis.Redis) -> object:
    return client.cluster("REPLICATE", primary)


def _in_sync(replica: Process) -> bool:
    with replica.client() as client:
        return bool(client.info("replication")["master_link_status"] == "up")


def _sentinel(program: str, folder: Path, port: int, primary: int) -> Process:
    config = folder / f"sentinel-{port}.conf"
    lines = [
        f"sentinel monitor tasks {_HOST} {primary} 2",
        "sentinel down-after-milliseconds tasks 1000",
        "sentinel failover-timeout tasks 5000",
    ]
    config.write_text("\n".join(lines) + "\n")
    process = Process(program, folder, port)
    process._command = [program, str(config), "--port", str(port), "--bind", _HOST, "--sentinel"]
    return process


class ClusterSetup:
    """Three primaries, each with a replica; a node counts as down after 1 s."""

    away = 0.9

    def __init__(self, program: str, folder: Path) -> None:
        options = (
            *_SYNC_AT_ONCE,
            "--cluster-require-full-coverage",
            "no",
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "1000",
            "--cluster-config-file",
            "nodes.conf",
        )
        self.servers = [Process(program, folder, port, *options) for port in free_ports(6)]
        self.url = "redis+cluster://" + ",".join(f"{_HOST}:{node.port}" for node in self.servers[:3])

    def start(self) -> None:
        """Start all, share out the slots, and wait until the cluster is complete."""
        for node in self.servers:
            node.start()
        ids = [self._on(node, lambda client: client.cluster("MYID").decode()) for node in self.servers]
        for position, node in enumerate(self.servers[:3]):
            first, last = position * SLOTS // 3, (position + 1) * SLOTS // 3 - 1
            self._on(node, partial(_add_slots, first, last))
        for node in self.servers[1:]:
            self._on(node, lambda client: client.cluster("MEET", _HOST, self.servers[0].port))
        wait_until_sync(self._all_met, 20)
        for position, node in enumerate(self.servers[3:]):
            self._on(node, partial(_replicate, ids[position]))
        wait_until_sync(self._complete, 20)

    @staticmethod
    def _on(node: Process, action: Callable[[redis.Redis], object]) -> object:
        with node.client() as client:
            return action(client)

    def _all_met(self) -> bool:
        counts = [self._on(node, lambda client: len(client.cluster("NODES"))) for node in self.servers]
        return counts == [len(self.servers)] * len(self.servers)

    def _complete(self) -> bool:
        def state(client: redis.Redis) -> tuple[str, int]:
            replicas = sum("slave" in node["flags"] and node["connected"] for node in client.cluster("NODES").values())
            return client.cluster("INFO")["cluster_state"], replicas

        joined = all(self._on(node, state) == ("ok", 3) for node in self.servers)
        return joined and all(_in_sync(node) for node in self.servers[3:])

    def stop(self) -> None:
        """Kill all."""
        for node in self.servers:
            node.kill()

    def admin(self) -> Any:
        """A client of all nodes."""
        return redis.RedisCluster(host=_HOST, port=self.servers[0].port, socket_timeout=2)

    def replica_of(self, position: int) -> Process:
        """The replica of one of the three primaries."""
        return self.servers[3 + position]

    def fail(self) -> None:
        """Kill the primary of the first third of the slots."""
        self.servers[0].kill()
