"""A service that carries tasks out by gRPC, as a process of its own: it does what the method of each task says.

`python grpc_service.py PORT` prints the port it has (0: any) and serves until its input ends. What it has seen it tells by the
method `seen`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
from google.protobuf.json_format import MessageToDict

from taskflow.wire import grpc_task_pb2 as wire

Response = wire.ExecuteTaskResponse
STATUS: Any = int
"""Also of a number that is no status."""
CANCELLED: list[str] = []
"""The ids that were cancelled."""
BROKEN_OFF: list[str] = []
"""The ids whose streams the caller ended."""
HEALTH = [wire.HEALTH_STATUS_HEALTHY]


async def execute(  # noqa: C901 - a method each
    request: Any, context: Any
) -> AsyncIterator[Any]:
    """Do what the method says with the data."""
    data = MessageToDict(request.payload)
    match request.task_type:
        case "echo":
            yield _result(request, request=_seen(request, context))
        case "steps":
            for percentage in (-5, 50, 120):
                yield _progress(request, percentage)
            yield _result(request)
        case "hold":
            yield _progress(request, 1)
            await _hold(request)
        case "code":
            await context.abort(getattr(grpc.StatusCode, data["code"]), "as you say")
        case "error":
            detail = wire.ErrorDetail(code="E1", message="no luck", retryable=data["retryable"])
            detail.retry_after_seconds = int(data.get("after", 0))
            yield Response(error=detail)
        case "status":
            yield Response(result=wire.TaskResult(task_id=request.task_id, status=STATUS(int(data["status"]))))
        case "nothing":
            return
        case "ill":
            HEALTH[0] = wire.HEALTH_STATUS_DEGRADED
            yield _result(request)
        case "seen":
            yield _result(request, cancelled=CANCELLED, broken_off=BROKEN_OFF)


async def _hold(request: Any) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        BROKEN_OFF.append(request.task_id)


def _seen(request: Any, context: Any) -> dict[str, Any]:
    return {
        "task_id": request.task_id,
        "data": MessageToDict(request.payload),
        "metadata": dict(request.metadata),
        "options": {name.name: value for name, value in request.options.ListFields()},
        "call": {name: value for name, value in context.invocation_metadata() if isinstance(value, str)},
    }


def _progress(request: Any, percentage: int) -> Any:
    progress = wire.Progress(task_id=request.task_id, percentage=percentage, stage="walking", message="on my way")
    progress.metadata["step"] = str(percentage)
    return Response(progress=progress)


def _result(request: Any, /, **data: Any) -> Any:
    result = wire.TaskResult(task_id=request.task_id, status=wire.TASK_STATUS_COMPLETED, duration_ms=3)
    result.data.update(data)
    return Response(result=result)


async def cancel(request: Any, context: Any) -> Any:
    """Note that a task is to be stopped."""
    CANCELLED.append(request.task_id + " after its stream" * (request.task_id in BROKEN_OFF))
    return wire.CancelTaskResponse(success=True)


async def health(request: Any, context: Any) -> Any:
    """Tell how it is; the next answer is a better one."""
    answer = wire.HealthCheckResponse(status=HEALTH[0], message="so to say")
    HEALTH[0] = wire.HEALTH_STATUS_HEALTHY
    return answer


def handlers() -> Any:
    """The three methods."""
    methods = {
        "ExecuteTask": grpc.unary_stream_rpc_method_handler(
            execute, wire.ExecuteTaskRequest.FromString, Response.SerializeToString
        ),
        "CancelTask": grpc.unary_unary_rpc_method_handler(
            cancel, wire.CancelTaskRequest.FromString, wire.CancelTaskResponse.SerializeToString
        ),
        "HealthCheck": grpc.unary_unary_rpc_method_handler(
            health, wire.HealthCheckRequest.FromString, wire.HealthCheckResponse.SerializeToString
        ),
    }
    return grpc.method_handlers_generic_handler("grpc_task.v1.TaskExecutorService", methods)


async def main() -> None:
    """Serve until the input ends."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handlers(),))
    port = server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    await server.start()
    print(port, flush=True)  # noqa: T201 - whoever started it waits for this
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(main())
