"""Tasks that HTTP services carry out: real requests to a real server, and what becomes of the task by each answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from conftest import StartWorker, WaitUntil
from support.receiver import Receiver, Reply, receiving
from support.store import Store
from taskflow import Client, Inspector, Registry, RetryPolicy, TaskFailed, TaskFlow, TaskInfo
from taskflow.broker.catalog import TaskCatalog
from taskflow.config import HttpTarget, Settings
from taskflow.errors import ConfigError
from taskflow.worker.handlers import http

pytestmark = pytest.mark.usefixtures("invariants_hold")

KEPT = timedelta(minutes=5)
DONE, ARCHIVED, RETRY = "completed", "archived", "retry"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


def targets(receiver: Receiver, environ: Mapping[str, str] | None = None, **settings: Any) -> Registry:
    """A registry whose types `billing:*` are served by the receiver, which is called `billing`."""
    registry = Registry()
    chosen = {"url": f"{receiver.url}/tasks", "types": ["billing:*"]} | settings
    http.register(registry, {"billing": HttpTarget(**chosen)}, environ or {})
    return registry


async def settled(store: Store, info: TaskInfo, wait_until: WaitUntil) -> str:
    """The state in which an attempt has left a task."""
    await wait_until(lambda: store.state(info.id) not in {"pending", "active"})
    return str(store.state(info.id))


async def test_a_task_is_posted_and_the_answer_is_its_result(
    client: Client, receiver: Receiver, start_worker: StartWorker
) -> None:
    receiver.reply_with(Reply(201, {"Content-Type": "application/json"}, b'{"invoice": 7}'))
    await start_worker(targets(receiver))

    info = await client.enqueue(
        "billing:invoice",
        {"customer": "ada"},
        retention=KEPT,
        max_retries=4,
        headers={"traceparent": "00-1-2-01", "shop": "nörd\r\nX: y", "bad name": "-"},
    )

    assert await client.result(info, timeout=20) == {"invoice": 7}
    (request,) = receiver.requests
    assert (request.method, request.path, request.body) == ("POST", "/tasks", b'{"customer":"ada"}')
    sent = request.headers
    assert sent["content-type"] == "application/json"
    assert sent["idempotency-key"] == sent["x-taskflow-task-id"] == info.id
    assert sent["x-taskflow-task-type"] == "billing:invoice"
    assert (sent["x-taskflow-queue"], sent["x-taskflow-retried"], sent["x-taskflow-max-retries"]) == (
        "default",
        "0",
        "4",
    )
    assert sent["x-taskflow-deadline"].endswith("+00:00")
    assert sent["traceparent"] == "00-1-2-01"
    assert sent["x-taskflow-meta-shop"] == "n%C3%B6rd%0D%0AX: y"
    assert "x" not in sent


async def test_the_type_http_names_its_target(client: Client, receiver: Receiver, start_worker: StartWorker) -> None:
    await start_worker(targets(receiver, types=[]))

    first = await client.enqueue("http", {"target": "billing", "payload": {"a": [1]}}, retention=KEPT)
    await client.result(first, timeout=20)
    second = await client.enqueue("http", {"target": "biling", "payload": None}, retention=KEPT)
    with pytest.raises(TaskFailed, match=r"no HTTP target 'biling' \(did you mean 'billing'"):
        await client.result(second, timeout=20)

    assert receiver.bodies == [b'{"a":[1]}']


@pytest.mark.parametrize(
    ("reply", "state", "error"),
    [
        (Reply(200), DONE, ""),
        (Reply(204), DONE, ""),
        (Reply(301, {"Location": "/elsewhere"}), ARCHIVED, "billing answered 301"),
        (Reply(400, body=b" no such customer "), ARCHIVED, "billing answered 400: no such customer"),
        (Reply(404, body=b"x" * 10_000), ARCHIVED, "billing answered 404: " + "x" * 500),
        (Reply(422, {"X-TaskFlow-Retry": "yes"}), RETRY, "AttemptFailed: billing answered 422"),
        (Reply(408), RETRY, "AttemptFailed: billing answered 408"),
        (Reply(425), RETRY, "AttemptFailed: billing answered 425"),
        (Reply(429), RETRY, "AttemptFailed: billing answered 429"),
        (Reply(500, body=b"\xff oops"), RETRY, "AttemptFailed: billing answered 500: \ufffd oops"),
        (Reply(501, {"X-TaskFlow-Retry": "no"}), ARCHIVED, "billing answered 501"),
        (Reply(503), RETRY, "AttemptFailed: billing answered 503"),
        (Reply(200, body=b"y" * 101), ARCHIVED, "billing answered 200 with more than 100 bytes (setting result_limit)"),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Reply) else "",
)
async def test_the_status_decides(
    reply: Reply,
    state: str,
    error: str,
    client: Client,
    receiver: Receiver,
    start_worker: StartWorker,
    store: Store,
    wait_until: WaitUntil,
) -> None:
    receiver.reply_with(reply)
    await start_worker(targets(receiver, result_limit=100))

    info = await client.enqueue("billing:invoice", b"\x00raw", retention=KEPT)

    assert await settled(store, info, wait_until) == state
    assert store.message(info.id).error_msg == error
    assert receiver.requests[0].headers["content-type"] == "application/octet-stream"
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_the_target_says_when_to_come_again(
    status: int,
    client: Client,
    inspector: Inspector,
    receiver: Receiver,
    start_worker: StartWorker,
    store: Store,
    wait_until: WaitUntil,
) -> None:
    receiver.reply_with(Reply(status, {"Retry-After": "3600"}))
    await start_worker(targets(receiver))
    info = await client.enqueue("billing:invoice")

    assert await settled(store, info, wait_until) == RETRY

    due = (await inspector.task(info.id)).next_process_at
    assert due is not None
    assert 3500 < (due - datetime.now(UTC)).total_seconds() <= 3601


async def test_a_target_that_was_down_gets_its_task_when_it_is_up(
    client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    with receiving() as gone:
        port = int(gone.url.rpartition(":")[2])
    registry = Registry(retries=RetryPolicy(backoff=timedelta(milliseconds=100)))
    http.register(registry, {"t": HttpTarget(url=gone.url, types=("t",))}, {})
    await start_worker(registry)
    info = await client.enqueue("t", retention=KEPT)
    await wait_until(lambda: store.message(info.id).retried > 0)
    assert "TargetUnreachable" in store.message(info.id).error_msg

    with receiving(port=port) as back:
        await client.result(info, timeout=10)

        assert int(back.requests[0].headers["x-taskflow-retried"]) > 0


async def test_a_cancelled_task_ends_its_request(
    client: Client, inspector: Inspector, receiver: Receiver, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    held = threading.Event()
    receiver.reply_with(Reply(hold=held))
    await start_worker(targets(receiver))
    info = await client.enqueue("billing:invoice", retention=KEPT)
    await wait_until(lambda: receiver.requests)

    await inspector.cancel(info.id)

    with pytest.raises(TaskFailed) as caught:
        await client.result(info, timeout=20)
    assert caught.value.cancelled
    held.set()


@pytest.mark.parametrize("whose", ["task", "target"])
async def test_an_answer_that_takes_too_long_is_not_waited_for(
    whose: str,
    client: Client,
    receiver: Receiver,
    start_worker: StartWorker,
    store: Store,
    wait_until: WaitUntil,
) -> None:
    held = threading.Event()
    receiver.reply_with(Reply(hold=held))
    await start_worker(targets(receiver, timeout=timedelta(seconds=0.2 if whose == "target" else 60)))

    info = await client.enqueue("billing:invoice", timeout=timedelta(seconds=1 if whose == "task" else 60))

    assert await settled(store, info, wait_until) == RETRY
    assert ("no answer in time" if whose == "target" else "AttemptTimedOut") in store.message(info.id).error_msg
    held.set()


async def test_a_worker_that_stops_waits_for_the_answer(
    client: Client, receiver: Receiver, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    held = threading.Event()
    receiver.reply_with(Reply(body=b"done", hold=held))
    worker = await start_worker(targets(receiver))
    info = await client.enqueue("billing:invoice", retention=KEPT)
    await wait_until(lambda: receiver.requests)

    worker.stop()
    held.set()

    assert await client.result(info, timeout=20) == b"done"


async def test_headers_hold_secrets_of_the_environment(
    client: Client, receiver: Receiver, start_worker: StartWorker
) -> None:
    headers = {"Authorization": "Bearer ${TOKEN}", "User-Agent": "shop", "X-Price": "$5"}
    await start_worker(targets(receiver, {"TOKEN": "s3cret"}, headers=headers))

    await client.result(await client.enqueue("billing:invoice", retention=KEPT), timeout=20)

    sent = receiver.requests[0].headers
    assert (sent["authorization"], sent["user-agent"], sent["x-price"]) == ("Bearer s3cret", "shop", "$5")


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({}, "http_targets.billing.headers.Authorization needs the environment variable TOKEN"),
        ({"TOKEN": "a\nb"}, "the environment variable TOKEN must be one line of ASCII characters"),
    ],
)
def test_a_header_whose_secret_is_missing_keeps_the_worker_from_starting(
    environ: dict[str, str], problem: str, receiver: Receiver
) -> None:
    with pytest.raises(ConfigError, match=problem):
        targets(receiver, environ, headers={"Authorization": "${TOKEN}"})


async def test_an_app_serves_the_targets_of_its_settings_beside_its_own_handlers(
    client: Client, redis_url: str, receiver: Receiver, start_worker: StartWorker
) -> None:
    settings = Settings(http_targets={"billing": HttpTarget(url=receiver.url, types=("billing:*", "refund"))})
    app = TaskFlow(redis_url, settings=settings)

    @app.task("own")
    async def own() -> None: ...

    app.worker()
    app.worker()  # what is served already is not served twice

    await start_worker(app)
    served = {entry.name: entry for entry in await TaskCatalog(client.broker).types()}
    assert set(served) == {"own", "billing:*", "refund", "http"}
    assert served["refund"].doc == "Posted to the HTTP target billing."
    assert served["refund"].schema is None


def test_a_type_that_a_handler_serves_cannot_be_a_targets(receiver: Receiver) -> None:
    app = TaskFlow(settings=Settings(http_targets={"billing": HttpTarget(url=receiver.url, types=("own",))}))

    @app.task("own")
    async def own() -> None: ...

    with pytest.raises(ConfigError, match="task type 'own' has two handlers"):
        app.worker()
