"""Tasks whose handlers speak gRPC: a service that the settings name carries them out, and streams progress and the result.

wire/grpc_task.proto is the contract. The payload names the service: `{"service": "llm", "method": "chat", "data": {…}}`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import MessageToDict
from msgspec import Struct

from taskflow.errors import AttemptFailed, InvalidPayload, Retry, SkipRetry
from taskflow.errors.missing import did_you_mean
from taskflow.task import close_types
from taskflow.wire import grpc_task_pb2 as wire
from taskflow.worker.context import TaskContext
from taskflow.worker.dependencies import Depends
from taskflow.worker.handler import Handler
from taskflow.worker.handlers.grpc_service import Execution, Service, Services
from taskflow.worker.registry import Registry

if TYPE_CHECKING:
    from taskflow.config import GrpcService

TASK_TYPE = "grpc_task"
PROGRESS_INTERVAL_MS = 1000
_MOST_INT32 = 2**31 - 1
_RESERVED = ("service", "queue", "retry_count", "max_retry")


class Options(Struct, frozen=True):
    """`options` of the payload: how long an attempt may take, whether progress is wanted, and how often (ms)."""

    timeout_ms: int | None = None
    enable_progress: bool | None = None
    progress_interval_ms: int | None = None


def register(registry: Registry, services: Mapping[str, GrpcService]) -> None:
    """Let services carry out tasks of the type `grpc_task`.

    Args:
        registry: Where the handler goes.
        services: The services by name, with the defaults filled in.

    Raises:
        ConfigError: The type has a handler, or the extra `grpc` is not installed.

    """
    registry.add(TASK_TYPE, Handler(_handler(services)))


def _handler(configured: Mapping[str, GrpcService]) -> Callable[..., Any]:
    async def opened() -> AsyncIterator[Services]:
        services = Services(configured)
        yield services
        await services.close()

    async def grpc_task(
        ctx: TaskContext,
        service: str,
        method: str = "",
        *,
        data: dict[str, Any] | None = None,
        options: Options | None = None,
        services: Any = Depends(opened),
    ) -> dict[str, Any]:
        found = services.find(service)
        if found is None:
            hint = did_you_mean(close_types(service, configured))
            raise SkipRetry(f"no gRPC service {service!r}{hint}; see the setting grpc_services")
        return await _carry_out(ctx, found, method, data or {}, options or Options())

    grpc_task.__doc__ = f"Carried out by the gRPC service that the payload names: {', '.join(sorted(configured))}."
    return grpc_task


async def _carry_out(
    context: TaskContext, service: Service, method: str, data: dict[str, Any], options: Options
) -> dict[str, Any]:
    timeout = service.settings.timeout.total_seconds() if service.settings.timeout else None
    if options.timeout_ms is not None and options.timeout_ms > 0:
        timeout = options.timeout_ms / 1000
    request = _request(context, service.name, method, data)
    request.options.timeout_ms = min(int((timeout or 0) * 1000), 2**63 - 1)
    request.options.enable_progress = options.enable_progress is not False
    request.options.progress_interval_ms = min(
        max(options.progress_interval_ms or PROGRESS_INTERVAL_MS, 0), _MOST_INT32
    )
    await service.check_health()
    execution = Execution(service, request, timeout=timeout, headers=context.headers)
    result = await execution.run(partial(_tell, context))
    return _judge(service.name, method, result)


def _request(context: TaskContext, service: str, method: str, data: dict[str, Any]) -> wire.ExecuteTaskRequest:
    request = wire.ExecuteTaskRequest(task_id=context.id, task_type=method)
    try:
        request.payload.update(data)
    except (ValueError, RecursionError, TypeError) as error:
        raise InvalidPayload(f"data cannot be sent by gRPC: {error}") from error
    own = (service, context.queue, str(context.retried), str(context.max_retries))
    request.metadata.update({**context.headers, **dict(zip(_RESERVED, own, strict=True))})
    return request


async def _tell(context: TaskContext, progress: wire.Progress) -> None:
    percentage = min(max(progress.percentage, 0), 100)
    await context.progress(percentage, progress.stage, progress.message, metadata=dict(progress.metadata) or None)


def _judge(service: str, method: str, answer: wire.TaskResult | wire.ErrorDetail | None) -> dict[str, Any]:
    """Return the task's result. Raises what the end of a stream means, if it is not success."""
    if answer is None:
        raise AttemptFailed(f"{service} ended its stream without a result")
    if isinstance(answer, wire.ErrorDetail):
        raise error_of(service, answer)
    status = wire.TaskStatus.Name(answer.status) if answer.status in wire.TaskStatus.values() else str(answer.status)
    if answer.status not in {wire.TASK_STATUS_UNSPECIFIED, wire.TASK_STATUS_COMPLETED}:
        raise AttemptFailed(f"{service} says that the task is {status.removeprefix('TASK_STATUS_').lower()}")
    return {
        "task_id": answer.task_id,
        "service": service,
        "method": method,
        "status": "completed",
        "data": MessageToDict(answer.data),
        "duration_ms": answer.duration_ms,
    }


def error_of(service: str, detail: wire.ErrorDetail) -> Exception:
    """Return the error that a service's word on a failed attempt is: it says whether, and may say when, to try again."""
    text = f"{service}: {': '.join(filter(None, (detail.code, detail.message))) or 'failed'}"
    if not detail.retryable:
        return SkipRetry(text)
    if detail.retry_after_seconds > 0:
        return Retry(timedelta(seconds=detail.retry_after_seconds), text)
    return AttemptFailed(text)
