"""Service: a gRPC service that carries tasks out: its channel, its health, and an execution that is under way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from taskflow.errors import AttemptFailed, ConfigError, SkipRetry, TargetUnreachable
from taskflow.wire import grpc_task_pb2 as wire
from taskflow.worker.context import TRACE_HEADERS

try:
    import grpc
    import grpc.aio
except ImportError as error:
    raise ConfigError("tasks of the type grpc_task need the extra grpc: pip install 'taskflow-queue[grpc]'") from error

if TYPE_CHECKING:
    from taskflow.config import GrpcService

_LOG = structlog.get_logger("taskflow.worker")
_PATH = "/grpc_task.v1.TaskExecutorService/"
HEALTH_SECONDS = 5.0
"""How long a question about a service's health may take."""
CANCEL_SECONDS = 3.0
"""How long a cancellation may take to reach a service, repetitions and all, before its stream is broken off."""
FINAL = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.UNAUTHENTICATED,
    }
)
"""The status codes after which another attempt is no use; all others are tried again."""
_STOPPED = "the task was cancelled, took too long, or its worker stops"
Tell = Callable[[wire.Progress], Awaitable[None]]


class Service:
    """A service. Use it in one event loop and close it.

    Args:
        name: What the settings call it.
        settings: How it is called, with the defaults filled in.

    Raises:
        ConfigError: A file of its TLS settings cannot be read.

    """

    def __init__(self, name: str, settings: GrpcService) -> None:
        self.name = name
        self.settings = settings
        self._channel = _channel(name, settings)
        self._checked_at = float("-inf")
        self._ill: str | None = None
        """Why it takes no tasks, None if it does, as far as is known."""
        self._execute = self._channel.unary_stream(
            f"{_PATH}ExecuteTask",
            request_serializer=wire.ExecuteTaskRequest.SerializeToString,
            response_deserializer=wire.ExecuteTaskResponse.FromString,
        )
        self._cancel = self._channel.unary_unary(
            f"{_PATH}CancelTask",
            request_serializer=wire.CancelTaskRequest.SerializeToString,
            response_deserializer=wire.CancelTaskResponse.FromString,
        )
        self._health = self._channel.unary_unary(
            f"{_PATH}HealthCheck",
            request_serializer=wire.HealthCheckRequest.SerializeToString,
            response_deserializer=wire.HealthCheckResponse.FromString,
        )

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    async def check_health(self) -> None:
        """Ask whether it takes tasks, if that was not asked for a while, or it did not the last time.

        Raises:
            TargetUnreachable: It does not.

        """
        interval = self.settings.health_check_interval
        age = time.monotonic() - self._checked_at
        if self._ill is None and interval is not None and age < interval.total_seconds():
            return
        self._checked_at = time.monotonic()
        self._ill = await self._ask()
        if self._ill is not None:
            raise TargetUnreachable(f"gRPC service {self.name}", self._ill)

    async def _ask(self) -> str | None:
        """Return why it takes no tasks, None if it does. One that has no such question does."""
        try:
            answer = await self._repeated(self._health, wire.HealthCheckRequest(service_name=self.name), HEALTH_SECONDS)
        except grpc.aio.AioRpcError as error:
            return None if error.code() is grpc.StatusCode.UNIMPLEMENTED else _text(error)
        except TimeoutError:
            return "no word on its health in time"
        if answer.status == wire.HEALTH_STATUS_HEALTHY:
            return None
        known = answer.status in wire.HealthStatus.values()
        name = wire.HealthStatus.Name(answer.status) if known else str(answer.status)
        return ": ".join(filter(None, (name.removeprefix("HEALTH_STATUS_").lower(), answer.message)))

    async def _repeated(self, call: Any, request: Any, seconds: float) -> Any:
        """Return the answer to a question, asked again while the service cannot be reached and there is time.

        Raises:
            AioRpcError: It was asked often enough, or another time is no use.
            TimeoutError: The time is over.

        """
        delay = self.settings.retry_delay
        left = self.settings.max_retries or 0
        async with asyncio.timeout(seconds):
            while True:
                try:
                    return await call(request, timeout=seconds, metadata=_metadata({}))
                except grpc.aio.AioRpcError as error:
                    if error.code() in FINAL or not left:
                        raise
                left -= 1
                await asyncio.sleep(delay.total_seconds() if delay is not None else 0)

    def execute(self, request: wire.ExecuteTaskRequest, *, timeout: float | None, headers: Mapping[str, str]) -> Any:
        """Begin a task and return its stream."""
        return self._execute(request, timeout=timeout, metadata=_metadata(headers))

    async def cancel(self, task_id: str, reason: str) -> None:
        """Tell it to stop a task; whether it can is its own affair, and what goes wrong is logged."""
        try:
            answer = await self._repeated(
                self._cancel, wire.CancelTaskRequest(task_id=task_id, reason=reason), CANCEL_SECONDS
            )
        except (grpc.aio.AioRpcError, TimeoutError) as error:
            why = _text(error) if isinstance(error, grpc.aio.AioRpcError) else "no answer in time"
            _LOG.warning("a cancellation did not reach its service", service=self.name, task_id=task_id, error=why)
        else:
            if not answer.success:
                _LOG.info(
                    "a service could not cancel a task", service=self.name, task_id=task_id, reason=answer.message
                )


class Services:
    """The services of the settings, by name; their channels connect when they are needed.

    Args:
        settings: How each is called, with the defaults filled in.

    """

    def __init__(self, settings: Mapping[str, GrpcService]) -> None:
        self._services = {name: Service(name, each) for name, each in settings.items()}

    def find(self, name: str) -> Service | None:
        """Return a service, None if there is none."""
        return self._services.get(name)

    async def close(self) -> None:
        """Close all channels."""
        for service in self._services.values():
            await service.close()


class Execution:
    """A task that a service carries out.

    Args:
        service: The service.
        request: What it is asked.
        timeout: How long it may take (s); None: as long as the attempt may.
        headers: The task's headers.

    """

    def __init__(
        self, service: Service, request: wire.ExecuteTaskRequest, *, timeout: float | None, headers: Mapping[str, str]
    ) -> None:
        self._service = service
        self._request = request
        self._stream = service.execute(request, timeout=timeout, headers=headers)

    async def run(self, tell: Tell) -> wire.TaskResult | wire.ErrorDetail | None:
        """Pass its progress on and return its last word, None if there is none. If we are cancelled, so is the task there.

        Raises:
            SkipRetry: The stream broke off, and another attempt is no use.
            AttemptFailed: It broke off.
            TargetUnreachable: The service cannot be reached.

        """
        # A task of its own: a stream that is being read ends with its reader, before the service could be told why.
        reading = asyncio.create_task(self._read(tell))
        try:
            return await asyncio.shield(reading)
        except grpc.aio.AioRpcError as error:
            raise broken_off(self._service.name, error) from error
        except asyncio.CancelledError:
            await self._service.cancel(self._request.task_id, _STOPPED)
            raise
        finally:
            self._stream.cancel()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, tell: Tell) -> wire.TaskResult | wire.ErrorDetail | None:
        last: wire.TaskResult | wire.ErrorDetail | None = None
        async for response in self._stream:
            match response.WhichOneof("response"):
                case "progress":
                    await tell(response.progress)
                case "result":
                    last = response.result
                case "error":
                    return response.error  # type: ignore[no-any-return] # the stream is of no known type
        return last


def broken_off(service: str, error: grpc.aio.AioRpcError) -> Exception:
    """Return the error that the end of a stream by a status code is."""
    if error.code() in FINAL:
        return SkipRetry(f"{service}: {_text(error)}")
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return TargetUnreachable(f"gRPC service {service}", _text(error))
    return AttemptFailed(f"{service}: {_text(error)}")


def _text(error: grpc.aio.AioRpcError) -> str:
    return ": ".join(filter(None, (error.code().name, error.details())))


def _metadata(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return what goes along with a call: who calls, when, and the task's place in a trace."""
    passed_on = ((name, headers[name]) for name in TRACE_HEADERS if name in headers)
    ours = (("x-client-name", "taskflow-worker"), ("x-request-time", datetime.now(UTC).isoformat()))
    return (*ours, *((name, value) for name, value in passed_on if value.isascii() and value.isprintable()))


def _channel(name: str, settings: GrpcService) -> grpc.aio.Channel:
    options: list[tuple[str, Any]] = [
        ("grpc.keepalive_time_ms", _milliseconds(settings.keepalive_time.total_seconds())),
        ("grpc.keepalive_timeout_ms", _milliseconds(settings.keepalive_timeout.total_seconds())),
        ("grpc.max_reconnect_backoff_ms", 10_000),
    ]
    tls = settings.tls
    if not tls.enabled:
        return grpc.aio.insecure_channel(settings.address, options)
    if tls.server_name:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    ca, key, cert = (_read(name, path) for path in (tls.ca, tls.key, tls.cert))
    return grpc.aio.secure_channel(settings.address, grpc.ssl_channel_credentials(ca, key, cert), options)


def _milliseconds(seconds: float) -> int:
    return min(int(seconds * 1000), 2**31 - 1)


def _read(name: str, path: str) -> bytes | None:
    if not path:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"grpc_services.services.{name}.tls: {path} cannot be read: {error.strerror}") from error
