"""Parts of the worker by themselves: the draw of queues, the completer, the deadlines."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.tasks import placement
from taskflow.broker.delivery import Archive, Delivery, Done, Outcome, Retry, Settled
from taskflow.worker.completer import Completer
from taskflow.worker.deadlines import Deadlines
from taskflow.worker.fetcher import draw
from taskflow.worker.watches import FIRST_PAUSE, LONGEST_PAUSE, SLOW_CHECK, Watch

# -- draw -------------------------------------------------------------------------------------------------------------


@given(
    weights=st.dictionaries(st.text(min_size=1), st.integers(1, 100), min_size=1, max_size=5), slots=st.integers(1, 500)
)
def test_every_slot_draws_a_queue(weights: dict[str, int], slots: int) -> None:
    drawn = draw(weights, slots, rand=random.Random(1))

    assert sum(drawn.values()) == slots
    assert set(drawn) <= set(weights)


def test_queues_are_drawn_by_weight() -> None:
    drawn = draw({"a": 6, "b": 3, "c": 1}, 10_000, rand=random.Random(1))

    assert drawn["a"] == pytest.approx(6000, abs=300)
    assert drawn["b"] == pytest.approx(3000, abs=300)
    assert drawn["c"] == pytest.approx(1000, abs=200)


async def test_a_queue_that_gives_less_than_wanted_is_watched_and_useless_wakes_are_spaced_out() -> None:
    busy: dict[str, int] = {}
    watch = Watch("q", 3, busy)
    watch.took(5, 5)
    assert not watch.empty.is_set()
    assert busy == {"q": 3}
    watch.took(3, 5)
    assert watch.empty.is_set()
    assert busy == {}

    pauses = []
    for _ in range(10):
        watch.woken = True
        watch.took(0, 5)
        pauses.append(watch.pause)
    assert pauses[0] == FIRST_PAUSE
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE

    watch.woken = True
    watch.took(1, 5)
    assert watch.pause == 0
    watch.blocked()
    assert watch.pause == SLOW_CHECK


# -- completer --------------------------------------------------------------------------------------------------------


class Desk:
    """A completer, with what it said."""

    def __init__(self, count: int = 1) -> None:
        self.leases = {self.delivery(i) for i in range(count)}
        self.settled: list[tuple[Delivery, Outcome]] = []
        self.woken = 0
        self.completer = Completer(self.leases, news=self._news, settled=lambda *pair: self.settled.append(pair))
        for delivery in sorted(self.leases, key=lambda one: one.id):
            self.completer.add(delivery, Done())

    @staticmethod
    def delivery(number: int) -> Delivery:
        return Delivery("default", b"%d" % number, placement(f"{number}").message, "1.5")

    def _news(self) -> None:
        self.woken += 1


def test_what_redis_took_is_owed_no_longer() -> None:
    desk = Desk(3)
    assert (desk.completer.owed, desk.woken) == (3, 3)

    taken = desk.completer.take(2)
    assert (desk.completer.owed, len(taken)) == (3, 2)
    desk.completer.confirm(taken, [Settled.SETTLED, Settled.SETTLED])

    assert desk.completer.owed == 1
    assert [delivery.id for delivery, _ in desk.settled] == ["0", "1"]
    assert [delivery.id for delivery in desk.leases] == ["2"]


def test_a_failed_round_trip_gives_back_in_order() -> None:
    desk = Desk(3)
    taken = desk.completer.take(2)

    desk.completer.put_back(taken)

    assert [delivery.id for delivery, _, _ in desk.completer.take(9)] == ["0", "1", "2"]
    assert len(desk.leases) == 3


def test_a_refusal_ends_the_matter() -> None:
    desk = Desk()
    desk.completer.confirm(desk.completer.take(1), [Settled.REFUSED])

    assert desk.completer.owed == 0
    assert desk.leases == set()
    assert desk.settled == []


@pytest.mark.parametrize("confirmed", [False, True])
def test_a_refusal_because_the_heartbeat_moved_the_lease_is_tried_again(confirmed: bool) -> None:
    desk = Desk()
    taken = desk.completer.take(1)
    taken[0][0].propose("2.5")
    if confirmed:
        taken[0][0].confirm("2.5")

    desk.completer.confirm(taken, [Settled.REFUSED])

    ((_, _, tokens),) = desk.completer.take(1)
    assert tokens == ("2.5" if confirmed else "1.5 2.5")


def test_a_lost_lease_is_not_tried_again_although_it_moved() -> None:
    desk = Desk()
    taken = desk.completer.take(1)
    taken[0][0].propose("2.5")
    taken[0][0].lost = True

    desk.completer.confirm(taken, [Settled.REFUSED])

    assert desk.completer.owed == 0


def test_a_task_cancelled_meanwhile_is_archived_with_its_attempt() -> None:
    desk = Desk(0)
    attempt: Any = object()
    desk.completer.add(desk.delivery(1), Retry(1.0, "no", attempt=attempt))
    desk.completer.confirm(desk.completer.take(1), [Settled.CANCELLED_MEANWHILE])

    ((_, outcome, _),) = desk.completer.take(1)
    assert outcome == Archive("task cancelled", cancelled=True, attempt=attempt)


# -- deadlines --------------------------------------------------------------------------------------------------------


async def test_deadlines_pass_in_their_order_whatever_order_they_came_in() -> None:
    passed: list[str] = []
    done = asyncio.Event()

    def ring(item: str) -> None:
        passed.append(item)
        if len(passed) == 3:
            done.set()

    deadlines = Deadlines[str](ring)
    for item, seconds in (("late", 0.09), ("soon", 0.03), ("never", 0.05), ("past", -5.0)):
        deadlines.add(item, seconds)
    deadlines.discard("never")
    deadlines.discard("unknown")

    await asyncio.wait_for(done.wait(), 20)
    assert passed == ["past", "soon", "late"]


async def test_an_item_that_ends_first_does_not_delay_the_next() -> None:
    passed = asyncio.Event()
    deadlines = Deadlines[str](lambda _: passed.set())
    deadlines.add("first", 0.02)
    deadlines.add("second", 0.06)
    deadlines.discard("first")

    await asyncio.wait_for(passed.wait(), 20)


async def test_closed_deadlines_ring_no_more() -> None:
    passed: list[str] = []
    deadlines = Deadlines[str](passed.append)
    deadlines.add("a", 0.01)
    deadlines.close()

    await asyncio.sleep(0.05)
    assert passed == []


async def test_a_deadline_beyond_all_time_is_no_trouble() -> None:
    deadlines = Deadlines[str](lambda _: None)
    deadlines.add("a", 2.0**62)
    await asyncio.sleep(0)
    deadlines.close()
