"""Groups, script by script: before -> call -> after; nobody aggregates twice, and nothing is stranded."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis

from support.clock import MovableClock
from support.proxy import Proxy
from support.store import Store
from support.tasks import LOCK, enqueue, placement
from taskflow import Broker, BrokerUnavailable, Inspector, TaskFlowError
from taskflow.broker.embedded import EmbeddedServer
from taskflow.broker.groups import LARGEST_SET, RECLAIM_SETS, Aggregation, ClosedSet, GroupPolicy, Groups
from taskflow.broker.scripts import Call
from taskflow.errors import QueueNotFound

pytestmark = pytest.mark.usefixtures("invariants_hold")

NOW = GroupPolicy(max_size=1)
"""Closes a group with any members, one at a time."""
GRACE = GroupPolicy(grace=60)
PAIRS = GroupPolicy(max_size=2)


@pytest.fixture
def groups(broker: Broker) -> Groups:
    return Groups(broker)


async def fill(broker: Broker, *ids: str, group: str = "g", lock: bool = False) -> None:
    await enqueue(
        broker,
        *(placement(one, group=group, payload=one.encode(), lock=f"{LOCK}{one}" if lock else "") for one in ids),
    )


async def closed_one(groups: Groups, policy: GroupPolicy = PAIRS) -> ClosedSet:
    (closed,) = await groups.close("default", policy)
    return closed


# -- close ------------------------------------------------------------------------------------------------------------


async def test_a_group_with_its_largest_size_is_closed(broker: Broker, groups: Groups, store: Store) -> None:
    policy = GroupPolicy(max_size=3)
    await fill(broker, "a", "b")
    assert list(await groups.close("default", policy)) == []
    await fill(broker, "c")
    joined = store.scores("g:g")
    before = broker.clock.now()

    closed = await closed_one(groups, policy)

    assert (closed.queue, closed.group, closed.size) == ("default", "g", 3)
    assert store.client.smembers(store.key("groups")) == set()
    assert closed.key.startswith(store.key("g:g:").encode())
    assert uuid.UUID(closed.key.rpartition(b":")[2].decode()).version == 4
    name = closed.key.decode().removeprefix(store.key(""))
    assert store.scores(name) == joined
    deadline = store.scores("aggregation_sets")[closed.key.decode()]
    assert deadline == closed.deadline
    assert before + 120 <= deadline <= broker.clock.now() + 120
    assert store.state("a") == "aggregating"


async def test_what_is_beyond_the_largest_size_stays_and_is_closed_next(
    broker: Broker, groups: Groups, store: Store, clock: MovableClock
) -> None:
    await fill(broker, "a", "b")
    clock.advance(1)
    await fill(broker, "c", "d", "e")
    policy = GroupPolicy(max_size=2)

    first = await closed_one(groups, policy)
    assert [member.id for member in await groups.members(first) or []] == ["a", "b"]
    assert store.client.smembers(store.key("groups")) == {b"g"}
    second = await closed_one(groups, policy)
    assert [member.id for member in await groups.members(second) or []] == ["c", "d"]
    assert list(await groups.close("default", policy)) == []
    assert list(store.scores("g:g")) == ["e"]


async def test_a_grace_period_is_never_cut_short(broker: Broker, groups: Groups, clock: MovableClock) -> None:
    await fill(broker, "a")
    clock.advance(50)
    await fill(broker, "b")
    clock.advance(60 - 0.1)
    assert list(await groups.close("default", GRACE)) == []
    clock.advance(1.1)

    assert (await closed_one(groups, GRACE)).size == 2


async def test_a_longest_delay_is_never_exceeded(broker: Broker, groups: Groups, clock: MovableClock) -> None:
    policy = GroupPolicy(grace=60, max_delay=100)
    await fill(broker, "a")
    for number in range(3):
        clock.advance(30)
        await fill(broker, f"{number}")
    assert list(await groups.close("default", policy)) == []
    clock.advance(10)

    assert (await closed_one(groups, policy)).size == 4


async def test_several_groups_are_closed_at_once_but_no_more_than_wanted(
    broker: Broker, groups: Groups, store: Store
) -> None:
    for number in range(7):
        await fill(broker, f"task-{number}", group=f"g{number}")

    first = await groups.close("default", NOW, most=3)
    assert [closed.group for closed in first] == ["g0", "g1", "g2"]
    named = await groups.close("default", NOW, [b"g6", b"g4", b"unknown"])
    assert [closed.group for closed in named] == ["g6", "g4"]
    assert [info.name for info in await groups.infos("default")] == ["g3", "g5"]


async def test_a_huge_group_is_closed_in_parts(
    broker: Broker, groups: Groups, store: Store, clock: MovableClock
) -> None:
    await enqueue(broker, *(placement(f"{number:05}", group="g") for number in range(LARGEST_SET + 700)))
    clock.advance(61)

    first = await closed_one(groups, GroupPolicy(grace=1))
    second = await closed_one(groups, GroupPolicy(grace=1))

    assert (first.size, second.size) == (LARGEST_SET, 700)
    members = await groups.members(first)
    assert [member.id for member in members or []] == [f"{number:05}" for number in range(LARGEST_SET)]
    assert await groups.settle(first, placement("all")) is Aggregation.STORED
    assert await groups.reopen(second) == 700


@pytest.mark.parametrize("name", ["a:b", "größe 🎉", "*", "g:c538aef2-52a5-4e40-a948-af7122d2780b", "x" * 300])
async def test_any_name_of_a_group_will_do(name: str, broker: Broker, groups: Groups) -> None:
    await fill(broker, "a", "b", group=name)

    closed = await closed_one(groups)

    assert closed.group == name
    assert await groups.reopen(closed) == 2
    assert [(info.name, info.size) for info in await groups.infos("default")] == [(name, 2)]


async def test_a_key_of_another_kind_spares_the_other_groups(broker: Broker, groups: Groups, store: Store) -> None:
    await fill(broker, "a")
    store.client.set(store.key("g:strange"), "another kind")
    store.client.sadd(store.key("groups"), "strange", "left behind")

    (closed,) = await groups.close("default", NOW)

    assert closed.group == "g"
    assert store.client.smembers(store.key("groups")) == {b"strange"}
    assert {info.name: info.size for info in await groups.infos("default")} == {"strange": 0}
    store.client.delete(store.key("groups"), store.key("g:strange"))


async def test_nothing_moves_where_the_list_of_sets_is_of_another_kind(
    broker: Broker, groups: Groups, store: Store
) -> None:
    await fill(broker, "a")
    store.client.set(store.key("aggregation_sets"), "another kind")
    before = store.snapshot()

    with pytest.raises(TaskFlowError):
        await groups.close("default", NOW)

    assert store.snapshot() == before
    store.client.delete(store.key("aggregation_sets"))


# -- aggregate --------------------------------------------------------------------------------------------------------


async def test_one_task_takes_the_place_of_the_members(broker: Broker, groups: Groups, store: Store) -> None:
    await fill(broker, "a", "b", lock=True)
    closed = await closed_one(groups)
    assert [member.id for member in await groups.members(closed) or []] == ["a", "b"]
    sum_of_them = placement("sum", task_type="sum")

    assert await groups.settle(closed, sum_of_them) is Aggregation.STORED

    assert store.list("pending") == ["sum"]
    assert store.state("sum") == "pending"
    assert store.message("sum").type == "sum"
    assert {key.removeprefix(store.key("")) for key in store.snapshot()} == {"asynq:queues", "pending", "t:sum"}
    assert await groups.settle(closed, sum_of_them) is Aggregation.REPEAT
    assert store.list("pending") == ["sum"]


async def test_an_aggregate_task_may_wait_for_its_time_or_in_another_group(
    broker: Broker, groups: Groups, store: Store
) -> None:
    await fill(broker, "a", "b", "c", "d")
    due = float(int(broker.clock.now())) + 100.5

    assert await groups.settle(await closed_one(groups), placement("later", due=due)) is Aggregation.STORED
    assert await groups.settle(await closed_one(groups), placement("more", group="of groups")) is Aggregation.STORED

    assert (store.scores("scheduled"), store.due()) == ({"later": due + 0.5}, {"later": due})
    assert [(info.name, info.size) for info in await groups.infos("default")] == [("of groups", 1)]


async def test_an_aggregate_task_takes_its_lock(broker: Broker, groups: Groups, store: Store) -> None:
    await fill(broker, "a", "b")

    assert await groups.settle(await closed_one(groups), placement("sum", lock=LOCK)) is Aggregation.STORED

    assert store.client.get(LOCK) == b"sum"
    assert store.hash("sum")["unique_key"] == LOCK.encode()


async def test_a_lock_of_another_task_keeps_the_members_where_they_are(
    broker: Broker, groups: Groups, store: Store
) -> None:
    await enqueue(broker, placement("first", lock=LOCK))
    await fill(broker, "a", "b")
    closed = await closed_one(groups)
    before = store.snapshot()

    assert await groups.settle(closed, placement("sum", lock=LOCK)) is Aggregation.LOCKED

    assert store.snapshot() == before
    assert await groups.reopen(closed) == 2


async def test_a_members_id_and_lock_are_free_for_the_aggregate_task(
    broker: Broker, groups: Groups, store: Store
) -> None:
    await enqueue(broker, placement("a", group="g", lock=LOCK), placement("b", group="g"))

    assert await groups.settle(await closed_one(groups), placement("a", lock=LOCK)) is Aggregation.STORED

    assert store.list("pending") == ["a"]
    assert store.client.get(LOCK) == b"a"


async def test_a_lock_that_a_member_holds_goes_to_the_aggregate_task(
    broker: Broker, groups: Groups, store: Store
) -> None:
    await enqueue(broker, placement("a", group="g", lock=LOCK), placement("b", group="g"))
    closed = await closed_one(groups)
    await groups.members(closed)

    assert await groups.settle(closed, placement("sum", lock=LOCK)) is Aggregation.STORED

    assert store.client.get(LOCK) == b"sum"


async def test_an_id_that_exists_is_a_repeat_or_taken(broker: Broker, groups: Groups, store: Store) -> None:
    await enqueue(broker, placement("sum", payload=b"1"))
    await fill(broker, "a", "b")
    closed = await closed_one(groups)
    before = store.snapshot()

    assert await groups.settle(closed, placement("sum", payload=b"2")) is Aggregation.ID_TAKEN
    assert store.snapshot() == before
    assert await groups.settle(closed, placement("sum", payload=b"1")) is Aggregation.REPEAT
    assert store.list("pending") == ["sum"]
    assert store.hash("a") == {}


async def test_a_member_that_is_cancelled_meanwhile_is_not_aggregated(
    broker: Broker, groups: Groups, inspector: Inspector, store: Store
) -> None:
    await fill(broker, "a", "b")
    closed = await closed_one(groups)
    await groups.members(closed)
    await inspector.cancel("a")

    assert await groups.settle(closed, placement("sum")) is Aggregation.CHANGED
    assert store.hash("sum") == {}
    assert [member.id for member in await groups.members(closed) or []] == ["b"]
    assert await groups.settle(closed, placement("sum")) is Aggregation.STORED
    assert store.state("a") == "archived"


async def test_a_set_that_the_last_member_has_left_is_dropped(
    broker: Broker, groups: Groups, inspector: Inspector, store: Store, clock: MovableClock
) -> None:
    await fill(broker, "a")
    closed = await closed_one(groups, NOW)
    await inspector.delete("a", "default")

    assert await groups.members(closed) == []
    assert await groups.reopen(closed) == 0
    assert store.scores("aggregation_sets") == {}


async def test_of_two_aggregators_one_wins(broker: Broker, store: Store) -> None:
    """They race for one group, over and over: each member ends in exactly one aggregate task."""
    policy = GroupPolicy(max_size=5)
    await fill(broker, *(f"{number}" for number in range(200)))

    async def aggregate(name: str) -> int:
        groups, won = Groups(broker), 0
        while closed := await groups.close("default", policy):
            for one in closed:
                members = await groups.members(one)
                assert members is not None
                task = placement(f"{name}-{won}", payload=b" ".join(member.raw_id for member in members))
                won += await groups.settle(one, task) is Aggregation.STORED
        return won

    won = await asyncio.gather(*(aggregate(name) for name in "abcd"))

    assert sum(won) == 40
    found = [number for task in store.list("pending") for number in store.message(task).payload.split()]
    assert sorted(found) == sorted(b"%d" % number for number in range(200))


# -- a set that is not the caller's any more --------------------------------------------------------------------------


async def test_a_killed_aggregators_set_goes_back_and_its_zombie_writes_nothing(
    broker: Broker, groups: Groups, store: Store, clock: MovableClock
) -> None:
    await fill(broker, "a", "b", lock=True)
    joined = store.scores("g:g")
    closed = await closed_one(groups)
    members = await groups.members(closed)
    clock.advance(119)
    assert await groups.reclaim(["default"]) == 0
    clock.advance(2)

    assert await groups.reclaim(["default", "other"]) == 2

    assert store.scores("g:g") == joined
    assert store.client.smembers(store.key("groups")) == {b"g"}
    assert store.scores("aggregation_sets") == {}
    before = store.snapshot()
    assert await groups.settle(closed, placement("sum")) is Aggregation.LOST
    assert await groups.members(closed) is None
    assert await groups.reject(closed, members or []) == -1
    assert await groups.reopen(closed) == 0
    assert not await groups.extend(closed)
    assert store.snapshot() == before


async def test_the_next_aggregator_gets_what_a_killed_one_left(
    broker: Broker, groups: Groups, store: Store, clock: MovableClock
) -> None:
    await fill(broker, "a", "b")
    dead = await closed_one(groups)
    clock.advance(121)
    await groups.reclaim(["default"])

    heir = await closed_one(groups)

    assert await groups.settle(dead, placement("of the dead")) is Aggregation.LOST
    assert await groups.settle(heir, placement("of the heir")) is Aggregation.STORED
    assert store.list("pending") == ["of the heir"]


async def test_an_extended_set_is_not_reclaimed(
    broker: Broker, groups: Groups, store: Store, clock: MovableClock
) -> None:
    await fill(broker, "a", "b")
    closed = await closed_one(groups)
    clock.advance(100)

    assert await groups.extend(closed)

    clock.advance(100)
    assert await groups.reclaim(["default"]) == 0
    assert store.scores("aggregation_sets")[closed.key.decode()] == closed.deadline
    assert await groups.settle(closed, placement("sum")) is Aggregation.STORED


async def test_a_set_is_still_known_when_the_answer_to_an_extension_was_lost(
    broker: Broker, groups: Groups, server: EmbeddedServer, clock: MovableClock
) -> None:
    await fill(broker, "a", "b")
    closed = await closed_one(groups)
    async with Proxy(server.url) as proxy:
        cut_off = Broker(proxy.url, clock=clock)
        await cut_off.open()
        clock.advance(10)
        proxy.drop_replies(lambda request: b"EVALSHA" in request)
        with pytest.raises(BrokerUnavailable):
            await Groups(cut_off).extend(closed)
        await cut_off.close()

    assert await groups.members(closed) is not None
    assert await groups.settle(closed, placement("sum")) is Aggregation.STORED


async def test_a_set_of_another_is_not_put_back(broker: Broker, groups: Groups, store: Store) -> None:
    await fill(broker, "a", "b")
    closed = await closed_one(groups)
    stranger = ClosedSet("default", closed.name, closed.key, repr(closed.deadline - 1.5), closed.size)
    before = store.snapshot()

    assert await groups.reopen(stranger) == 0

    assert store.snapshot() == before


async def test_reclaimed_members_join_those_that_came_since(
    broker: Broker, groups: Groups, store: Store, clock: MovableClock
) -> None:
    await fill(broker, "a", "b")
    await closed_one(groups)
    clock.advance(121)
    await fill(broker, "c")

    assert await groups.reclaim(["default"]) == 2

    assert sorted(store.scores("g:g")) == ["a", "b", "c"]


async def test_a_large_abandoned_set_is_reclaimed_in_parts_and_its_zombie_is_out_after_the_first(
    broker: Broker, groups: Groups, store: Store, clock: MovableClock
) -> None:
    """A Go server closes groups of any size."""
    await fill(broker, *(f"{number:02}" for number in range(12)))
    closed = await closed_one(groups, GroupPolicy(max_size=12))
    clock.advance(121)
    keys = (store.key("groups"), store.key("aggregation_sets"))
    args = [store.key("g:"), broker.clock.now(), 5, 10]

    ((count, _),) = await broker.run([Call(RECLAIM_SETS, keys, args)])

    assert count == 5
    assert len(store.scores("g:g")) == 5
    assert await groups.settle(closed, placement("sum")) is Aggregation.LOST
    assert await groups.reclaim(["default"]) == 7
    assert [(info.name, info.size) for info in await groups.infos("default")] == [("g", 12)]


async def test_a_group_that_another_program_put_back_is_named_again(
    broker: Broker, groups: Groups, store: Store
) -> None:
    """What asynq's recoverer does: the members are back, but the name is not."""
    await fill(broker, "a", "b")
    closed = await closed_one(groups)
    await groups.reclaim(["default"])
    store.client.rename(closed.key, store.key("g:g"))
    store.client.zrem(store.key("aggregation_sets"), closed.key)
    assert await groups.infos("default") == []

    await groups.reclaim(["default"])

    assert [(info.name, info.size) for info in await groups.infos("default")] == [("g", 2)]


@pytest.mark.parametrize("member", [b"no set at all", b"asynq:{default}:g:", b"asynq:{default}:g:\xff\xfe"])
async def test_strangers_entries_among_the_sets_are_dropped(
    member: bytes, broker: Broker, groups: Groups, store: Store, clock: MovableClock
) -> None:
    await fill(broker, "a", "b")
    await closed_one(groups)
    store.client.zadd(store.key("aggregation_sets"), {member: 1})
    clock.advance(121)

    assert await groups.reclaim(["default"]) == 2
    assert store.scores("aggregation_sets") == {}


async def test_a_group_of_another_kind_keeps_its_abandoned_set(
    broker: Broker, groups: Groups, store: Store, clock: MovableClock
) -> None:
    await fill(broker, "a", "b")
    await closed_one(groups)
    store.client.set(store.key("g:g"), "another kind")
    clock.advance(121)
    before = store.snapshot()

    assert await groups.reclaim(["default"]) == 0

    assert store.snapshot() == before
    store.client.delete(store.key("g:g"))
    assert await groups.reclaim(["default"]) == 2


# -- members that cannot be aggregated --------------------------------------------------------------------------------


async def test_undecodable_members_are_archived_and_ghosts_dropped(
    broker: Broker, groups: Groups, store: Store, raw: redis.Redis
) -> None:
    await fill(broker, "bad", "good", "ghost", lock=True)
    raw.hset(store.key("t:bad"), "msg", b"\xff\xff")
    raw.delete(store.key("t:ghost"), f"{LOCK}ghost")
    closed = await closed_one(groups, GroupPolicy(max_size=3))

    members = await groups.members(closed) or []
    bad = [member for member in members if member.message is None]
    assert sorted(member.id for member in bad) == ["bad", "ghost"]
    assert await groups.reject(closed, bad) == 2
    assert await groups.reject(closed, bad) == 0

    assert list(store.scores("archived")) == ["bad"]
    assert store.message("bad").payload == b"\xff\xff"
    assert "cannot be decoded" in store.message("bad").error_msg
    assert raw.exists(f"{LOCK}bad") == 0
    assert await groups.settle(closed, placement("sum")) is Aggregation.STORED


# -- due times and looking in -----------------------------------------------------------------------------------------


async def test_a_grouped_task_with_a_due_time_joins_its_group_when_it_is_due(
    broker: Broker, groups: Groups, store: Store, clock: MovableClock
) -> None:
    await enqueue(broker, placement("a", group="g", due=broker.clock.now() + 10))
    assert await groups.infos("default") == []
    clock.advance(11)
    await broker.forward(["default"])

    closed = await closed_one(groups, NOW)

    assert await groups.settle(closed, placement("sum")) is Aggregation.STORED
    assert store.list("pending") == ["sum"]


async def test_the_inspector_lists_groups(broker: Broker, inspector: Inspector) -> None:
    await fill(broker, "a", "b", group="two")
    await fill(broker, "c", group="one")

    assert [(info.queue, info.name, info.size) for info in await inspector.groups("default")] == [
        ("default", "one", 1),
        ("default", "two", 2),
    ]
    with pytest.raises(QueueNotFound):
        await inspector.groups("nowhere")


# -- memory full ------------------------------------------------------------------------------------------------------


@pytest.fixture
async def full(broker: Broker, raw: redis.Redis) -> AsyncIterator[Any]:
    """Call it, and the server's memory is full."""
    yield lambda: raw.config_set("maxmemory", 1)
    raw.config_set("maxmemory", 0)


async def test_groups_drain_when_memory_is_full(broker: Broker, groups: Groups, store: Store, full: Any) -> None:
    if broker.server is None or not broker.server.understands_flags:
        pytest.skip("this server knows no flags")
    await fill(broker, "a", "b")
    full()

    closed = await closed_one(groups)
    assert await groups.reopen(closed) == 2
    closed = await closed_one(groups)
    assert await groups.members(closed) is not None
    assert await groups.extend(closed)
    assert await groups.settle(closed, placement("sum")) is Aggregation.STORED
