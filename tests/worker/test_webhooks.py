"""Webhooks: the end of a task that names a callback URL is told, whatever ended it, and once for each end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from conftest import StartWorker, WaitUntil
from support.clock import MovableClock
from support.receiver import Receiver, Reply, receiving
from support.store import Store
from support.tasks import take
from taskflow import (
    Broker,
    Client,
    Inspector,
    InvalidOption,
    RetryPolicy,
    Task,
    TaskContext,
    TaskFlow,
    TaskOptions,
    TaskState,
    WorkerOptions,
)
from taskflow.broker.delivery import Archive, Complete, Done, Outcome, Requeue, Retry, Settled
from taskflow.broker.outbox import Entry, Outbox
from taskflow.broker.placing import place
from taskflow.config import Settings
from taskflow.errors import ConfigError, InvalidCallbackUrl, MessageInvalid, QueueNotEmpty
from taskflow.webhooks import DELIVERY_HEADER, SIGNATURE_HEADER, verify
from taskflow.wire import notice as notices
from taskflow.wire.keys import queue_keys
from taskflow.wire.message import TaskMessage
from taskflow.worker.webhooks import TYPE, WebhookOptions, WebhookSweep

pytestmark = pytest.mark.usefixtures("invariants_hold")

SECRET = "a secret of the tests"  # noqa: S105 - of the tests
URL = "http://hooks.example.org/done"
OUTBOX = queue_keys("default").outbox


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def options(**chosen: Any) -> WebhookOptions:
    given: dict[str, Any] = {
        "secrets": (SECRET,),
        "allow_hosts": ("127.0.0.1", "*.example.org"),
        "allow_private": True,
        "sweep_every": timedelta(seconds=0.05),
    }
    return WebhookOptions(**given | chosen)


def told(receiver: Receiver) -> list[dict[str, Any]]:
    """What the receiver was told, each looked at as a receiver should."""
    return [verify(request.body, request.headers[SIGNATURE_HEADER.lower()], SECRET) for request in receiver.requests]


async def noted(broker: Broker, queue: str = "default") -> list[notices.Notice]:
    """The notices in a queue's outbox, oldest first."""
    entries = await Outbox(broker).read([queue], most=100)
    return sorted((notices.decode(entry.data) for entry in entries), key=lambda notice: notice.at_ns)


async def put(broker: Broker, task_id: str = "a", **chosen: Any) -> None:
    """Enqueue a task with a callback URL."""
    task = Task("t", {"n": 1}, TaskOptions(**{"task_id": task_id, "callback_url": URL, **chosen}))
    await broker.enqueue([place(task, now=broker.clock.now())[0]])


# -- from the end of a task to its receiver ---------------------------------------------------------------------------


async def test_the_end_of_a_task_is_told(
    app: TaskFlow, client: Client, start_worker: StartWorker, receiver: Receiver, wait_until: WaitUntil
) -> None:
    @app.task("double")
    async def double(number: int) -> int:
        return 2 * number

    await start_worker(app, webhooks=options())
    info = await client.enqueue(
        "double", {"number": 21}, callback_url=f"{receiver.url}/hook", headers={"order": "7"}, task_id="a"
    )
    assert (info.callback_url, info.headers) == (f"{receiver.url}/hook", {"order": "7"})
    await wait_until(lambda: receiver.requests)

    (request,) = receiver.requests
    (event,) = told(receiver)
    assert (request.method, request.path, request.headers["content-type"]) == ("POST", "/hook", "application/json")
    assert request.headers[DELIVERY_HEADER.lower()] == event["id"]
    assert abs(datetime.fromisoformat(event["timestamp"]) - datetime.now(UTC)) < timedelta(seconds=60)
    assert event["type"] == "task.completed"
    assert event["task"] == {
        "task_id": "a",
        "queue": "default",
        "type": "double",
        "state": "completed",
        "max_retry": 25,
        "retried": 0,
        "metadata": {"order": "7"},
        "result": 42,
        "result_encoding": "json",
    }


async def test_a_task_without_a_callback_leaves_nothing_behind(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, raw: redis.Redis, wait_until: WaitUntil
) -> None:
    @app.task("noop")
    async def noop() -> None: ...

    await start_worker(app)
    await client.enqueue("noop", headers={"note": "taskflow:callback_url"})
    await client.enqueue("noop", {"taskflow:callback_url": URL})
    await wait_until(lambda: store.number("processed") == 2)

    assert not raw.exists(OUTBOX)


async def test_a_failed_task_is_told_when_it_is_given_up(
    app: TaskFlow, client: Client, start_worker: StartWorker, receiver: Receiver, wait_until: WaitUntil
) -> None:
    @app.task("fail", backoff=timedelta(milliseconds=10))
    async def fail() -> None:
        raise ValueError("no luck")

    await start_worker(app, webhooks=options())
    await client.enqueue("fail", callback_url=receiver.url, max_retries=1)
    await wait_until(lambda: receiver.requests)

    (event,) = told(receiver)
    assert (event["type"], event["task"]["state"], event["task"]["retried"]) == ("task.failed", "archived", 1)
    assert event["task"]["error"] == "ValueError: no luck"


async def test_an_attempt_is_told_with_the_type_s_own_callback(
    app: TaskFlow, start_worker: StartWorker, receiver: Receiver, wait_until: WaitUntil
) -> None:
    @app.task("typed", queue="default", callback_url=f"{receiver.url}/typed")
    async def typed() -> bytes:
        return b"\xff"

    await start_worker(app, webhooks=options())
    await typed.enqueue()
    await wait_until(lambda: receiver.requests)

    (event,) = told(receiver)
    assert receiver.requests[0].path == "/typed"
    assert (event["task"]["result"], event["task"]["result_encoding"]) == ("/w==", "base64")


async def test_it_is_sent_again_until_the_receiver_takes_it(
    app: TaskFlow, client: Client, start_worker: StartWorker, receiver: Receiver, wait_until: WaitUntil
) -> None:
    app.registry.retries = RetryPolicy(backoff=timedelta(milliseconds=10))

    @app.task("noop")
    async def noop() -> None: ...

    receiver.reply_with(500, 404, Reply(302, {"Location": f"{receiver.url}/elsewhere"}), 204)
    await start_worker(app, webhooks=options())
    await client.enqueue("noop", callback_url=receiver.url)
    await wait_until(lambda: len(receiver.requests) == 4)

    assert len({request.headers[DELIVERY_HEADER.lower()] for request in receiver.requests}) == 1
    assert len(set(receiver.bodies)) == 1
    assert [request.path for request in receiver.requests] == ["/"] * 4
    assert len(told(receiver)) == 4  # each is signed anew


async def test_the_task_that_sends_is_seen_among_others(
    app: TaskFlow,
    client: Client,
    start_worker: StartWorker,
    receiver: Receiver,
    wait_until: WaitUntil,
    inspector: Inspector,
) -> None:
    @app.task("noop")
    async def noop() -> None: ...

    receiver.reply_with(410, 200)
    worker = await start_worker(app, webhooks=options())
    assert dict(worker.queues) == {"default": 1, "webhooks": 1}
    await client.enqueue("noop", callback_url=receiver.url)
    await wait_until(lambda: len(receiver.requests) == 1)
    await client.enqueue("noop", callback_url=receiver.url)
    await wait_until(lambda: len(receiver.requests) == 2)
    await wait_until(lambda: _states(inspector, TaskState.COMPLETED))

    (gone,) = await inspector.tasks("webhooks", TaskState.ARCHIVED)
    (sent,) = await inspector.tasks("webhooks", TaskState.COMPLETED)
    ids = [request.headers[DELIVERY_HEADER.lower()] for request in receiver.requests]
    assert [gone.id, sent.id] == ids
    assert (gone.type, gone.retried, gone.max_retries) == (TYPE, 0, 15)
    assert "410" in (gone.last_error or "")
    assert (sent.result, sent.retention) == (b'{"status":200}', timedelta(hours=1))
    assert json.loads(sent.payload)["event"]["id"] == sent.id


async def _states(inspector: Inspector, state: TaskState) -> list[Any]:
    known = "webhooks" in await inspector.queues()
    return await inspector.tasks("webhooks", state) if known else []


@pytest.mark.parametrize("status", [429, 503])
async def test_a_receiver_that_asks_for_time_is_given_it(
    status: int,
    app: TaskFlow,
    client: Client,
    start_worker: StartWorker,
    receiver: Receiver,
    wait_until: WaitUntil,
    inspector: Inspector,
) -> None:
    @app.task("noop")
    async def noop() -> None: ...

    receiver.reply_with(Reply(status, {"Retry-After": "1000"}))
    await start_worker(app, webhooks=options())
    await client.enqueue("noop", callback_url=receiver.url)
    await wait_until(lambda: _states(inspector, TaskState.RETRY))

    (waiting,) = await inspector.tasks("webhooks", TaskState.RETRY)
    assert waiting.next_process_at is not None
    assert 990 < (waiting.next_process_at - datetime.now(UTC)).total_seconds() <= 1001


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        ({"allow_private": False}, "no address of the public internet"),
        ({"allow_hosts": ("hooks.example.org",)}, "allow_hosts does not allow"),
    ],
)
async def test_where_it_must_not_go_it_does_not_go(
    chosen: dict[str, Any],
    reason: str,
    app: TaskFlow,
    client: Client,
    start_worker: StartWorker,
    receiver: Receiver,
    wait_until: WaitUntil,
    inspector: Inspector,
) -> None:
    @app.task("noop")
    async def noop() -> None: ...

    await start_worker(app, webhooks=options(**chosen))
    await client.enqueue("noop", callback_url=receiver.url)
    await wait_until(lambda: _states(inspector, TaskState.ARCHIVED))

    (refused,) = await inspector.tasks("webhooks", TaskState.ARCHIVED)
    assert reason in (refused.last_error or "")
    assert receiver.requests == []


async def test_a_handler_does_not_see_the_header(app: TaskFlow, client: Client, start_worker: StartWorker) -> None:
    @app.task("headers")
    async def headers(ctx: TaskContext) -> dict[str, str]:
        return dict(ctx.headers)

    await start_worker(app)
    info = await client.enqueue("headers", callback_url=URL, headers={"a": "b"}, retention=timedelta(minutes=1))

    assert await client.result(info, timeout=20) == {"a": "b"}


# -- what is noted, and by whom ---------------------------------------------------------------------------------------


async def test_each_outcome_that_ends_a_task_is_noted(broker: Broker) -> None:
    outcomes: list[Outcome] = [
        Done(b"1"),
        Done(revoked="not needed"),
        Complete(b"2"),
        Archive("no luck"),
        Archive("task cancelled", cancelled=True),
    ]
    for n, outcome in enumerate(outcomes):
        await put(broker, f"{n}", retention=timedelta(minutes=1))
        (delivery,) = await take(broker)
        assert await broker.settle([(delivery, outcome)]) == [Settled.SETTLED]
        assert await broker.settle([(delivery, outcome)]) == [Settled.REFUSED]

    found = [(one.message.id, one.ending, one.result, one.message.error_msg) for one in await noted(broker)]
    assert sorted(found) == [
        ("0", "completed", b"1", ""),
        ("1", "cancelled", None, "not needed"),
        ("2", "completed", b"2", ""),
        ("3", "failed", None, "no luck"),
        ("4", "cancelled", None, "task cancelled"),
    ]
    assert all(not one.message.payload for one in await noted(broker))


async def test_outcomes_that_end_nothing_are_not_noted(broker: Broker, clock: MovableClock) -> None:
    for outcome in (Retry(clock.now() + 60, "no luck"), Requeue(), Requeue(died=True)):
        await put(broker, type(outcome).__name__ + str(outcome)[-6:-1])
        for delivery in await take(broker, 1):
            assert await broker.settle([(delivery, outcome)]) == [Settled.SETTLED]

    assert await noted(broker) == []


async def test_tasks_with_and_without_a_callback_are_settled_side_by_side(broker: Broker, raw: redis.Redis) -> None:
    for n in range(10):
        await put(broker, f"{n}", callback_url=URL if n % 3 == 0 else None)
    deliveries = await take(broker)

    outcomes = [(one, (Done(), Complete(b"1"), Archive("no"))[int(one.id) % 2 * 2]) for one in deliveries]
    assert await broker.settle(outcomes) == [Settled.SETTLED] * 10

    assert sorted(one.message.id for one in await noted(broker)) == ["0", "3", "6", "9"]


async def test_a_zombie_s_end_is_not_noted(broker: Broker) -> None:
    await put(broker)
    (delivery,) = await take(broker)
    delivery.tokens = "1.5"

    assert await broker.settle([(delivery, Done(b"1"))]) == [Settled.REFUSED]
    assert await noted(broker) == []


async def test_a_large_result_is_left_out(broker: Broker, raw: redis.Redis) -> None:
    large = b'"' + b"x" * notices.MOST_OF_RESULT + b'"'
    await put(broker)
    (delivery,) = await take(broker)
    await broker.settle([(delivery, Done(large))])
    await WebhookSweep(broker, ["default"], options()).run()

    (sending,) = await take(broker, queue="webhooks")
    assert sending.message is not None
    task = json.loads(sending.message.payload)["event"]["task"]
    assert task["result_size"] == len(large)
    assert "result" not in task


@pytest.mark.parametrize("state", ["pending", "scheduled", "retry"])
async def test_a_waiting_task_that_is_cancelled_is_told(
    state: str, broker: Broker, clock: MovableClock, inspector: Inspector
) -> None:
    await _bring(broker, clock, state)

    await inspector.cancel("a", "default")

    (notice,) = await noted(broker)
    assert (notice.ending, notice.message.id, notice.message.type) == ("cancelled", "a", "t")


@pytest.mark.parametrize("state", ["pending", "scheduled", "retry"])
async def test_a_waiting_task_that_is_archived_is_told(
    state: str, broker: Broker, clock: MovableClock, inspector: Inspector
) -> None:
    await _bring(broker, clock, state)

    assert await inspector.archive_all("default", TaskState(state)) == 1

    (notice,) = await noted(broker)
    assert (notice.ending, notice.message.id) == ("failed", "a")


async def _bring(broker: Broker, clock: MovableClock, state: str) -> None:
    await put(broker, process_in=timedelta(hours=1) if state == "scheduled" else None)
    if state == "retry":
        (delivery,) = await take(broker)
        await broker.settle([(delivery, Retry(clock.now() + 60, "no luck"))])


async def test_what_has_ended_does_not_end_again_when_it_is_archived_or_deleted(
    broker: Broker, inspector: Inspector
) -> None:
    await put(broker, retention=timedelta(minutes=1))
    (delivery,) = await take(broker)
    await broker.settle([(delivery, Complete(None))])

    await inspector.archive("a", "default")
    await inspector.delete("a", "default")

    assert [one.ending for one in await noted(broker)] == ["completed"]


async def test_a_task_that_is_run_again_is_told_of_again(broker: Broker, inspector: Inspector) -> None:
    await put(broker)
    await inspector.cancel("a", "default")
    await inspector.run("a", "default")
    (delivery,) = await take(broker)
    await broker.settle([(delivery, Done())])

    assert sorted(one.ending for one in await noted(broker)) == ["cancelled", "completed"]


async def test_deleting_a_task_tells_nobody(broker: Broker, inspector: Inspector, raw: redis.Redis) -> None:
    await put(broker)
    await inspector.delete("a", "default")

    assert not raw.exists(OUTBOX)


async def test_a_go_worker_s_retry_of_a_cancelled_task_is_told_when_it_falls_due(
    broker: Broker, clock: MovableClock, inspector: Inspector, store: Store
) -> None:
    """A worker in Go does not know of the mark, so the task comes to `retry`; the forwarder ends it."""
    await _bring(broker, clock, "retry")
    store.client.hset("asynq:{default}:t:a", "stop", "1")
    clock.advance(61)
    await broker.forward(["default"])

    assert [one.ending for one in await noted(broker)] == ["cancelled"]
    assert list(store.scores("archived")) == ["a"]


async def test_a_task_whose_workers_died_is_told_when_it_is_given_up(
    app: TaskFlow, broker: Broker, start_worker: StartWorker, wait_until: WaitUntil, raw: redis.Redis
) -> None:
    await put(broker)
    (delivery,) = await take(broker, owner="gone:1")
    raw.hset("asynq:{default}:t:a", "deaths", "2")
    raw.zadd("asynq:{default}:lease", {"a": delivery.expiry - 1000})

    await start_worker(app, queues={"other": 1, "default": 1})
    await wait_until(lambda: raw.zcard("asynq:{default}:archived"))

    (notice,) = await noted(broker)
    assert (notice.ending, "worker died" in notice.message.error_msg) == ("failed", True)


# -- from notices to tasks --------------------------------------------------------------------------------------------


async def _end(broker: Broker, count: int = 1, queue: str = "default") -> None:
    for n in range(count):
        await put(broker, f"{n}", queue=queue)
    outcomes = [(one, Done(b"1")) for one in await take(broker, count, queue=queue)]
    await broker.settle(outcomes)


async def test_a_sweep_makes_one_task_of_each_notice(broker: Broker, inspector: Inspector, raw: redis.Redis) -> None:
    await _end(broker, 20)
    await _end(broker, 3, queue="other")  # of no worker with webhooks
    sweep = WebhookSweep(broker, ["default"], options())

    assert await sweep.run() == 23
    assert await sweep.run() == 0

    waiting = await inspector.tasks("webhooks", TaskState.PENDING, size=100)
    assert len({task.id for task in waiting}) == 23
    assert not raw.exists(OUTBOX, queue_keys("other").outbox)


async def test_a_repeated_sweep_makes_no_second_task_even_after_the_first_was_sent(
    broker: Broker, inspector: Inspector, raw: redis.Redis
) -> None:
    """The first sweep died between enqueueing and taking the notice away."""
    await _end(broker)
    before = raw.hgetall(OUTBOX)
    sweep = WebhookSweep(broker, ["default"], options())
    await sweep.run()
    (sending,) = await take(broker, queue="webhooks")
    await broker.settle([(sending, Done())])

    raw.hset(OUTBOX, mapping=before)  # type: ignore[arg-type]  # bytes are fine
    assert await sweep.run() == 1

    assert await take(broker, queue="webhooks") == []
    assert not raw.exists(OUTBOX)


async def test_with_memory_full_notices_wait(broker: Broker, raw: redis.Redis) -> None:
    await _end(broker)
    sweep = WebhookSweep(broker, ["default"], options())
    limit = str(raw.config_get("maxmemory")["maxmemory"])
    raw.config_set("maxmemory", 1)
    try:
        with pytest.raises(ConnectionError):
            await sweep.run()
        assert raw.hlen(OUTBOX) == 1
    finally:
        raw.config_set("maxmemory", limit)

    assert await sweep.run() == 1


async def test_a_task_ends_with_memory_full_and_is_told_of(broker: Broker, raw: redis.Redis) -> None:
    await put(broker)
    (delivery,) = await take(broker)
    limit = str(raw.config_get("maxmemory")["maxmemory"])
    raw.config_set("maxmemory", 1)
    try:
        assert await broker.settle([(delivery, Done(b"1"))]) == [Settled.SETTLED]
    finally:
        raw.config_set("maxmemory", limit)

    assert len(await noted(broker)) == 1


async def test_what_is_no_notice_is_dropped(broker: Broker, raw: redis.Redis) -> None:
    plain = TaskMessage(type="t", id="a", queue="default", payload=b"taskflow:callback_url").SerializeToString()
    raw.hset(OUTBOX, "garbage", b"\x00\xff")
    raw.hset(OUTBOX, "plain", b"cancelled 1 %d -\n%s" % (len(plain), plain))
    raw.hset(OUTBOX, "x" * 300, b"completed one two three\n")
    await _end(broker)

    assert await WebhookSweep(broker, ["default"], options()).run() == 4

    assert len(await take(broker, queue="webhooks")) == 1
    assert not raw.exists(OUTBOX)


async def test_another_kind_of_value_stops_neither_ends_nor_sweeps(
    broker: Broker, raw: redis.Redis, store: Store
) -> None:
    raw.set(OUTBOX, "somebody's")
    await _end(broker)
    await put(broker, "b")
    await Inspector(broker).cancel("b", "default")

    assert store.number("processed") == 1
    assert list(store.scores("archived")) == ["b"]
    assert await WebhookSweep(broker, ["default"], options()).run() == 0
    raw.delete(OUTBOX)


async def test_a_queue_is_not_removed_while_ends_are_to_be_told(broker: Broker, inspector: Inspector) -> None:
    await _end(broker)

    with pytest.raises(QueueNotEmpty):
        await inspector.remove_queue("default")
    await inspector.remove_queue("default", force=True)

    assert await noted(broker) == []


async def test_notices_count_as_memory_of_their_queue(broker: Broker, inspector: Inspector) -> None:
    await put(broker, "a")
    before = await inspector.memory("default")
    (delivery,) = await take(broker)
    await broker.settle([(delivery, Done(b"x" * 10_000))])

    assert await inspector.memory("default") > before + 5_000


@pytest.mark.parametrize("data", [b"", b"completed", b"ended 1 2 -\n", b"completed a 2 -\n", b"completed 1 0 -\n"])
def test_what_is_no_notice_cannot_be_read(data: bytes) -> None:
    with pytest.raises(MessageInvalid):
        notices.decode(data)


async def test_an_entry_is_dropped_by_its_id(broker: Broker) -> None:
    await _end(broker, 2)
    outbox = Outbox(broker)
    first, second = await outbox.read(["default"], most=5)

    await outbox.drop([first])
    await outbox.drop([])

    assert await outbox.read(["default"], most=5) == [Entry("default", second.id, second.data)]


# -- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["ftp://example.org", "https://a:b@example.org", "", 5])
def test_a_callback_must_be_a_plain_url(url: Any) -> None:
    with pytest.raises(InvalidCallbackUrl):
        TaskOptions(callback_url=url)


def test_a_callback_is_not_for_members_of_a_group_and_not_a_header() -> None:
    with pytest.raises(InvalidCallbackUrl, match="group"):
        TaskOptions(callback_url=URL, group="g")
    with pytest.raises(InvalidOption, match="give a callback_url"):
        TaskOptions(headers={"taskflow:callback_url": URL})


def test_a_type_s_callback_must_be_one(app: TaskFlow) -> None:
    with pytest.raises(InvalidCallbackUrl):
        app.task("typed", callback_url="nowhere")(lambda: None)


def test_a_worker_sends_webhooks_if_the_settings_say_so() -> None:
    assert WorkerOptions.of(Settings()).webhooks is None
    section: Any = {"allow_hosts": "*.example.org", "secret": "0123456789abcdef,fedcba9876543210", "queue": "hooks"}
    settings = Settings(webhooks=section)

    made = WorkerOptions.of(settings)

    assert made.webhooks is not None
    assert made.webhooks.secrets == ("0123456789abcdef", "fedcba9876543210")
    assert made.served == {**made.queues, "hooks": 1}
    assert "0123456789abcdef" not in repr(made) + repr(settings)


@pytest.mark.parametrize(
    "section", [{"allow_hosts": ["*.example.org"]}, {"allow_hosts": ["a"], "secret": "short"}, {"queue": "{}"}]
)
def test_settings_that_cannot_be_used_are_refused(section: Any) -> None:
    with pytest.raises(ValueError, match="webhooks"):
        Settings(webhooks=section)


def test_options_without_a_secret_are_refused() -> None:
    with pytest.raises(ConfigError):
        WebhookOptions(secrets=(), allow_hosts=("a",))
