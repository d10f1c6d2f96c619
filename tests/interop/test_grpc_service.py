"""A service in Go, on Google's own gRPC library, carries tasks out for a worker in Python."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from conftest import StartWorker, WaitUntil
from interop.go_programs import GoPrograms
from taskflow import Client, Inspector, Registry, TaskFailed
from taskflow.broker.progress import ProgressStream
from taskflow.config import GrpcService, GrpcServices
from taskflow.wire import grpc_task_pb2 as wire
from taskflow.worker.handlers import grpc_task

pytestmark = [pytest.mark.go, pytest.mark.usefixtures("invariants_hold")]

KEPT = timedelta(minutes=5)
Running = tuple[str, "subprocess.Popen[str]"]


@pytest.fixture
def service(go_programs: GoPrograms, tmp_path: Path) -> Iterator[Running]:
    """The address of the service, and its process."""
    contract = tmp_path / "contract"
    contract.write_bytes(wire.DESCRIPTOR.serialized_pb)
    command = [str(go_programs.build("grpc_service")), str(contract)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield process.stdout.readline().strip(), process
        process.stdin.close()


def served_by(address: str) -> Registry:
    registry = Registry()
    grpc_task.register(registry, GrpcServices(services={"go": GrpcService(address=address)}).effective)
    return registry


async def test_go_carries_a_task_out(client: Client, service: Running, start_worker: StartWorker) -> None:
    await start_worker(served_by(service[0]))
    data = {"text": "ö", "list": [1, 2.5, None, True], "deep": {"a": {}}}

    info = await client.enqueue("grpc_task", {"service": "go", "method": "echo", "data": data}, retention=KEPT)

    assert await client.result(info, timeout=10) == {
        "task_id": info.id,
        "service": "go",
        "method": "echo",
        "status": "completed",
        "data": data,
        "duration_ms": 7,
    }
    first, *_ = await ProgressStream(client.broker).history(info.id)
    assert (first.progress.percentage, first.progress.stage) == (50, "go")


async def test_go_hears_of_a_cancellation(
    client: Client, inspector: Inspector, service: Running, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    address, process = service
    await start_worker(served_by(address))
    info = await client.enqueue("grpc_task", {"service": "go", "method": "hold"}, retention=KEPT)

    async def has_begun() -> bool:
        return await ProgressStream(client.broker).latest(info.id) is not None

    await wait_until(has_begun)
    await inspector.cancel(info.id)

    with pytest.raises(TaskFailed) as caught:
        await client.result(info, timeout=20)
    assert caught.value.cancelled
    assert process.stdout is not None
    assert process.stdout.readline() == f"cancelled {info.id}\n"
