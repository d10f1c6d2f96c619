"""The aggregator: groups become tasks by size, delay and grace period, and a failing function loses nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from conftest import StartWorker, WaitUntil
from support.clock import MovableClock
from support.store import Store
from support.tasks import LOCK, enqueue, placement
from taskflow import Broker, Client, Task, TaskContext, TaskFlow, TaskOptions
from taskflow.broker.groups import GroupPolicy, Groups
from taskflow.errors import ConfigError
from taskflow.worker import loops
from taskflow.worker.aggregates import Aggregates
from taskflow.worker.aggregator import AT_ONCE, FIRST_PAUSE, Aggregator
from taskflow.worker.options import WorkerOptions

pytestmark = pytest.mark.usefixtures("invariants_hold")

Make = Callable[..., Aggregator]


def joined(group: str, tasks: list[Task]) -> Task:
    """Payloads of the members, in order of their text."""
    return Task(f"joined {group}", b" ".join(sorted(task.payload for task in tasks)))


def always(task: Task) -> Callable[[str, list[Task]], Task]:
    """A function that returns the same task for every group."""

    def function(group: str, tasks: list[Task]) -> Task:
        return task

    return function


def _takes_nothing() -> Task:
    raise AssertionError


def _takes_too_much(group: str, tasks: list[Task], more: int) -> Task:
    raise AssertionError


@pytest.fixture
async def make(broker: Broker, clock: MovableClock) -> AsyncIterator[Make]:
    """Makes an aggregator with a function for all groups, and a policy."""
    made: list[Aggregator] = []

    def new(function: Any = joined, *, set_seconds: float = 120, **policy: Any) -> Aggregator:
        aggregates = Aggregates()
        aggregates.add(function)
        groups = Groups(broker, set_seconds=set_seconds)
        made.append(Aggregator(groups, aggregates, ["default"], GroupPolicy(**policy), clock=clock))
        return made[-1]

    yield new
    for aggregator in made:
        await aggregator.close()


async def once(aggregator: Aggregator) -> int:
    """Let it look once, and wait for what it started."""
    count = await aggregator.check()
    await aggregator.drain()
    return count


async def fill(broker: Broker, *ids: str, group: str = "g", **more: Any) -> None:
    await enqueue(broker, *(placement(one, group=group, payload=one.encode(), **more) for one in ids))


def payloads(store: Store) -> list[bytes]:
    """The payloads of the pending tasks, oldest first."""
    return [store.message(task_id).payload for task_id in reversed(store.list("pending"))]


# -- when -------------------------------------------------------------------------------------------------------------


async def test_by_size_delay_and_grace(broker: Broker, make: Make, store: Store, clock: MovableClock) -> None:
    aggregator = make(grace=60, max_delay=100, max_size=3)
    await fill(broker, "a", "b")
    assert await once(aggregator) == 0
    await fill(broker, "c")
    assert await once(aggregator) == 1
    assert payloads(store) == [b"a b c"]

    await fill(broker, "d")
    clock.advance(61)
    assert await once(aggregator) == 1
    assert payloads(store)[1:] == [b"d"]

    await fill(broker, "e")
    clock.advance(55)
    await fill(broker, "f")
    clock.advance(45)
    assert await once(aggregator) == 1
    assert payloads(store)[2:] == [b"e f"]


async def test_a_worker_closes_by_size_soon_after_the_size_is_reached(
    app: TaskFlow, client: Client, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    got: list[bytes] = []

    @app.aggregate
    async def digest(group: str, tasks: list[Task]) -> Task:
        return Task("digest", b" ".join(sorted(task.payload for task in tasks)))

    @app.task("digest")
    async def send(payload: bytes) -> None:
        got.append(payload)

    await start_worker(app, group_max_size=3)
    await client.enqueue_many([Task("note", b"%d" % n, TaskOptions(group="user:42")) for n in range(7)])

    await wait_until(lambda: sum(len(payload.split()) for payload in got) == 6, 3)
    await client.enqueue_many([Task("note", b"%d" % n, TaskOptions(group="user:42")) for n in (7, 8)])
    await wait_until(lambda: sum(len(payload.split()) for payload in got) == 9, 3)
    assert sorted(b" ".join(got).split()) == sorted(b"%d" % n for n in range(9))
    assert all(len(payload.split()) == 3 for payload in got)


async def test_a_worker_closes_by_grace(
    app: TaskFlow, client: Client, start_worker: StartWorker, wait_until: WaitUntil, store: Store
) -> None:
    app.aggregate(joined)
    await start_worker(app, group_grace=timedelta(seconds=0.2))
    await client.enqueue("note", b"a", group="g")
    await client.enqueue("note", b"b", group="g", process_in=timedelta(seconds=0.3))

    await wait_until(lambda: store.number("failed"), 6)  # nobody serves the type of the aggregate task
    assert store.state("a") is None


async def test_a_backlog_is_worked_off_without_waiting(broker: Broker, make: Make, store: Store) -> None:
    aggregator = make(max_size=5)
    await fill(broker, *(f"{n}" for n in range(200)))

    assert await once(aggregator) == 1

    assert len(payloads(store)) == 40


async def test_the_number_of_functions_at_work_is_bounded(
    broker: Broker, make: Make, store: Store, wait_until: WaitUntil
) -> None:
    busy, peak, go_on = 0, 0, asyncio.Event()

    async def slow(group: str, tasks: list[Task]) -> Task:
        nonlocal busy, peak
        busy += 1
        peak = max(peak, busy)
        await go_on.wait()
        busy -= 1
        return joined(group, tasks)

    for n in range(3 * AT_ONCE):
        await fill(broker, f"task-{n}", group=f"g{n}")
    loop = asyncio.create_task(make(slow, max_size=1).run())
    await wait_until(lambda: busy == AT_ONCE)
    go_on.set()

    await wait_until(lambda: len(payloads(store)) == 3 * AT_ONCE)
    assert peak == AT_ONCE
    await loops.cancel_all([loop])


# -- the function -----------------------------------------------------------------------------------------------------


async def test_a_blocking_function_runs_in_a_thread(broker: Broker, make: Make, store: Store) -> None:
    threads: list[str] = []

    def blocking(group: str, tasks: list[Task]) -> Task:
        threads.append(threading.current_thread().name)
        return joined(group, tasks)

    await fill(broker, "a", "b")
    await once(make(blocking, max_size=2))

    assert payloads(store) == [b"a b"]
    assert threads[0].startswith("taskflow aggregate")


async def test_members_are_what_was_enqueued(client: Client, broker: Broker, make: Make) -> None:
    seen: list[Task] = []

    async def keep(group: str, tasks: list[Task]) -> Task:
        seen.extend(tasks)
        return Task("t")

    options = TaskOptions(group="größe", headers={"trace": "1"}, task_id="my id")
    await client.enqueue(Task("note", {"n": 1}, options))
    await once(make(keep, max_size=1))

    (task,) = seen
    assert (task.type, task.payload, task.options) == ("note", b'{"n":1}', options)


async def test_the_aggregate_task_goes_to_the_queue_of_its_members_with_its_own_options(
    broker: Broker, make: Make, store: Store
) -> None:
    options = TaskOptions(
        queue="elsewhere", task_id="sum", max_retries=2, unique=timedelta(minutes=1), headers={"a": "b"}
    )
    await fill(broker, "a")

    await once(make(always(Task("sum", b"1", options)), max_size=1))

    assert store.list("pending") == ["sum"]
    message = store.message("sum")
    assert (message.queue, message.retry, dict(message.headers)) == ("default", 2, {"a": "b"})
    assert store.client.get(message.unique_key) == b"sum"


async def test_the_first_function_that_serves_a_group_gets_it(app: TaskFlow) -> None:
    @app.aggregate("daily:*")
    def daily(group: str, tasks: list[Task]) -> Task:
        raise AssertionError

    @app.aggregate(queue="mail")
    def mail(group: str, tasks: list[Task]) -> Task:
        raise AssertionError

    @app.aggregate("daily:news")
    def never(group: str, tasks: list[Task]) -> Task:
        raise AssertionError

    def found(queue: str, group: str) -> object:
        aggregate = app.registry.aggregates.find(queue, group)
        return aggregate.function if aggregate else None

    assert found("default", "daily:news") is daily
    assert found("mail", "daily:news") is daily
    assert found("mail", "other") is mail
    assert found("default", "other") is None


@pytest.mark.parametrize("function", [_takes_nothing, _takes_too_much])
def test_a_function_of_another_shape_is_refused(function: Any, app: TaskFlow) -> None:
    with pytest.raises(ConfigError):
        app.aggregate(function)


async def test_groups_without_a_function_are_left_alone(broker: Broker, clock: MovableClock, store: Store) -> None:
    aggregates = Aggregates()
    aggregates.add(joined, group="mine:*")
    aggregator = Aggregator(Groups(broker), aggregates, ["default"], GroupPolicy(max_size=1), clock=clock)
    await fill(broker, "a", group="mine:1")
    await fill(broker, "b", group="yours:1")

    assert await once(aggregator) == 1

    assert payloads(store) == [b"a"]
    assert list(store.scores("g:yours:1")) == ["b"]


async def test_a_worker_without_functions_aggregates_nothing_but_reclaims(
    app: TaskFlow, broker: Broker, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    await fill(broker, "a", "b")
    (closed,) = await Groups(broker, set_seconds=-1).close("default", GroupPolicy(max_size=2))
    assert closed.size == 2

    worker = await start_worker(app, group_max_size=1)

    await wait_until(lambda: len(store.scores("g:g")) == 2)
    assert "aggregator" not in [name for name, part in worker._parts() if part.close() is None]


@pytest.mark.parametrize(
    "options",
    [
        {"group_grace": timedelta(0)},
        {"group_max_delay": timedelta(-1)},
        {"group_max_size": -1},
        {"group_max_size": 5001},
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="group_"):
        WorkerOptions(**options)


# -- when it fails ----------------------------------------------------------------------------------------------------


async def _raises(group: str, tasks: list[Task]) -> Task:
    raise ValueError("no luck")


def _raises_in_a_thread(group: str, tasks: list[Task]) -> Task:
    raise ValueError("no luck")


def _exits(group: str, tasks: list[Task]) -> Task:
    raise SystemExit(1)


async def _exits_on_the_loop(group: str, tasks: list[Task]) -> Task:
    raise SystemExit(1)


async def _is_cancelled(group: str, tasks: list[Task]) -> Task:
    raise asyncio.CancelledError


def _returns_none(group: str, tasks: list[Task]) -> Any:
    return None


def _goes_round_in_circles(group: str, tasks: list[Task]) -> Task:
    return Task("t", options=TaskOptions(group=group))


def _has_no_json(group: str, tasks: list[Task]) -> Task:
    return Task("t", object())


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (_raises, "ValueError: no luck"),
        (_raises_in_a_thread, "ValueError: no luck"),
        (_exits, "SystemExit"),
        (_exits_on_the_loop, "SystemExit"),
        (_is_cancelled, "was cancelled"),
        (_returns_none, "NoneType"),
        (_goes_round_in_circles, "go back into the group"),
        (_has_no_json, "JSON"),
    ],
)
async def test_a_failing_function_leaves_the_members_in_their_group_and_says_so(
    function: Callable[[str, list[Task]], Task | Awaitable[Task]], says: str, broker: Broker, make: Make, store: Store
) -> None:
    await enqueue(broker, placement("a", group="user:42", lock=LOCK), placement("b", group="user:42"))
    before = store.snapshot()
    aggregator = make(function, max_size=2)

    with capture_logs() as logs:
        assert await once(aggregator) == 1

    assert store.snapshot() == before
    (line,) = [line for line in logs if line["log_level"] == "error"]
    assert says in line["error"]
    assert (line["group"], line["queue"], line["tasks"]) == ("user:42", "default", 2)
    assert line["again_in_seconds"] == FIRST_PAUSE
    assert await once(aggregator) == 0, "the group is left alone for a while"


async def test_a_group_that_failed_is_tried_again_and_the_others_go_on(
    broker: Broker, make: Make, store: Store, wait_until: WaitUntil
) -> None:
    calls: list[str] = []

    def flaky(group: str, tasks: list[Task]) -> Task:
        calls.append(group)
        if calls.count("bad") == 1 and group == "bad":
            raise ValueError
        return joined(group, tasks)

    await fill(broker, "a", group="bad")
    await fill(broker, "b", group="good")
    loop = asyncio.create_task(make(flaky, max_size=1).run())

    await wait_until(lambda: payloads(store) == [b"b", b"a"], FIRST_PAUSE + 3)
    await loops.cancel_all([loop])


async def test_an_id_or_lock_of_another_task_counts_as_a_failure(broker: Broker, make: Make, store: Store) -> None:
    await enqueue(broker, placement("sum", payload=b"first"))
    await fill(broker, "a")

    with capture_logs() as logs:
        await once(make(always(Task("sum", options=TaskOptions(task_id="sum"))), max_size=1))

    assert list(store.scores("g:g")) == ["a"]
    assert "has the id" in next(line for line in logs if line["log_level"] == "error")["error"]


async def test_an_undecodable_member_is_archived_and_the_others_are_aggregated(
    broker: Broker, make: Make, store: Store, raw: redis.Redis
) -> None:
    await fill(broker, "a", "bad", "b")
    raw.hset(store.key("t:bad"), "msg", b"\xff\xff")

    with capture_logs() as logs:
        await once(make(max_size=3))

    assert payloads(store) == [b"a b"]
    assert list(store.scores("archived")) == ["bad"]
    assert [line["task_id"] for line in logs if line["log_level"] == "error"] == ["bad"]


async def test_a_group_of_undecodable_members_is_gone(
    broker: Broker, make: Make, store: Store, raw: redis.Redis
) -> None:
    await fill(broker, "bad")
    raw.hset(store.key("t:bad"), "msg", b"\xff\xff")

    await once(make(max_size=1))

    assert store.scores("aggregation_sets") == {}
    assert store.list("pending") == []
    assert store.state("bad") == "archived"


async def test_a_task_cancelled_while_the_function_runs_is_not_in_the_aggregate(
    broker: Broker, make: Make, store: Store, app: TaskFlow, client: Client
) -> None:
    calls = 0

    async def cancels(group: str, tasks: list[Task]) -> Task:
        nonlocal calls
        calls += 1
        if calls == 1:
            await client._inspector.cancel("a")
        return joined(group, tasks)

    await fill(broker, "a", "b")
    aggregator = make(cancels, max_size=2, max_delay=1)
    await once(aggregator)
    assert store.list("pending") == []
    assert list(store.scores("g:g")) == ["b"]
    broker.clock.offset += 2
    await once(aggregator)

    assert payloads(store) == [b"b"]


# -- long and lost ----------------------------------------------------------------------------------------------------


async def test_a_long_function_keeps_its_set(broker: Broker, make: Make, store: Store, wait_until: WaitUntil) -> None:
    go_on = asyncio.Event()
    sweeper = Groups(broker)

    async def slow(group: str, tasks: list[Task]) -> Task:
        await go_on.wait()
        return joined(group, tasks)

    await fill(broker, "a", "b")
    aggregator = make(slow, set_seconds=0.3, max_size=2)
    await aggregator.check()
    (first,) = store.scores("aggregation_sets").values()
    await wait_until(lambda: next(iter(store.scores("aggregation_sets").values())) > first + 0.4)

    assert await sweeper.reclaim(["default"]) == 0
    go_on.set()
    await aggregator.drain()
    assert payloads(store) == [b"a b"]


async def test_a_function_whose_set_is_lost_writes_nothing(
    broker: Broker, make: Make, store: Store, clock: MovableClock
) -> None:
    """As after a long pause of the whole process."""
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def endless(group: str, tasks: list[Task]) -> Task:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        raise AssertionError

    await fill(broker, "a", "b")
    aggregator = make(endless, set_seconds=0.3, max_size=2)
    await aggregator.check()
    await asyncio.wait_for(begun.wait(), 20)
    aggregator.stop()  # or it would begin anew with what is back in the group
    clock.advance(100)
    assert await Groups(broker).reclaim(["default"]) == 2

    await asyncio.wait_for(aggregator.drain(), 5)

    assert stopped.is_set()
    assert store.list("pending") == []
    assert sorted(store.scores("g:g")) == ["a", "b"]


async def test_a_worker_that_stops_puts_its_sets_back(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    begun = asyncio.Event()

    @app.aggregate
    async def endless(group: str, tasks: list[Task]) -> Task:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    worker = await start_worker(app, group_max_size=1, shutdown_timeout=0.1)
    await client.enqueue("note", task_id="a", group="g")
    await asyncio.wait_for(begun.wait(), 20)
    worker.stop()

    await wait_until(lambda: list(store.scores("g:g")) == ["a"])
    assert store.client.smembers(store.key("groups")) == {b"g"}


async def test_a_worker_that_stops_lets_a_function_end_and_begins_no_other(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    @app.aggregate
    async def slow(group: str, tasks: list[Task]) -> Task:
        begun.set()
        await go_on.wait()
        return Task("sum", options=TaskOptions(task_id="sum"))

    worker = await start_worker(app, group_max_size=1)
    await client.enqueue("note", b"1", task_id="a", group="g")
    await asyncio.wait_for(begun.wait(), 20)
    worker.stop()
    await client.enqueue("note", b"2", task_id="b", group="h")
    asyncio.get_running_loop().call_later(0.6, go_on.set)  # time enough to look for groups once more

    await wait_until(lambda: store.state("sum"))  # pending, or in retry if the worker took it while it stopped
    assert store.state("a") is None
    assert list(store.scores("g:h")) == ["b"]


async def test_what_others_do_to_keys_does_not_stop_it(
    broker: Broker, make: Make, raw: redis.Redis, store: Store, wait_until: WaitUntil
) -> None:
    raw.set(store.key("groups"), "another kind")
    aggregator = make(max_size=1)
    loop = asyncio.create_task(aggregator.run())
    await asyncio.wait([loop], timeout=0.1)
    assert not loop.done()
    raw.delete(store.key("groups"))
    await fill(broker, "a")

    await wait_until(lambda: payloads(store) == [b"a"])
    await loops.cancel_all([loop])


async def test_aggregates_run_like_any_task(
    app: TaskFlow, client: Client, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    """The whole way: notes of two users become one mail each."""
    mails: dict[str, list[int]] = {}

    @app.task("mail")
    async def mail(context: TaskContext, user: str, notes: list[int]) -> None:
        mails[user] = sorted(notes)

    @app.aggregate("user:*")
    def digest(group: str, tasks: list[Task]) -> Task:
        return mail.task(user=group.removeprefix("user:"), notes=[int(task.payload) for task in tasks])

    await start_worker(app, group_max_size=3)
    await client.enqueue_many([Task("note", n, TaskOptions(group=f"user:{n % 2}")) for n in range(6)])

    await wait_until(lambda: mails == {"0": [0, 2, 4], "1": [1, 3, 5]})
