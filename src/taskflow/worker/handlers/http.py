"""Tasks whose handlers speak HTTP: the payload is posted to a target that the settings name, and its answer is the outcome.

`X-TaskFlow-Retry` in an answer, `yes` or `no`, decides for the target where its status would say otherwise.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
from msgspec import Raw

from taskflow.errors import AttemptFailed, ConfigError, HandlerSignal, Retry, SkipRetry, TargetRefused
from taskflow.errors.missing import did_you_mean
from taskflow.task import close_types
from taskflow.worker.context import TRACE_HEADERS, TaskContext
from taskflow.worker.dependencies import Depends
from taskflow.worker.handler import Handler
from taskflow.worker.registry import Registry

if TYPE_CHECKING:
    from taskflow.config import HttpTarget
    from taskflow.worker.outbound import Answer

TASK_TYPE = "http"
"""The type of tasks whose payload names a target."""
TEMPORARY = frozenset({408, 425, 429})
"""The statuses below 500 that mean: try again."""
_SERVER_ERRORS = range(500, 600)
_OF_ANSWER = 500
"""How many characters of an answer become part of a task's error."""
_SHORTEST_WAIT = timedelta(seconds=1)
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%") + " "


class Target:
    """A target of the settings, with what its headers name of the environment.

    Args:
        name: What it is called.
        settings: How it is called.
        environ: Where the headers' variables are.

    Raises:
        ConfigError: A variable is missing, or cannot be part of a header.

    """

    def __init__(self, name: str, settings: HttpTarget, environ: Mapping[str, str]) -> None:
        self.name = name
        self.settings = settings
        self._headers = {
            header.lower(): _expanded(f"http_targets.{name}.headers.{header}", value.get_secret_value(), environ)
            for header, value in settings.headers.items()
        }

    async def post(self, context: TaskContext, payload: bytes, outbound: Any) -> bytes | None:
        """Post a payload and return the body of the answer: the task's result.

        Raises:
            SkipRetry: The answer says that another attempt is no use.
            Retry: It says when the next attempt is to be made.
            AttemptFailed: Its status asks for another attempt.
            TargetUnreachable: There is none.

        """
        most = int(self.settings.result_limit)
        try:
            answer = await outbound(self).request(
                "POST",
                self.settings.url,
                headers=headers_of(context, payload) | self._headers,
                body=payload,
                timeout=self.settings.timeout.total_seconds(),
                most=max(most + 1, 4 * _OF_ANSWER),
            )
        except TargetRefused as error:
            raise SkipRetry(str(error)) from error
        if not answer.ok:
            raise judge(self.name, answer, time.time())
        if len(answer.body) > most:
            raise SkipRetry(f"{self.name} answered {answer.status} with more than {most} bytes (setting result_limit)")
        return answer.body or None


def judge(target: str, answer: Answer, now: float) -> HandlerSignal | AttemptFailed:
    """Return the error that an answer is, at a time (Unix s): whether there is another attempt, and when."""
    start = answer.body[: 4 * _OF_ANSWER].decode(errors="replace").strip()[:_OF_ANSWER]
    text = f"{target} answered {answer.status}" + (f": {start}" if start else "")
    temporary = answer.status in TEMPORARY or answer.status in _SERVER_ERRORS
    word = answer.headers.get("x-taskflow-retry", "").strip().lower()
    if word == "no" or (word != "yes" and not temporary):
        return SkipRetry(text)
    wait = answer.retry_after(now)
    return AttemptFailed(text) if wait is None else Retry(max(wait, _SHORTEST_WAIT), text)


def headers_of(context: TaskContext, payload: bytes) -> dict[str, str]:
    """Return what a request says of its task; characters that no header can hold are percent-encoded."""
    headers = {
        "content-type": "application/json" if _is_json(payload) else "application/octet-stream",
        "accept": "application/json, */*;q=0.5",
        "user-agent": "TaskFlow",
        "idempotency-key": _plain(context.id),
        "x-taskflow-task-id": _plain(context.id),
        "x-taskflow-task-type": _plain(context.type),
        "x-taskflow-queue": _plain(context.queue),
        "x-taskflow-retried": str(context.retried),
        "x-taskflow-max-retries": str(context.max_retries),
    }
    if context.deadline is not None:
        headers["x-taskflow-deadline"] = context.deadline.astimezone(UTC).isoformat(timespec="milliseconds")
    for name, value in context.headers.items():
        if name.lower() in TRACE_HEADERS:
            headers[name.lower()] = _plain(value)
        elif _HEADER_NAME.fullmatch(name):
            headers[f"x-taskflow-meta-{name.lower()}"] = _plain(value)
    return headers


def _is_json(payload: bytes) -> bool:
    try:
        msgspec.json.decode(payload, type=Raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _plain(text: str) -> str:
    return quote(text, safe=_PLAIN)


def _expanded(where: str, text: str, environ: Mapping[str, str]) -> str:
    def value_of(found: re.Match[str]) -> str:
        value = environ.get(found[1])
        if value is None:
            raise ConfigError(f"{where} needs the environment variable {found[1]}, which is not set for this worker")
        if not value.isascii() or not value.isprintable():
            raise ConfigError(f"{where}: the environment variable {found[1]} must be one line of ASCII characters")
        return value

    return _VARIABLE.sub(value_of, text)


async def outbound_clients() -> AsyncIterator[Callable[[Target], Any]]:
    """Provide what gives each target its connections, for the worker's life."""
    from taskflow.worker.outbound import Outbound  # noqa: PLC0415 - an extra, needed only where there are targets

    clients: dict[str, Outbound] = {}

    def client(target: Target) -> Outbound:
        if target.name not in clients:
            patience = target.settings.connect_timeout.total_seconds()
            clients[target.name] = Outbound(allow_private=True, connections=_CONNECTIONS, connect_timeout=patience)
        return clients[target.name]

    yield client
    for each in clients.values():
        await each.close()


_CONNECTIONS = 10_000
"""The worker's slots bound how many requests there are at once; a second bound here would let tasks time out in a line."""


def register(registry: Registry, targets: Mapping[str, HttpTarget], environ: Mapping[str, str] | None = None) -> None:
    """Let targets serve the types that the settings name, and the type `http`, whose payload names a target.

    Raises:
        ConfigError: A type has two handlers, a variable of the environment is missing, or the extra `http` is not installed.

    """
    if not targets:
        return
    import taskflow.worker.outbound  # noqa: F401, PLC0415 - says at once what is to be installed

    known = {name: Target(name, each, os.environ if environ is None else environ) for name, each in targets.items()}
    for target in known.values():
        for task_type in target.settings.types:
            registry.add(task_type, _handler_of(target))
    registry.add(TASK_TYPE, _handler_by_name(known))


def _handler_of(target: Target) -> Handler:
    async def post(ctx: TaskContext, payload: bytes, outbound: Any = Depends(outbound_clients)) -> bytes | None:
        return await target.post(ctx, payload, outbound)

    post.__qualname__ = f"http_targets.{target.name}"
    post.__doc__ = f"Posted to the HTTP target {target.name}."
    return Handler(post)


def _handler_by_name(targets: Mapping[str, Target]) -> Handler:
    async def http(
        ctx: TaskContext, target: str, payload: Raw, outbound: Any = Depends(outbound_clients)
    ) -> bytes | None:
        found = targets.get(target)
        if found is None:
            raise SkipRetry(
                f"no HTTP target {target!r}{did_you_mean(close_types(target, targets))}; see the setting http_targets"
            )
        return await found.post(ctx, bytes(payload), outbound)

    http.__qualname__ = "http_targets"
    http.__doc__ = f"Posted to the HTTP target that the payload names: {', '.join(sorted(targets))}."
    return Handler(http)
