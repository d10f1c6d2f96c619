"""A random walk over every operation, with a moving clock, against a pure model: after each step Redis equals the model."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from msgspec import structs

from support.clock import MovableClock
from support.invariants import violations
from support.model import ENDED, LEFT_ALONE, Model, ModelTask, Order
from support.store import Store
from support.tasks import placement
from taskflow import Broker, Inspector, TaskNotFound, TaskState
from taskflow.broker.delivery import Archive, Complete, Delivery, Done, Outcome, Requeue, Retry, Settled
from taskflow.broker.placement import REPEAT, Placed, Placement
from taskflow.broker.reading import task_info
from taskflow.errors import (
    InvalidTaskState,
    QueueActive,
    QueueNotEmpty,
    QueueNotFound,
    TaskActive,
    TaskFinished,
    TaskNotScheduled,
)

IDS = [f"task-{i}" for i in range(6)]
LOCKS = ["", "asynq:{default}:unique:t:1", "asynq:{default}:unique:t:2"]
RETENTION = 50
OUTCOMES = ["done", "complete", "retry", "archive", "requeue"]
ORDERS = st.builds(
    Order,
    id=st.sampled_from(IDS),
    lock=st.sampled_from(LOCKS),
    group=st.sampled_from(["", "g"]),
    wait=st.sampled_from([None, None, 3, 3.25, 20.5]),
    until=st.sampled_from(["done", "done", "started", "expired"]),
    choice=st.sampled_from(["refuse", "return", "replace", "replace"]),
)


def _placement(order: Order, number: int, due: float) -> Placement:
    return placement(
        order.id,
        payload=b"%d" % number,
        due=due or None,
        group=order.group,
        lock=order.lock,
        lock_seconds=10_000,
        until=order.until,
        on_conflict=order.choice,
        retention=RETENTION,
    )


class Queue(RuleBasedStateMachine):
    """Does each step in Redis and in the model."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.raw = redis.Redis.from_url(self.url)
        self.raw.flushall()
        self.store = Store(self.raw)
        self.clock = MovableClock()
        self.broker = Broker(self.url, clock=self.clock)
        self.inspector = Inspector(self.broker)
        self.model = Model()
        self.zombies: list[Delivery] = []
        self.placed = 0

    def do(self, action: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(action)

    def teardown(self) -> None:
        self.do(self.broker.close())
        self.loop.close()
        self.raw.close()

    # -- steps --------------------------------------------------------------------------------------------------------

    @rule(orders=st.lists(ORDERS, min_size=1, max_size=3))
    def enqueue(self, orders: list[Order]) -> None:
        """One call with some tasks, which may clash with one another; a repeat of one of them changes nothing."""
        now, first = self.clock.now(), self.placed + 1
        self.placed += len(orders)
        due = [0.0 if order.wait is None else round(now + order.wait, 6) for order in orders]
        placements = [_placement(*one) for one in zip(orders, count(first), due, strict=False)]
        answers = self.do(self.broker.enqueue(placements))
        for order, number, at, answer in zip(orders, count(first), due, answers, strict=False):
            self._equal(answer, self.model.place(order, number, at))
        if answers[-1].stored:
            (again,) = self.do(self.broker.enqueue(placements[-1:]))
            last = orders[-1]
            self._equal(again, self.model.answer(last) if last.lock and last.choice != "refuse" else REPEAT)

    def _equal(self, placed: Placed, expected: Placed) -> None:
        """Compare, and what is said of the holder with what the model knows of it."""
        if placed.found is not None:
            assert placed.holder is not None
            info = task_info("default", placed.holder, placed.found, now=self.clock.now())
            task = self.model.tasks[placed.holder]
            assert (info.state, info.payload) == (task.state, b"%d" % task.number)
        assert structs.replace(placed, found=None) == expected

    @precondition(lambda self: self.model.fixed)
    @rule(data=st.data())
    def the_time_of_a_fixed_lock_is_over(self, data: st.DataObject) -> None:
        lock = data.draw(st.sampled_from(sorted(self.model.fixed)))
        self.raw.delete(lock)
        self.model.fixed.remove(lock)
        del self.model.locks[lock]

    @rule(most=st.integers(1, 4))
    def dequeue(self, most: int) -> None:
        self.clock.advance(0.01)  # leases that differ
        deliveries = self.do(self.broker.dequeue({"default": most}, owner="s:1"))
        expected, self.model.pending = self.model.pending[:most], self.model.pending[most:]
        assert [one.id for one in deliveries] == expected
        for delivery in deliveries:
            task = self.model.tasks[delivery.id]
            assert delivery.cancelled == task.cancelled
            task.state, task.delivery, task.lease_end = "active", delivery, delivery.expiry
            if task.starts_free:
                self.model.unlock(task)
                task.lock, task.starts_free = "", False

    @precondition(lambda self: self.model.in_state("active"))
    @rule(data=st.data(), name=st.sampled_from(OUTCOMES), wait=st.sampled_from([2.0, 2.75]))
    def settle(self, data: st.DataObject, name: str, wait: float) -> None:
        task = self.model.tasks[data.draw(st.sampled_from(sorted(self.model.in_state("active"))))]
        assert task.delivery is not None
        at = round(self.clock.now() + wait, 6)
        outcomes: dict[str, Outcome] = {
            "done": Done(),
            "complete": Complete(b"1"),
            "retry": Retry(at, "no"),
            "archive": Archive("no"),
            "requeue": Requeue(),
        }
        delivery = task.delivery
        (answer,) = self.do(self.broker.settle([(delivery, outcomes[name])]))
        if task.cancelled and name in {"retry", "requeue"}:
            assert answer is Settled.CANCELLED_MEANWHILE
            (answer,) = self.do(self.broker.settle([(delivery, Archive("cancelled", cancelled=True))]))
            name = "archive"
        assert answer is Settled.SETTLED
        self.zombies.append(delivery)
        self._settled(task, name, at)

    def _settled(self, task: ModelTask, name: str, at: float) -> None:
        self.model.processed += name != "requeue"
        self.model.failed += name in {"retry", "archive"}
        task.delivery = None
        if name == "done":
            self.model.drop(task)
        elif name == "complete":
            self.model.unlock(task)
            task.cancelled = False  # it has succeeded although it was to be stopped
            task.state, task.until = "completed", int(self.clock.now()) + RETENTION
        elif name == "retry":
            task.state, task.due, task.retried = "retry", at, task.retried + 1
        elif name == "archive":
            self.model.archive(task, self.clock.now())
        else:
            task.state = "pending"
            self.model.pending.insert(0, task.id)

    @precondition(lambda self: self.zombies)
    @rule(data=st.data(), name=st.sampled_from(OUTCOMES))
    def a_zombie_tries(self, data: st.DataObject, name: str) -> None:
        """What somebody does whose lease is over changes nothing: the next invariant would show it."""
        zombie = data.draw(st.sampled_from(self.zombies))
        outcomes: dict[str, Outcome] = {
            "done": Done(),
            "complete": Complete(b"z"),
            "retry": Retry(1.0, "z"),
            "archive": Archive("z"),
            "requeue": Requeue(),
        }
        assert self.do(self.broker.settle([(zombie, outcomes[name])])) == [Settled.REFUSED]
        assert self.do(self.broker.write_result(zombie, b"z")) is False
        assert self.do(self.broker.extend([zombie])) == [False]

    @rule(seconds=st.sampled_from([0.3, 1, 5, 12, 35]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def forward(self) -> None:
        self.do(self.broker.forward(["default"]))
        now = self.clock.now()
        due = {t.id for t in self.model.tasks.values() if t.state in {"scheduled", "retry"} and t.due <= now}
        moved = [task_id for task_id in reversed(self.store.list("pending")) if task_id in due]
        for task_id in due:
            task = self.model.tasks[task_id]
            if task.cancelled:
                self.model.archive(task, now)
            else:
                task.state = "aggregating" if task.group else "pending"
        self.model.pending += moved

    @rule()
    def recover(self) -> None:
        now = self.clock.now()
        lost = self.do(self.broker.expired(["default"], cutoff=now))
        expected = {t.id for t in self.model.tasks.values() if t.state == "active" and t.lease_end <= now}
        assert {one.delivery.id for one in lost} == expected
        for one in lost:
            task = self.model.tasks[one.delivery.id]
            assert one.deaths == task.deaths
            (answer,) = self.do(self.broker.settle([(one.delivery, Requeue(died=True))]))
            assert task.delivery is not None
            self.zombies.append(task.delivery)
            if task.cancelled:
                assert answer is Settled.CANCELLED_MEANWHILE
                self.do(self.broker.settle([(one.delivery, Archive("cancelled", cancelled=True))]))
                self._settled(task, "archive", 0)
            else:
                task.deaths += 1
                self._settled(task, "requeue", 0)

    @precondition(lambda self: self.model.in_state("active"))
    @rule()
    def extend(self) -> None:
        tasks = [self.model.tasks[task_id] for task_id in sorted(self.model.in_state("active"))]
        deliveries = [task.delivery for task in tasks if task.delivery is not None]
        assert self.do(self.broker.extend(deliveries)) == [True] * len(tasks)
        for task, delivery in zip(tasks, deliveries, strict=True):
            task.lease_end = delivery.expiry

    @rule(action=st.sampled_from(sorted(LEFT_ALONE)), ids=st.lists(st.sampled_from(IDS), min_size=1, max_size=4))
    def steer_some(self, action: str, ids: list[str]) -> None:
        answers = self.do(getattr(self.inspector, f"{action}_many")(ids, "default"))
        now = self.clock.now()
        for task_id, answer in zip(ids, answers, strict=True):
            expected = self.model.steer(action, task_id, now)
            assert (answer if isinstance(answer, TaskState) else type(answer)) == expected

    @precondition(lambda self: self.is_named())
    @rule(action=st.sampled_from(sorted(LEFT_ALONE)), state=st.sampled_from(list(TaskState)))
    def steer_all(self, action: str, state: TaskState) -> None:
        steer = getattr(self.inspector, f"{action}_all")
        if state in LEFT_ALONE[action]:
            with pytest.raises(InvalidTaskState):
                self.do(steer("default", state))
            return
        chosen = self.model.in_state(state)
        assert self.do(steer("default", state)) == len(chosen)
        in_order = [task_id for task_id in reversed(self.store.list("pending")) if task_id in chosen]
        for task_id in in_order if action == "run" else chosen:
            assert self.model.steer(action, task_id, self.clock.now()) == state

    @rule(task_id=st.sampled_from(IDS), wait=st.sampled_from([None, 0.5, 3, 40.25]))
    def edit(self, task_id: str, wait: float | None) -> None:
        task = self.model.tasks.get(task_id)
        at = None if wait is None else datetime.fromtimestamp(round(self.clock.now() + wait, 6), UTC)
        change = self.inspector.edit(task_id, "default", payload=b"%d" % (self.placed + 1), process_at=at)
        if task is None or task.state not in {"scheduled", "retry"}:
            with pytest.raises((TaskNotFound, TaskNotScheduled, TaskActive, TaskFinished)):
                self.do(change)
            return
        self.placed += 1
        info = self.do(change)
        task.number, task.due = self.placed, task.due if at is None else at.timestamp()
        assert info.next_process_at == datetime.fromtimestamp(task.due, UTC)

    @rule(force=st.booleans())
    def remove_the_queue(self, force: bool) -> None:
        if self.model.in_state("active"):
            error: type[Exception] | None = QueueActive
        elif self.model.tasks and not force:
            error = QueueNotEmpty
        else:
            error = None if self.is_named() else QueueNotFound
        if error is not None:
            with pytest.raises(error):
                self.do(self.inspector.remove_queue("default", force=force))
            return
        assert self.do(self.inspector.remove_queue("default", force=force)) == len(self.model.tasks)
        assert self.do(self.inspector.queues()) == []
        for task in list(self.model.tasks.values()):
            self.model.drop(task)
        self.model.processed = self.model.failed = 0

    def is_named(self) -> bool:
        return bool(self.raw.sismember("asynq:queues", "default"))

    @rule()
    def clean(self) -> None:
        expected = [t for t in self.model.tasks.values() if t.state == "completed" and t.until <= int(self.clock.now())]
        assert self.do(self.broker.clean(["default"])) == len(expected)
        for task in expected:
            self.model.drop(task)

    @rule()
    def scripts_are_forgotten(self) -> None:
        self.raw.script_flush()

    # -- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def the_queue_is_consistent(self) -> None:
        assert violations(self.raw, "default", self.model.fixed) == []
        assert self.is_named() or not self.model.tasks

    @invariant()
    def the_queue_equals_the_model(self) -> None:
        store, model = self.store, self.model
        assert store.list("pending")[::-1] == model.pending
        assert set(store.list("active")) == model.in_state("active")
        for state in ("scheduled", "retry"):
            waiting = {t.id: float(math.ceil(t.due)) for t in model.tasks.values() if t.state == state}
            assert store.scores(state) == waiting
        for state in ENDED:
            assert set(store.scores(state)) == model.in_state(state)
        assert set(store.scores("g:g")) == model.in_state("aggregating")
        leases = {t.id: t.lease_end for t in model.tasks.values() if t.state == "active"}
        assert store.scores("lease") == leases
        locks = {lock: store.client.get(lock) for lock in LOCKS if lock}
        assert {lock: holder.decode() for lock, holder in locks.items() if holder} == model.locks
        assert (store.number("processed"), store.number("failed")) == (model.processed, model.failed)

    @invariant()
    def each_task_equals_the_model(self) -> None:
        for task in self.model.tasks.values():
            fields = self.store.hash(task.id)
            message = self.store.message(task.id)
            assert message.payload == b"%d" % task.number
            assert message.retried == task.retried
            assert fields.get("unique_key", b"").decode() == task.lock
            assert ("lock_until" in fields) == task.starts_free
            assert ("cancelled" in fields or "stop" in fields) == task.cancelled
            assert int(fields.get("deaths", 0)) == task.deaths


@pytest.mark.slow
def test_a_random_walk_equals_the_model(redis_url: str) -> None:
    Queue.url = redis_url
    run_state_machine_as_test(
        Queue,
        settings=settings(
            max_examples=60,
            stateful_step_count=50,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        ),
    )
