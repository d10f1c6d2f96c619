"""done, complete, retry, archive and requeue: each takes effect once, for the holder of the lease, and for nobody else."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from support.clock import MovableClock
from support.store import Store
from support.tasks import LOCK, enqueue, placement, stranger, take, taken
from taskflow import Broker
from taskflow.broker.delivery import Archive, Complete, Delivery, Done, Outcome, Requeue, Retry, Settled
from taskflow.task import Attempt

pytestmark = pytest.mark.usefixtures("invariants_hold")

DAY = 24 * 3600
Outcomes = Callable[[MovableClock], Outcome]


def attempt(error: str = "ValueError: no") -> Attempt:
    return Attempt(at=datetime.now(UTC), worker="host:1", error=error, traceback="Traceback ...\n  line 1")


OUTCOMES: dict[str, Outcomes] = {
    "done": lambda _: Done(),
    "complete": lambda _: Complete(b"42"),
    "retry": lambda clock: Retry(clock.now() + 10.5, "no", attempt=attempt()),
    "archive": lambda _: Archive("no", attempt=attempt()),
    "requeue": lambda _: Requeue(),
}
each_outcome = pytest.mark.parametrize("outcome", OUTCOMES.values(), ids=OUTCOMES)


def today(clock: MovableClock) -> str:
    return datetime.fromtimestamp(clock.now(), UTC).strftime("%Y-%m-%d")


def counters(store: Store, clock: MovableClock) -> tuple[int, int, int, int]:
    """Processed today and ever, failed today and ever."""
    day = today(clock)
    names = (f"processed:{day}", "processed", f"failed:{day}", "failed")
    processed, processed_ever, failed, failed_ever = (store.number(name) for name in names)
    return processed, processed_ever, failed, failed_ever


# -- what each does ---------------------------------------------------------------------------------------------------


async def test_done_leaves_nothing_of_the_task(broker: Broker, store: Store, clock: MovableClock) -> None:
    (delivery,) = await taken(broker, placement("a", lock=LOCK))

    assert await broker.settle([(delivery, Done())]) == [Settled.SETTLED]

    day = f"asynq:{{default}}:processed:{today(clock)}"
    assert set(store.snapshot()) == {"asynq:queues", "asynq:{default}:processed", day}
    assert counters(store, clock) == (1, 1, 0, 0)
    assert store.client.ttl(day) == pytest.approx(90 * DAY, abs=5)
    assert store.client.ttl("asynq:{default}:processed") == -1


async def test_complete_keeps_task_and_result_for_the_retention(
    broker: Broker, store: Store, clock: MovableClock
) -> None:
    (delivery,) = await taken(broker, placement("a", lock=LOCK, retention=600))

    assert await broker.settle([(delivery, Complete(b'{"n": 1}'))]) == [Settled.SETTLED]

    assert store.scores("completed") == pytest.approx({"a": clock.now() + 600}, abs=2)
    assert store.scores("completed")["a"] % 1 == 0
    fields = store.hash("a")
    assert fields["state"] == b"completed"
    assert fields["result"] == b'{"n": 1}'
    message = store.message("a")
    assert message.completed_at == pytest.approx(clock.now(), abs=2)
    assert (message.type, message.payload, message.retention) == ("t", b"{}", 600)
    assert store.client.exists(LOCK) == 0
    assert counters(store, clock) == (1, 1, 0, 0)


async def test_complete_without_a_result_keeps_what_was_written_while_it_ran(broker: Broker, store: Store) -> None:
    deliveries = await taken(broker, placement("a", retention=60), placement("b", retention=60))
    assert await broker.write_result(deliveries[0], b"early")

    await broker.settle([(one, Complete(None)) for one in deliveries])

    assert store.hash("a")["result"] == b"early"
    assert "result" not in store.hash("b")


async def test_an_empty_result_is_a_result(broker: Broker, store: Store) -> None:
    (delivery,) = await taken(broker, placement("a", retention=60))

    await broker.settle([(delivery, Complete(b""))])

    assert store.hash("a")["result"] == b""


async def test_retry_waits_for_its_time_and_counts(broker: Broker, store: Store, clock: MovableClock) -> None:
    (delivery,) = await taken(broker, placement("a", lock=LOCK, retried=1))
    at = int(clock.now()) + 20.25

    assert await broker.settle([(delivery, Retry(at, "boom", attempt=attempt("boom")))]) == [Settled.SETTLED]

    assert store.scores("retry") == {"a": float(int(at) + 1)}
    assert store.due() == {"a": at}
    message = store.message("a")
    assert (message.retried, message.error_msg) == (2, "boom")
    assert message.last_failed_at == pytest.approx(clock.now(), abs=2)
    assert store.state("a") == "retry"
    assert json.loads(store.hash("a")["attempts"])["error"] == "boom"
    assert store.client.get(LOCK) == b"a"
    assert counters(store, clock) == (1, 1, 1, 1)
    assert store.client.ttl(store.key(f"failed:{today(clock)}")) == pytest.approx(90 * DAY, abs=5)


async def test_a_retry_that_is_no_failure_counts_nothing(broker: Broker, store: Store, clock: MovableClock) -> None:
    (delivery,) = await taken(broker, placement("a", retried=1))

    await broker.settle([(delivery, Retry(clock.now() + 5, "wait", counts=False))])

    assert store.message("a").retried == 1
    assert "attempts" not in store.hash("a")
    assert counters(store, clock) == (0, 0, 0, 0)


async def test_archive_keeps_the_task_and_frees_its_lock(broker: Broker, store: Store, clock: MovableClock) -> None:
    (delivery,) = await taken(broker, placement("a", lock=LOCK, retried=3))

    assert await broker.settle([(delivery, Archive("boom", attempt=attempt("boom")))]) == [Settled.SETTLED]

    assert store.scores("archived") == pytest.approx({"a": clock.now()}, abs=2)
    message = store.message("a")
    assert (message.retried, message.error_msg) == (3, "boom")
    assert store.state("a") == "archived"
    assert "cancelled" not in store.hash("a")
    assert store.client.exists(LOCK) == 0
    assert counters(store, clock) == (1, 1, 1, 1)


async def test_archive_of_a_cancelled_task_says_so(broker: Broker, store: Store, clock: MovableClock) -> None:
    (delivery,) = await taken(broker, placement("a"))

    await broker.settle([(delivery, Archive("task cancelled", cancelled=True))])

    assert int(store.hash("a")["cancelled"]) == pytest.approx(clock.now(), abs=2)


async def test_archive_of_what_cannot_be_decoded_keeps_its_bytes_readable(broker: Broker, store: Store) -> None:
    await enqueue(broker, placement("a"))
    store.client.hset(store.key("t:a"), "msg", b"\xff\xffgarbage")
    (delivery,) = await take(broker)

    assert await broker.settle([(delivery, Archive("cannot be decoded"))]) == [Settled.SETTLED]

    message = store.message("a")
    assert message.payload == b"\xff\xffgarbage"
    assert (message.id, message.queue, message.error_msg) == ("a", "default", "cannot be decoded")
    assert message.type


async def test_requeue_goes_to_the_front_in_order_and_counts_nothing(
    broker: Broker, store: Store, clock: MovableClock
) -> None:
    await enqueue(broker, placement("a", lock=LOCK), placement("b"), placement("c"))
    deliveries = await take(broker, 2)

    assert await broker.settle([(one, Requeue()) for one in reversed(deliveries)]) == [Settled.SETTLED] * 2

    assert store.list("pending") == ["c", "b", "a"]
    assert set(store.hash("a")) == {"msg", "state", "pending_since", "unique_key"}
    assert store.client.get(LOCK) == b"a"
    assert counters(store, clock) == (0, 0, 0, 0)
    assert [one.id for one in await take(broker)] == ["a", "b", "c"]


async def test_requeue_of_a_dead_workers_task_counts_the_death(broker: Broker, store: Store) -> None:
    for deaths in (b"1", b"2"):
        (delivery,) = await taken(broker, placement("a")) if deaths == b"1" else await take(broker)
        await broker.settle([(delivery, Requeue(died=True))])
        assert store.hash("a")["deaths"] == deaths


# -- fencing ----------------------------------------------------------------------------------------------------------


@each_outcome
async def test_a_worker_whose_lease_is_anothers_changes_nothing(
    broker: Broker, store: Store, clock: MovableClock, outcome: Outcomes
) -> None:
    (delivery,) = await taken(broker, placement("a", lock=LOCK, retention=60))
    before = store.snapshot()

    assert await broker.settle([(stranger(delivery), outcome(clock))]) == [Settled.REFUSED]

    assert store.snapshot() == before


@each_outcome
async def test_a_zombie_changes_nothing_of_the_next_owners_run(
    broker: Broker, store: Store, clock: MovableClock, outcome: Outcomes
) -> None:
    (zombie,) = await taken(broker, placement("a", retention=60))
    (recovered,) = await broker.expired(["default"], cutoff=clock.now() + 31)
    await broker.settle([(recovered.delivery, Requeue(died=True))])
    assert await broker.settle([(zombie, outcome(clock))]) == [Settled.REFUSED]
    clock.advance(0.001)
    (owner,) = await take(broker)
    before = store.snapshot()

    assert await broker.settle([(zombie, outcome(clock))]) == [Settled.REFUSED]
    assert store.snapshot() == before
    assert await broker.settle([(owner, Complete(b"1"))]) == [Settled.SETTLED]


@each_outcome
async def test_a_repeat_is_refused_and_counts_nothing(
    broker: Broker, store: Store, clock: MovableClock, outcome: Outcomes
) -> None:
    (delivery,) = await taken(broker, placement("a", retention=60))
    chosen = outcome(clock)
    assert await broker.settle([(delivery, chosen)]) == [Settled.SETTLED]
    before = store.snapshot()

    assert await broker.settle([(delivery, chosen)]) == [Settled.REFUSED]

    assert store.snapshot() == before


@each_outcome
async def test_either_of_two_known_tokens_will_do(
    broker: Broker, store: Store, clock: MovableClock, outcome: Outcomes
) -> None:
    """A heartbeat notes the lease's new end before it is sent: whether Redis took it is not known yet."""
    taken_already, not_yet = await taken(broker, placement("a", retention=60), placement("b", retention=60))
    new = repr(round(clock.now() + 60, 6))
    store.client.zadd(store.key("lease"), {"a": float(new)})
    for delivery in (taken_already, not_yet):
        delivery.propose(new)

    answers = await broker.settle([(taken_already, outcome(clock)), (not_yet, outcome(clock))])

    assert answers == [Settled.SETTLED] * 2


async def test_in_a_batch_each_task_stands_for_itself(broker: Broker, store: Store, clock: MovableClock) -> None:
    a, b, c, d, e = await taken(broker, *(placement(name, retention=60) for name in "abcde"))
    batch: list[tuple[Delivery, Outcome]] = [
        (a, Done()),
        (stranger(b), Done()),
        (c, Complete(b"1")),
        (stranger(d), Archive("no")),
        (e, Retry(clock.now() + 9, "no")),
    ]

    answers = await broker.settle(batch)

    assert [int(answer) for answer in answers] == [1, 0, 1, 0, 1]
    assert sorted(store.list("active")) == ["b", "d"]
    assert counters(store, clock) == (3, 3, 1, 1)


# -- cancelled meanwhile ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["retry", "requeue"])
async def test_a_task_cancelled_meanwhile_is_left_to_be_archived(
    broker: Broker, store: Store, clock: MovableClock, name: str
) -> None:
    deliveries = await taken(broker, placement("a"), placement("b"))
    store.client.hset(store.key("t:a"), "stop", 1)
    before = store.hash("a")

    answers = await broker.settle([(one, OUTCOMES[name](clock)) for one in deliveries])

    assert answers == [Settled.CANCELLED_MEANWHILE, Settled.SETTLED]
    assert store.hash("a") == before
    assert store.list("active") == ["a"]
    assert await broker.settle([(deliveries[0], Archive("task cancelled", cancelled=True))]) == [Settled.SETTLED]
    assert "cancelled" in store.hash("a")
    assert "stop" not in store.hash("a")


@pytest.mark.parametrize("outcome", [Done(), Complete(b"1")])
async def test_a_task_that_succeeded_although_it_was_cancelled_has_succeeded(
    broker: Broker, store: Store, outcome: Outcome
) -> None:
    (delivery,) = await taken(broker, placement("a", retention=60))
    store.client.hset(store.key("t:a"), "stop", 1)

    assert await broker.settle([(delivery, outcome)]) == [Settled.SETTLED]


# -- counters, locks, attempts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["done", "complete", "retry", "archive"])
async def test_totals_at_the_end_of_their_range_start_again(
    broker: Broker, store: Store, clock: MovableClock, name: str
) -> None:
    deliveries = await taken(broker, *(placement(f"{i}") for i in range(3)))
    for total in ("processed", "failed"):
        store.client.set(store.key(total), 2**63 - 2)

    await broker.settle([(one, OUTCOMES[name](clock)) for one in deliveries])

    assert store.text("processed") == "3"
    assert store.text("failed") == ("3" if name in {"retry", "archive"} else str(2**63 - 2))


async def test_the_daily_counters_time_to_live_is_set_once(broker: Broker, store: Store, clock: MovableClock) -> None:
    day = store.key(f"processed:{today(clock)}")
    await broker.settle([(one, Done()) for one in await taken(broker, placement("a"))])
    store.client.expire(day, 1000)

    await broker.settle([(one, Done()) for one in await taken(broker, placement("b"))])

    assert store.client.ttl(day) <= 1000
    assert store.number(f"processed:{today(clock)}") == 2


async def test_a_batch_sets_the_daily_counters_time_to_live_too(
    broker: Broker, store: Store, clock: MovableClock
) -> None:
    deliveries = await taken(broker, *(placement(f"{i}") for i in range(5)))

    await broker.settle([(one, Archive("no")) for one in deliveries])

    for total in ("processed", "failed"):
        assert store.client.ttl(store.key(f"{total}:{today(clock)}")) == pytest.approx(90 * DAY, abs=5)


async def test_counters_follow_the_utc_day(broker: Broker, store: Store, clock: MovableClock) -> None:
    deliveries = await taken(broker, placement("a"), placement("b"))
    first = today(clock)
    await broker.settle([(deliveries[0], Done())])
    clock.advance(DAY)
    await broker.settle([(deliveries[1], Done())])

    assert store.number(f"processed:{first}") == 1
    assert store.number(f"processed:{today(clock)}") == 1
    assert store.number("processed") == 2


@pytest.mark.parametrize("name", ["done", "complete", "archive"])
async def test_a_lock_that_is_anothers_by_now_is_left_alone(
    broker: Broker, store: Store, clock: MovableClock, name: str
) -> None:
    """The lock's time ran out while the task waited, and a second task took it."""
    (delivery,) = await taken(broker, placement("a", lock=LOCK, retention=60))
    store.client.delete(LOCK)
    await enqueue(broker, placement("b", lock=LOCK))

    await broker.settle([(delivery, OUTCOMES[name](clock))])

    assert store.client.get(LOCK) == b"b"


async def test_the_newest_ten_attempts_are_kept(broker: Broker, store: Store, clock: MovableClock) -> None:
    await enqueue(broker, placement("a", retry=100))
    for i in range(13):
        (delivery,) = await take(broker)
        outcome: Outcome = Retry(clock.now() + 1, f"{i}", attempt=attempt(f"{i}"))
        if i == 12:
            outcome = Archive(f"{i}", attempt=attempt(f"{i}"))
        await broker.settle([(delivery, outcome)])
        clock.advance(2)
        await broker.forward(["default"])

    lines = [json.loads(line) for line in store.hash("a")["attempts"].splitlines()]
    assert [line["error"] for line in lines] == [f"{i}" for i in range(3, 13)]
    assert all(line["traceback"].endswith("line 1") for line in lines)


async def test_ends_are_announced(broker: Broker, store: Store) -> None:
    done, completed, archived = await taken(broker, *(placement(name, retention=60) for name in "abc"))
    with store.client.pubsub() as channel:
        channel.psubscribe("taskflow:ended:*")
        assert channel.get_message(timeout=1) is not None

        await broker.settle([(done, Done()), (completed, Complete(b"1")), (archived, Archive("no"))])

        heard = [channel.get_message(timeout=0.2) for _ in range(3)]
    ends = {message["channel"].decode(): message["data"].decode() for message in heard if message}
    assert ends == {"taskflow:ended:b": "completed", "taskflow:ended:c": "archived"}


async def test_a_round_trip_settles_and_takes(broker: Broker, store: Store) -> None:
    deliveries = await taken(broker, placement("a"), placement("b", queue="other"))
    await enqueue(broker, placement("c"))

    exchanged = await broker.exchange([(one, Done()) for one in deliveries], {"default": 1}, owner="s:2")

    assert exchanged.settled == [Settled.SETTLED, Settled.SETTLED]
    assert [one.id for one in exchanged.deliveries] == ["c"]
    assert store.list("active") == ["c"]


async def test_hundreds_are_settled_at_once(broker: Broker, store: Store) -> None:
    deliveries = await taken(broker, *(placement(f"{i}") for i in range(500)))
    await enqueue(broker, *(placement(f"more {i}") for i in range(500)))
    deliveries += await take(broker, 500)

    assert set(await broker.settle([(one, Done()) for one in deliveries])) == {Settled.SETTLED}

    assert store.number("processed") == 1000
    assert store.list("active") == []


async def test_words_that_utf8_cannot_carry_do_not_break_settling(broker: Broker, store: Store) -> None:
    (delivery,) = await taken(broker, placement("a"))

    await broker.settle([(delivery, Archive("lone \ud800 surrogate", attempt=None))])

    assert store.message("a").error_msg == "lone \\ud800 surrogate"
