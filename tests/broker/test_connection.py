"""Connections and the clock: every waiting time is set by us, servers that would lose tasks are refused."""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import Any

import pytest
import redis

from conftest import WaitUntil
from taskflow import Broker
from taskflow.broker import scripts
from taskflow.broker.clock import Clock
from taskflow.broker.connection import (
    BLOCK_SECONDS,
    BLOCKING,
    COMMAND,
    HEARTBEAT,
    PUBSUB,
    Profile,
    Server,
    check_safe,
    connect,
    connect_sync,
    open_connection,
    parse_url,
    read_server,
)
from taskflow.errors import ConfigError, UnsupportedServer

URLS = ("redis://localhost:1/0", "rediss://localhost:1/0", "unix:///tmp/nobody?db=0")
PROFILES = (COMMAND, BLOCKING, HEARTBEAT, PUBSUB)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("make", [connect, connect_sync])
async def test_every_value_of_a_connection_is_ours(make: Any, url: str, profile: Profile) -> None:
    made = make(url, profile)
    pool = (await made if inspect.isawaitable(made) else made).connection_pool
    link = pool.make_connection()

    assert link.socket_timeout == profile.timeout
    assert link.socket_connect_timeout == profile.connect_timeout
    assert link.health_check_interval == profile.health_check
    assert link.client_name == f"taskflow-{profile.name}"
    assert link.retry.get_retries() == 0
    assert not link.retry_on_error
    assert link.encoder.decode_responses is False
    assert pool.max_connections == profile.max_connections
    if not url.startswith("unix"):
        assert link.socket_keepalive is True


def test_the_profiles_wait_as_the_documentation_says() -> None:
    assert COMMAND.timeout == 3.0
    assert BLOCKING.timeout == BLOCK_SECONDS + 5.0
    assert HEARTBEAT.timeout == 2.0


@pytest.mark.parametrize("url", ["http://localhost", "localhost:6379", "unix+sentinel://x", "redis+shard://x", ""])
def test_a_url_of_another_scheme_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"use one of redis://, rediss://, unix://"):
        parse_url(url)


def test_the_urls_of_sentinels_and_clusters_are_taken_apart() -> None:
    sentinel = parse_url("rediss+sentinel://user:p%40ss@one:26380,two/orders/2?sentinel_password=s")
    cluster = parse_url("redis+cluster://one:7000,10.0.0.2:7001,three")

    assert (sentinel.kind, sentinel.service) == ("sentinel", "orders")
    assert sentinel.nodes == (("one", 26380), ("two", 26379))
    expected = {"username": "user", "password": "p@ss", "ssl": True, "db": 2, "sentinel_password": "s"}
    assert sentinel.options == expected
    assert (cluster.kind, cluster.nodes) == ("cluster", (("one", 7000), ("10.0.0.2", 7001), ("three", 6379)))


@pytest.mark.parametrize(
    ("url", "reason"),
    [("redis+sentinel://one:26379", "name the service"), ("redis+cluster://one:port", "no host:port")],
)
def test_a_url_that_lacks_something_says_what(url: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        parse_url(url)


async def test_the_server_tells_what_it_is(broker: Broker) -> None:
    server = await broker.open()

    assert (server.name, server.version) >= ("redis", (6, 2))
    assert server.eviction == "noeviction"
    assert not server.replica
    check_safe(server)


def _info(**lines: str) -> bytes:
    return "".join(f"{name}:{value}\r\n" for name, value in lines.items()).encode()


@pytest.mark.parametrize(
    ("info", "flags"),
    [
        ({"redis_version": "6.2.0"}, False),
        ({"redis_version": "7.0.15"}, True),
        ({"redis_version": "7.2.4", "valkey_version": "8.1.0"}, True),
    ],
)
def test_servers_that_are_new_enough(info: dict[str, str], flags: bool) -> None:
    assert read_server(_info(**info)).understands_flags is flags


@pytest.mark.parametrize("info", [{"redis_version": "6.0.16"}, {"redis_version": "7.2.4", "valkey_version": "7.1.9"}])
def test_servers_that_are_too_old(info: dict[str, str]) -> None:
    with pytest.raises(UnsupportedServer, match="is too old: TaskFlow needs"):
        read_server(_info(**info))


def test_servers_that_would_lose_tasks_are_refused() -> None:
    evicting = Server(name="redis", version=(7, 0), replica=False, eviction="allkeys-lru")
    replica = Server(name="redis", version=(7, 0), replica=True, eviction="noeviction")

    with pytest.raises(UnsupportedServer, match="CONFIG SET maxmemory-policy noeviction"):
        check_safe(evicting)
    check_safe(evicting, allow_eviction=True)
    with pytest.raises(UnsupportedServer, match="connect to the primary"):
        check_safe(replica, allow_eviction=True)


def test_both_ways_to_run_plain_commands_answer_alike(redis_url: str) -> None:
    client = connect_sync(redis_url)
    assert scripts.execute_sync(client, [("SET", "a", 1), ("GET", "a"), ("LRANGE", "b", 0, -1)]) == [b"OK", b"1", []]
    client.close()


async def test_plain_commands_in_one_round_trip(broker: Broker, raw: redis.Redis) -> None:
    assert await broker.execute(("SET", "a", 1), ("GET", "a"), ("GET", "none")) == [b"OK", b"1", None]
    assert await broker.execute() == []


# -- clock ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [-120.0, -0.5, 0.5, 120.0])
def test_the_clock_follows_a_server_whose_clock_is_another(ahead: float) -> None:
    clock = Clock()

    clock.synchronise(1000.01 + ahead, asked_at=1000.0, answered_at=1000.02)

    assert clock.offset == pytest.approx(ahead)
    assert clock.now() == pytest.approx(time.time() + ahead, abs=1)
    assert clock.now_ns() == pytest.approx(clock.now() * 1e9, abs=1e9)


def test_clocks_that_agree_within_the_round_trip_are_left_alone() -> None:
    clock = Clock()

    clock.synchronise(1000.015, asked_at=1000.0, answered_at=1000.02)

    assert clock.offset == 0.0


def test_a_clock_that_was_set_right_comes_back() -> None:
    clock = Clock(120.0)

    clock.synchronise(1000.011, asked_at=1000.0, answered_at=1000.02)

    assert clock.offset == 0.0


def test_a_lease_end_carries_microseconds() -> None:
    now = Clock().now()

    assert repr(round(now, 6)) == repr(now)
    assert float(repr(now)) == now


async def test_a_broker_takes_the_servers_time(redis_url: str) -> None:
    broker = Broker(redis_url, clock=Clock(500.0))
    await broker.open()

    assert broker.clock.offset == 0.0
    await broker.close()


async def test_wherever_an_opening_is_cancelled_that_is_heard_and_nothing_stays_open(
    redis_url: str, raw: redis.Redis, wait_until: WaitUntil
) -> None:
    """The library goes on, connected, if it is cancelled in the midst of its handshake."""
    before, cancelled = len(raw.client_list()), 0
    for steps in range(60):
        opening = asyncio.create_task(open_connection(redis_url, COMMAND))
        for _ in range(steps):
            await asyncio.sleep(0)
        if opening.cancel():
            cancelled += 1
            with pytest.raises(asyncio.CancelledError):
                await opening
        else:
            await (await opening).disconnect()

    assert cancelled > 5
    await wait_until(lambda: len(raw.client_list()) == before)
