"""The script runners: unknown scripts are taught, errors translated, headers read; both kinds of client do the same."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from support.clock import MovableClock
from support.proxy import Proxy
from support.store import Store, snapshot
from support.tasks import enqueue, placement, take, taken
from taskflow import Broker, BrokerUnavailable, Client, Inspector, SyncClient, TaskFlowError
from taskflow.broker import connection, scripts
from taskflow.broker.delivery import Complete, Done, Outcome, Requeue, Retry, Settled
from taskflow.broker.embedded import EmbeddedServer
from taskflow.broker.scripts import Call, Script

LUA = Path(scripts.__file__).parent / "lua"
ALL = sorted(path.stem for path in LUA.glob("*.lua"))


@pytest.mark.parametrize("name", ALL)
def test_a_script_that_puts_keys_together_says_so(name: str) -> None:
    """On a cluster it is refused while its queue moves; the others, which keep leases and records, are not."""
    script = Script(name)
    code = re.sub("--.*", "", script.text)

    assert script.roams or not re.search(r"(ARGV\[\d+\]|\b(?:queue|prefix|tasks)) \.\. ", code)
    assert not (script.roams and name in {"announce", "extend", "serve"})


# -- the files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_each_script_begins_with_its_contract(name: str) -> None:
    text = (LUA / f"{name}.lua").read_text()
    header = re.match(r"(--.*\n)+", text)

    assert header is not None
    assert text.startswith(f"-- {name}.lua: ")
    for part in ("--   KEYS  1 ", "--   ARGV  1 ", "--   ->  "):
        assert part in header[0]


@pytest.mark.parametrize("name", ALL)
def test_each_script_includes_the_parts_it_calls_and_no_others(name: str) -> None:
    text = (LUA / f"{name}.lua").read_text()
    lines = re.findall(r"^ *-- +include (.*)$", text, re.MULTILINE)  # in the header, and within the code
    included = [part for line in lines for part in line.split(", ")]

    called = _called(text)
    for part in reversed(included):  # a part calls only those before it
        called |= _called((LUA / "parts" / f"{part}.lua").read_text()) - {part} if part in called else set()

    assert sorted(included) == sorted(called)


def _called(text: str) -> set[str]:
    code = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    parts = {path.stem for path in (LUA / "parts").glob("*.lua")}
    return {part for part in parts if re.search(rf"\b{part}\(|pcall\({part},", code)}


@pytest.mark.parametrize("name", ALL)
def test_a_script_compiles_with_and_without_flags(name: str, raw: redis.Redis) -> None:
    script = Script(name)

    assert raw.script_load(script.text) == script.digest
    if connection.read_server(scripts.execute_sync(raw, [("INFO",)])[0]).understands_flags:
        assert raw.script_load(script.flagged_text) == script.flagged_digest


# -- both runners -----------------------------------------------------------------------------------------------------


async def test_a_server_that_forgets_the_scripts_is_taught_again(
    broker: Broker, store: Store, invariants_hold: None
) -> None:
    for i in range(3):
        store.client.script_flush()
        await enqueue(broker, placement(f"{i}"))
        store.client.script_flush()
        (delivery,) = await take(broker, 1)
        store.client.script_flush()
        assert await broker.settle([(delivery, Done())]) == [Settled.SETTLED]

    assert store.number("processed") == 3


async def test_of_one_round_trip_only_the_unknown_calls_are_repeated(
    broker: Broker, store: Store, invariants_hold: None
) -> None:
    a, b = await taken(broker, placement("a"), placement("b", retention=60))
    await enqueue(broker, placement("c"))
    store.client.script_flush()
    await enqueue(broker, placement("d"))
    store.client.script_load(Script("done").flagged_text)
    store.client.script_load(Script("done").text)

    exchanged = await broker.exchange([(a, Done()), (b, Complete(b"1"))], {"default": 5}, owner="s:2")

    assert exchanged.settled == [Settled.SETTLED] * 2
    assert [one.id for one in exchanged.deliveries] == ["c", "d"]
    assert store.number("processed") == 2


def test_the_blocking_runner_teaches_too(redis_url: str, store: Store) -> None:
    with SyncClient(redis_url) as client:
        for i in range(3):
            store.client.script_flush()
            client.enqueue("t", {"n": i})

    assert len(store.list("pending")) == 3


async def test_what_the_server_refuses_is_an_error_in_its_place(broker: Broker, store: Store) -> None:
    store.client.set(store.key("active"), "another kind")
    good, bad = (
        Call(Script("orphans"), ("x{q}", "y{q}"), ["p"]),
        Call(Script("orphans"), (store.key("active"), "y"), ["p"]),
    )

    with pytest.raises(TaskFlowError, match=r"Redis refused a command: .*kind of value") as caught:
        await broker.run([good, bad, good])

    assert not isinstance(caught.value, BrokerUnavailable)
    assert await broker.run([good]) == [[]]
    client = connection.connect_sync(broker.url)
    replies = scripts.run_sync(client, [good, bad, good], flags=False)
    client.close()
    assert [isinstance(reply, TaskFlowError) for reply in replies] == [False, True, False]


async def test_a_cancelled_call_mixes_up_no_replies(broker: Broker) -> None:
    await enqueue(broker, *(placement(f"{i}") for i in range(300)))
    for _ in range(30):
        call = asyncio.create_task(broker.dequeue({"default": 1}))
        await asyncio.sleep(0)
        call.cancel()
        assert await broker.orphans(["empty"]) == []

    (moved,) = await asyncio.gather(broker.forward(["default"]))
    assert moved is None


async def test_many_calls_at_once_get_their_own_replies(broker: Broker) -> None:
    answers = await asyncio.gather(*(broker.enqueue([placement(f"{i}", queue=f"q{i % 7}")]) for i in range(200)))

    assert all(len(placed) == 1 and placed[0].stored for placed in answers)
    counts = await asyncio.gather(*(broker.dequeue({f"q{i}": 100}) for i in range(7)))
    assert {(i, delivery.queue) for i, found in enumerate(counts) for delivery in found} == {
        (i, f"q{i}") for i in range(7)
    }


# -- a server that does not answer ------------------------------------------------------------------------------------


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(redis_url) as proxy:
        yield proxy


async def test_a_lost_reply_is_unavailable_and_the_next_call_works(proxy: Proxy, store: Store) -> None:
    broker = Broker(proxy.url)
    await broker.open()
    await broker.orphans(["default"])
    proxy.drop_replies()

    with pytest.raises(BrokerUnavailable):
        await broker.enqueue([placement("a", queue="default")])

    proxy.pass_on()
    assert store.state("a") in {None, "pending"}
    assert (await broker.enqueue([placement("a")]))[0].stored
    assert store.list("pending") == ["a"]
    await broker.close()


async def test_no_answer_is_unavailable_after_the_profiles_time(proxy: Proxy) -> None:
    broker = Broker(proxy.url, profile=connection.Profile("command", timeout=0.2))
    await broker.open()
    proxy.stall()
    started = asyncio.get_running_loop().time()

    with pytest.raises(BrokerUnavailable):
        await broker.orphans(["default"])

    assert 0.1 < asyncio.get_running_loop().time() - started < 2
    proxy.pass_on()
    assert await broker.orphans(["default"]) == []
    await broker.close()


async def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/nobody"
    broker = Broker(url)
    with pytest.raises(BrokerUnavailable):
        await broker.orphans(["default"])
    await broker.close()
    async with Client(url) as client:
        with pytest.raises(BrokerUnavailable):
            await client.enqueue("t")
    with SyncClient(url) as blocking, pytest.raises(BrokerUnavailable):
        blocking.enqueue("t")


# -- memory full ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as server:
        yield server


@pytest.fixture
def full(small_server: EmbeddedServer) -> Iterator[redis.Redis]:
    """A server of one's own that `fill` fills up."""
    with redis.Redis.from_url(small_server.url) as client:
        client.config_set("maxmemory", 0)
        client.flushall()
        yield client
        client.config_set("maxmemory", 0)


def fill(client: redis.Redis) -> None:
    client.config_set("maxmemory", 1)


async def test_with_memory_full_enqueue_is_refused_and_writes_nothing(
    small_server: EmbeddedServer, full: redis.Redis
) -> None:
    broker = Broker(small_server.url)
    second = int(broker.clock.now())
    await enqueue(broker, placement("first"))
    fill(full)
    before = snapshot(full)

    for refused in (
        placement("a"),
        placement("b", due=second + 60.5),
        placement("c", group="g"),
        placement("d", lock="asynq:{default}:unique:t:"),
        placement("e", queue="new"),
    ):
        with pytest.raises(BrokerUnavailable):
            await broker.enqueue([refused, placement("more", queue=refused.queue)])

    assert snapshot(full) == before
    await broker.close()


def test_with_memory_full_the_blocking_client_says_unavailable(small_server: EmbeddedServer, full: redis.Redis) -> None:
    with SyncClient(small_server.url) as client:
        client.enqueue("t")
        fill(full)
        with pytest.raises(BrokerUnavailable):
            client.enqueue("t")
        with pytest.raises(BrokerUnavailable):
            client.enqueue("t", queue="new")


async def test_with_memory_full_the_queues_still_drain(small_server: EmbeddedServer, full: redis.Redis) -> None:
    clock = MovableClock()
    broker = Broker(small_server.url, clock=clock)
    names = ["done", "complete", "retry", "requeue", "lost"]
    await enqueue(broker, *(placement(name, retention=60) for name in names))
    await enqueue(broker, placement("due", due=clock.now() + 1))
    fill(full)

    deliveries = {one.id: one for one in await take(broker, 10, owner="s:1")}
    assert sorted(deliveries) == sorted(names)
    assert await broker.extend(list(deliveries.values())) == [True] * 5
    outcomes: list[Outcome] = [Done(), Complete(b"1"), Retry(clock.now() + 1.5, "no"), Requeue()]
    answers = await broker.settle(list(zip([deliveries[name] for name in names[:4]], outcomes, strict=True)))
    assert answers == [Settled.SETTLED] * 4
    assert await broker.reclaim(["default"], owner="s:1") == (1, [])
    clock.advance(5)
    assert await broker.forward(["default"]) is None
    store = Store(full)
    assert sorted(store.list("pending")) == ["due", "lost", "requeue", "retry"]
    assert await Inspector(broker).cancel("due") == "pending"
    clock.advance(100)
    assert await broker.clean(["default"]) == 1
    await broker.close()


async def test_with_memory_full_a_dead_workers_tasks_are_recovered(
    small_server: EmbeddedServer, full: redis.Redis
) -> None:
    clock = MovableClock()
    broker = Broker(small_server.url, clock=clock)
    await taken(broker, placement("a"))
    fill(full)
    clock.advance(timedelta(seconds=31).total_seconds())

    (lost,) = await broker.expired(["default"], cutoff=clock.now())
    assert await broker.settle([(lost.delivery, Requeue(died=True))]) == [Settled.SETTLED]
    assert [one.id for one in await take(broker)] == ["a"]
    await broker.close()
