"""Tasks that gRPC services carry out: a service in a process of its own, and what becomes of the task by what it says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from conftest import StartWorker, WaitUntil
from support import grpc_service
from support.store import Store
from taskflow import Client, Inspector, Registry, RetryPolicy, TaskFailed, TaskInfo
from taskflow.broker.catalog import TaskCatalog
from taskflow.broker.progress import ProgressStream
from taskflow.config import GrpcService, GrpcServices
from taskflow.errors import StartFailed
from taskflow.wire import grpc_task_pb2 as wire
from taskflow.worker.handlers import grpc_task

pytestmark = pytest.mark.usefixtures("invariants_hold")

KEPT = timedelta(minutes=5)
DONE, ARCHIVED, RETRY = "completed", "archived", "retry"


@contextmanager
def serving(port: int = 0) -> Iterator[str]:
    """Run the service and give its address."""
    command = [sys.executable, str(Path(grpc_service.__file__)), str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"127.0.0.1:{process.stdout.readline().strip()}"
        process.communicate(timeout=10)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A service that all tests share."""
    with serving() as running:
        yield running


def served_by(address: str, *, retries: RetryPolicy | None = None, **settings: Any) -> Registry:
    """A registry whose `grpc_task` knows the service as `llm`."""
    registry = Registry() if retries is None else Registry(retries=retries)
    services = GrpcServices(services={"llm": GrpcService(address=address, **settings)})
    grpc_task.register(registry, services.effective)
    return registry


async def enqueue(client: Client, method: str, data: Mapping[str, Any] | None = None, **options: Any) -> TaskInfo:
    payload: dict[str, Any] = {"service": "llm", "method": method, "data": data}
    if "options" in options:
        payload["options"] = options.pop("options")
    return await client.enqueue("grpc_task", payload, **{"retention": KEPT, **options})


async def result_of(client: Client, info: TaskInfo) -> dict[str, Any]:
    found: dict[str, Any] = await client.result(info, timeout=10)
    return found


async def test_a_service_carries_a_task_out(client: Client, address: str, start_worker: StartWorker) -> None:
    await start_worker(served_by(address))
    data = {"prompt": "hello", "n": 3, "x": 0.5, "deep": {"list": [1, None, True, "ö"]}}

    info = await enqueue(
        client, "echo", data, max_retries=4, headers={"traceparent": "00-1-2-01", "shop": "ada", "queue": "forged"}
    )

    result = await result_of(client, info)
    seen = result["data"].pop("request")
    assert {key: result[key] for key in ("task_id", "service", "method", "status", "duration_ms")} == {
        "task_id": info.id,
        "service": "llm",
        "method": "echo",
        "status": "completed",
        "duration_ms": 3,
    }
    assert (seen["task_id"], seen["data"]) == (info.id, data)
    assert seen["metadata"] == {
        "service": "llm",
        "queue": "default",
        "retry_count": "0",
        "max_retry": "4",
        "shop": "ada",
        "traceparent": "00-1-2-01",
    }
    assert seen["options"] == {"timeout_ms": 300_000, "enable_progress": True, "progress_interval_ms": 1000}
    assert (seen["call"]["traceparent"], seen["call"]["x-client-name"]) == ("00-1-2-01", "taskflow-worker")


async def test_the_payload_sets_the_options(client: Client, address: str, start_worker: StartWorker) -> None:
    await start_worker(served_by(address))
    options = {"timeout_ms": 5000, "enable_progress": False, "progress_interval_ms": 10}

    result = await result_of(client, await enqueue(client, "echo", options=options))

    assert result["data"]["request"]["options"] == {"timeout_ms": 5000, "progress_interval_ms": 10}


async def test_its_progress_is_the_tasks(client: Client, address: str, start_worker: StartWorker) -> None:
    await start_worker(served_by(address))
    info = await enqueue(client, "steps")
    await result_of(client, info)

    entries = await ProgressStream(client.broker).history(info.id)

    told = [entry.progress for entry in entries if entry.progress.stage == "walking"]
    assert [(entry.percentage, entry.message) for entry in told] == [
        (0, "on my way"),
        (50, "on my way"),
        (100, "on my way"),
    ]
    assert told[1].metadata == {"step": "50"}


@pytest.mark.parametrize(
    ("method", "data", "state", "error"),
    [
        ("error", {"retryable": False}, ARCHIVED, "llm: E1: no luck"),
        ("error", {"retryable": True}, RETRY, "AttemptFailed: llm: E1: no luck"),
        ("error", {"retryable": True, "after": 3600}, RETRY, "llm: E1: no luck"),
        ("status", {"status": 0}, DONE, ""),
        ("status", {"status": 1}, DONE, ""),
        ("status", {"status": 2}, RETRY, "AttemptFailed: llm says that the task is failed"),
        ("status", {"status": 3}, RETRY, "AttemptFailed: llm says that the task is cancelled"),
        ("status", {"status": 77}, RETRY, "AttemptFailed: llm says that the task is 77"),
        ("nothing", {}, RETRY, "AttemptFailed: llm ended its stream without a result"),
        ("code", {"code": "UNAVAILABLE"}, RETRY, "TargetUnreachable: gRPC service llm: UNAVAILABLE: as you say"),
        *(
            ("code", {"code": code}, RETRY, f"AttemptFailed: llm: {code}: as you say")
            for code in ("ABORTED", "CANCELLED", "DATA_LOSS", "DEADLINE_EXCEEDED", "INTERNAL", "OUT_OF_RANGE")
        ),
        *(
            ("code", {"code": code}, RETRY, f"AttemptFailed: llm: {code}: as you say")
            for code in ("RESOURCE_EXHAUSTED", "UNKNOWN")
        ),
        *(
            ("code", {"code": code}, ARCHIVED, f"llm: {code}: as you say")
            for code in ("ALREADY_EXISTS", "FAILED_PRECONDITION", "INVALID_ARGUMENT", "NOT_FOUND")
        ),
        *(
            ("code", {"code": code}, ARCHIVED, f"llm: {code}: as you say")
            for code in ("PERMISSION_DENIED", "UNAUTHENTICATED", "UNIMPLEMENTED")
        ),
    ],
)
async def test_what_it_says_decides(
    method: str,
    data: dict[str, Any],
    state: str,
    error: str,
    client: Client,
    inspector: Inspector,
    address: str,
    start_worker: StartWorker,
    store: Store,
    wait_until: WaitUntil,
) -> None:
    await start_worker(served_by(address))

    info = await enqueue(client, method, data)

    await wait_until(lambda: store.state(info.id) not in {"pending", "active"})
    assert store.state(info.id) == state
    assert store.message(info.id).error_msg == error
    if data.get("after"):
        due = (await inspector.task(info.id)).next_process_at
        assert due is not None
        assert 3500 < (due - datetime.now(UTC)).total_seconds() <= 3601


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ({"service": "lm"}, "no gRPC service 'lm' (did you mean 'llm'?); see the setting grpc_services"),
        ({"service": ""}, "no gRPC service ''; see the setting grpc_services"),
        ({"method": "echo"}, "InvalidPayload: payload: Object missing required field `service` at $"),
    ],
)
async def test_a_payload_that_names_no_service_is_archived(
    payload: dict[str, str],
    error: str,
    client: Client,
    address: str,
    start_worker: StartWorker,
    store: Store,
    wait_until: WaitUntil,
) -> None:
    await start_worker(served_by(address))

    info = await client.enqueue("grpc_task", payload)

    await wait_until(lambda: store.state(info.id) == "archived")
    assert store.message(info.id).error_msg == error


async def test_a_cancelled_task_is_cancelled_at_the_service(
    client: Client,
    inspector: Inspector,
    address: str,
    start_worker: StartWorker,
    wait_until: WaitUntil,
) -> None:
    await start_worker(served_by(address))
    info = await enqueue(client, "hold")
    await wait_until(lambda: _has_progress(client, info))

    await inspector.cancel(info.id)

    with pytest.raises(TaskFailed) as caught:
        await client.result(info, timeout=20)
    assert caught.value.cancelled
    seen = (await result_of(client, await enqueue(client, "seen")))["data"]
    assert info.id in seen["cancelled"]
    await wait_until(lambda: _is_broken_off(client, info))


async def _has_progress(client: Client, info: TaskInfo) -> bool:
    return await ProgressStream(client.broker).latest(info.id) is not None


async def _is_broken_off(client: Client, info: TaskInfo) -> bool:
    seen = (await result_of(client, await enqueue(client, "seen")))["data"]
    return info.id in seen["broken_off"]


async def test_the_timeout_of_the_payload_ends_an_attempt(
    client: Client, address: str, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    await start_worker(served_by(address))

    info = await enqueue(client, "hold", options={"timeout_ms": 200})

    await wait_until(lambda: store.state(info.id) == "retry")
    assert "DEADLINE_EXCEEDED" in store.message(info.id).error_msg


async def test_a_worker_that_stops_puts_its_task_back_and_cancels_it_at_the_service(
    client: Client, address: str, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    worker = await start_worker(served_by(address), shutdown_timeout=0.1)
    info = await enqueue(client, "hold")
    await wait_until(lambda: _has_progress(client, info))

    worker.stop()

    await wait_until(lambda: store.state(info.id) == "pending")
    await client.broker.execute(("DEL", store.key("pending")), ("DEL", store.key(f"t:{info.id}")))
    await start_worker(served_by(address))
    seen = (await result_of(client, await enqueue(client, "seen")))["data"]
    assert info.id in seen["cancelled"]


async def test_a_service_that_says_it_is_ill_gets_no_task_until_it_is_well(
    client: Client, address: str, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    policy = RetryPolicy(backoff=timedelta(milliseconds=50))
    await start_worker(served_by(address, retries=policy, health_check_interval=timedelta(microseconds=1)))
    await result_of(client, await enqueue(client, "ill"))

    info = await enqueue(client, "echo")

    await result_of(client, info)
    assert store.message(info.id).error_msg == "TargetUnreachable: gRPC service llm: degraded: so to say"
    assert store.message(info.id).retried == 1


async def test_a_service_that_was_down_gets_its_task_when_it_is_up(
    client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    with serving() as gone:
        pass
    registry = served_by(gone, retries=RetryPolicy(backoff=timedelta(milliseconds=200)), max_retries=0)
    await start_worker(registry)
    info = await enqueue(client, "echo")
    await wait_until(lambda: store.message(info.id).retried > 0)
    assert "TargetUnreachable: gRPC service llm: UNAVAILABLE" in store.message(info.id).error_msg

    with serving(int(gone.rpartition(":")[2])):
        assert (await client.result(info, timeout=30)) is not None


async def test_the_catalog_knows_the_type_and_its_services(
    client: Client, address: str, start_worker: StartWorker
) -> None:
    await start_worker(served_by(address))

    entry = await TaskCatalog(client.broker).find("grpc_task")

    assert entry is not None
    assert entry.doc == "Carried out by the gRPC service that the payload names: llm."
    assert entry.schema is not None
    assert entry.schema["required"] == ["service"]


def test_services_have_defaults_and_may_be_turned_off() -> None:
    services = {"a": GrpcService(address="a:1"), "b": GrpcService(address="b:1", timeout=timedelta(seconds=1))}

    effective = GrpcServices(services=services).effective

    assert (effective["a"].timeout, effective["b"].timeout) == (timedelta(minutes=5), timedelta(seconds=1))
    assert effective["b"].max_retries == 3
    assert GrpcServices(enabled=False, services=services).effective == {}


async def test_a_certificate_that_cannot_be_read_keeps_the_worker_from_starting(start_worker: StartWorker) -> None:
    registry = served_by("127.0.0.1:1", tls={"ca": "/no/such.pem"})

    with pytest.raises(StartFailed, match=r"grpc_services\.services\.llm\.tls: /no/such\.pem cannot be read"):
        await start_worker(registry)


def test_the_contract_is_the_one_of_the_go_service() -> None:
    """Names, numbers and types of all fields, as both sides have them on the wire."""
    fields = {
        message.full_name: {field.name: (field.number, field.type) for field in message.fields}
        for message in wire.DESCRIPTOR.message_types_by_name.values()
    }

    string, struct, enum, int32, int64, boolean = 9, 11, 14, 5, 3, 8
    assert fields == {
        f"grpc_task.v1.{name}": value
        for name, value in {
            "ExecuteTaskRequest": {
                "task_id": (1, string),
                "task_type": (2, string),
                "payload": (3, struct),
                "metadata": (4, struct),
                "options": (5, struct),
            },
            "ExecutionOptions": {
                "timeout_ms": (1, int64),
                "enable_progress": (2, boolean),
                "progress_interval_ms": (3, int32),
            },
            "ExecuteTaskResponse": {"progress": (1, struct), "result": (2, struct), "error": (3, struct)},
            "Progress": {
                "task_id": (1, string),
                "percentage": (2, int32),
                "stage": (3, string),
                "message": (4, string),
                "timestamp_ms": (5, int64),
                "metadata": (6, struct),
            },
            "TaskResult": {"task_id": (1, string), "status": (2, enum), "data": (3, struct), "duration_ms": (4, int64)},
            "ErrorDetail": {
                "code": (1, string),
                "message": (2, string),
                "retryable": (3, boolean),
                "retry_after_seconds": (4, int32),
            },
            "CancelTaskRequest": {"task_id": (1, string), "reason": (2, string)},
            "CancelTaskResponse": {"success": (1, boolean), "message": (2, string)},
            "HealthCheckRequest": {"service_name": (1, string)},
            "HealthCheckResponse": {"status": (1, enum), "message": (2, string), "details": (3, struct)},
        }.items()
    }
