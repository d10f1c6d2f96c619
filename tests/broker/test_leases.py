"""extend, result, expired and orphans: who has a task, for how long, and which tasks nobody has."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import pytest

from support.clock import MovableClock
from support.store import Store
from support.tasks import enqueue, placement, stranger, take, taken
from taskflow import Broker
from taskflow.broker.delivery import Begun, Done, Requeue, Settled
from taskflow.broker.scripts import Call

pytestmark = pytest.mark.usefixtures("invariants_hold")


async def test_extend_moves_the_ends_of_the_callers_leases(broker: Broker, store: Store, clock: MovableClock) -> None:
    deliveries = await taken(broker, placement("a"), placement("b", queue="other"))
    clock.advance(10)

    assert await broker.extend(deliveries) == [True, True]

    for delivery, queue in zip(deliveries, ("default", "other"), strict=True):
        end = Store(store.client, queue).scores("lease")[delivery.id]
        assert end == pytest.approx(clock.now() + 30, abs=1)
        assert delivery.expiry == end
        assert delivery.tokens == repr(end)
        assert not delivery.lost


async def test_extend_refuses_what_is_anothers_and_marks_it_lost(
    broker: Broker, store: Store, clock: MovableClock
) -> None:
    mine, lost = await taken(broker, placement("a"), placement("b"))
    (recovered,) = [one for one in await broker.expired(["default"], cutoff=clock.now() + 31) if one.delivery.id == "b"]
    await broker.settle([(recovered.delivery, Requeue(died=True))])
    clock.advance(1)
    (owner,) = await take(broker)

    assert await broker.extend([lost, mine]) == [False, True]

    assert (mine.lost, lost.lost) == (False, True)
    assert store.scores("lease")["b"] == owner.expiry


async def test_extend_does_not_bring_back_what_is_settled(broker: Broker, store: Store) -> None:
    (delivery,) = await taken(broker, placement("a"))
    await broker.settle([(delivery, Done())])

    assert await broker.extend([delivery]) == [False]

    assert store.scores("lease") == {}


async def test_extend_does_not_lease_an_orphan(broker: Broker, store: Store) -> None:
    """The token that stands for "there is no lease" is for recovery only."""
    await taken(broker, placement("a"))
    store.client.zrem(store.key("lease"), "a")
    (orphan,) = await broker.orphans(["default"])

    assert await broker.extend([orphan.delivery]) == [False]

    assert store.scores("lease") == {}
    (again,) = await broker.orphans(["default"])
    assert await broker.settle([(again.delivery, Requeue())]) == [Settled.SETTLED]


async def test_extend_knows_a_lease_by_either_of_two_ends(broker: Broker, store: Store, clock: MovableClock) -> None:
    """The reply of the last beat was lost: it may have taken effect, or not."""
    effect, none = await taken(broker, placement("a"), placement("b"))
    new = repr(round(clock.now() + 40, 6))
    effect.propose(new)
    none.propose(new)
    store.client.zadd(store.key("lease"), {"a": float(new)})

    assert await broker.extend([effect, none]) == [True, True]

    assert effect.tokens == none.tokens
    assert " " not in effect.tokens


async def test_extend_of_many_and_of_none(broker: Broker, store: Store, clock: MovableClock) -> None:
    await enqueue(broker, *(placement(f"{i}") for i in range(1200)))
    deliveries = [one for _ in range(3) for one in await take(broker, 500)]
    clock.advance(5)

    assert await broker.extend(deliveries) == [True] * 1200
    assert await broker.extend([]) == []

    assert len(set(store.scores("lease").values())) == 1


async def test_a_go_servers_whole_second_is_not_taken_for_a_lease_of_ours(
    broker: Broker, store: Store, clock: MovableClock
) -> None:
    (delivery,) = await taken(broker, placement("a"))
    store.client.zadd(store.key("lease"), {"a": int(delivery.expiry)})

    assert await broker.extend([delivery]) == [False]
    assert await broker.settle([(delivery, Done())]) == [Settled.REFUSED]


async def test_a_result_is_written_while_the_task_runs(broker: Broker, store: Store) -> None:
    (delivery,) = await taken(broker, placement("a"))

    assert await broker.write_result(delivery, b"half \xff")
    assert store.hash("a")["result"] == b"half \xff"

    assert not await broker.write_result(stranger(delivery), b"wrong")
    assert store.hash("a")["result"] == b"half \xff"
    await broker.settle([(delivery, Done())])
    assert not await broker.write_result(delivery, b"late")
    assert store.hash("a") == {}


class Overtaken(Broker):
    """The first call of a script after `meanwhile` was set is made, and another program is faster on its way to Redis."""

    meanwhile: Callable[[], Awaitable[Any]] | None = None

    async def run(self, calls: Sequence[Call]) -> list[Any]:
        """Run the calls, after what happens meanwhile."""
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        return await super().run(calls)


@pytest.fixture
async def overtaken(redis_url: str, clock: MovableClock) -> AsyncIterator[Overtaken]:
    broker = Overtaken(redis_url, clock=clock)
    yield broker
    await broker.close()


async def test_a_beat_that_overtakes_a_result_does_not_cost_the_task(
    broker: Broker, overtaken: Overtaken, store: Store, clock: MovableClock
) -> None:
    """The heartbeat is a thread of its own: the result was sent with the lease's former end."""
    (delivery,) = await taken(broker, placement("a"))
    clock.advance(1)
    overtaken.meanwhile = partial(broker.extend, [delivery])

    assert await overtaken.write_result(delivery, b"half")

    assert store.hash("a")["result"] == b"half"
    assert overtaken.meanwhile is None


async def test_a_beat_that_overtakes_the_begin_of_a_suspect_does_not_cost_its_turn(
    broker: Broker, overtaken: Overtaken, store: Store, clock: MovableClock
) -> None:
    (delivery,) = await taken(broker, placement("a"))
    store.client.hdel(store.key("t:a"), "started_at")
    clock.advance(1)
    overtaken.meanwhile = partial(broker.extend, [delivery])

    assert await overtaken.begin(delivery) is Begun.BEGUN

    assert "started_at" in store.hash("a")


async def test_a_lease_that_is_lost_on_the_way_is_refused(
    broker: Broker, overtaken: Overtaken, store: Store, clock: MovableClock
) -> None:
    """Also if a beat was under way, so that another end was proposed."""
    (delivery,) = await taken(broker, placement("a"))

    async def lose() -> None:
        await broker.settle([(delivery, Requeue())])
        clock.advance(1)
        await take(broker, owner="server:2")
        await broker.extend([delivery])

    overtaken.meanwhile = lose

    assert not await overtaken.write_result(delivery, b"zombie")

    assert delivery.lost
    assert "result" not in store.hash("a")


# -- expired and orphans ----------------------------------------------------------------------------------------------


async def test_expired_lists_leases_that_have_ended_with_who_had_them(
    broker: Broker, store: Store, clock: MovableClock
) -> None:
    await taken(broker, placement("old"), owner="server-1:4")
    store.client.hset(store.key("t:old"), "deaths", 2)
    clock.advance(20)
    await taken(broker, placement("new"), owner="server-2:1")
    clock.advance(11)

    found = await broker.expired(["default", "empty"], cutoff=clock.now())

    (old,) = found
    assert (old.delivery.id, old.owner, old.server_id, old.deaths) == ("old", "server-1:4", "server-1", 2)
    assert old.delivery.expiry == store.scores("lease")["old"]
    assert old.delivery.message is not None
    assert await broker.settle([(old.delivery, Requeue(died=True))]) == [Settled.SETTLED]


async def test_a_go_servers_task_has_no_owner(broker: Broker, store: Store, clock: MovableClock) -> None:
    await taken(broker, placement("a"))
    store.client.hdel(store.key("t:a"), "owner", "started_at")
    store.client.zadd(store.key("lease"), {"a": int(clock.now()) - 5})

    (found,) = await broker.expired(["default"], cutoff=clock.now())

    assert found.owner == ""
    assert await broker.settle([(found.delivery, Requeue(died=True))]) == [Settled.SETTLED]


async def test_each_message_is_decoded_alone(broker: Broker, store: Store, clock: MovableClock) -> None:
    await taken(broker, placement("bad"), placement("good"))
    store.client.hset(store.key("t:bad"), "msg", b"\xff")

    found = await broker.expired(["default"], cutoff=clock.now() + 31)

    assert {one.delivery.id: one.delivery.message is None for one in found} == {"bad": True, "good": False}


async def test_leases_without_a_task_lose_their_place(broker: Broker, store: Store, clock: MovableClock) -> None:
    await taken(broker, placement("gone"), placement("kind"), placement("kept"))
    store.client.delete(store.key("t:gone"), store.key("t:kind"))
    store.client.set(store.key("t:kind"), "another kind")

    found = await broker.expired(["default"], cutoff=clock.now() + 31)

    assert [one.delivery.id for one in found] == ["kept"]
    assert store.list("active") == ["kept"]
    assert list(store.scores("lease")) == ["kept"]
    store.client.delete(store.key("t:kind"))


async def test_at_most_five_hundred_are_listed_the_longest_lost_first(broker: Broker, clock: MovableClock) -> None:
    await enqueue(broker, *(placement(f"{i}") for i in range(600)))
    first = await take(broker, 500)
    clock.advance(1)
    await take(broker, 500)

    found = await broker.expired(["default"], cutoff=clock.now() + 60)

    assert {one.delivery.id for one in found} == {one.id for one in first}


async def test_orphans_are_active_tasks_without_a_lease(broker: Broker, store: Store) -> None:
    await taken(broker, placement("orphan"), placement("fine"), placement("ghost"))
    store.client.zrem(store.key("lease"), "orphan", "ghost")
    store.client.delete(store.key("t:ghost"))

    (found,) = await broker.orphans(["default"])

    assert found.delivery.id == "orphan"
    assert sorted(store.list("active")) == ["fine", "orphan"]
    assert await broker.settle([(found.delivery, Requeue(died=True))]) == [Settled.SETTLED]
    assert store.list("pending") == ["orphan"]


async def test_an_orphan_that_was_leased_meanwhile_is_left_alone(broker: Broker, store: Store) -> None:
    await taken(broker, placement("a"))
    store.client.zrem(store.key("lease"), "a")
    (found,) = await broker.orphans(["default"])
    store.client.zadd(store.key("lease"), {"a": 5e9})

    assert await broker.settle([(found.delivery, Requeue(died=True))]) == [Settled.REFUSED]


async def test_thousands_of_ghosts_are_dropped_at_once(broker: Broker, store: Store) -> None:
    store.client.rpush(store.key("active"), *(f"{i}" for i in range(9000)))

    assert await broker.orphans(["default"]) == []

    assert store.list("active") == []
