"""The middleware, as plain ASGI: each takes an application and returns one. `app` says in which order they stand."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence

from taskflow.api import errors
from taskflow.api.protocol import ASGIApp, Headers, Message, Receive, Scope, Send, address_of, header, route_path
from taskflow.api.rate import Buckets
from taskflow.api.schemas.errors import ErrorBody
from taskflow.observability.metrics import ApiMetrics
from taskflow.observability.request_log import RequestLog

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_SECURITY_HEADERS: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_ALLOWED_METHODS = b"GET, POST, PUT, PATCH, DELETE"
_ALLOWED_HEADERS = (
    b"Content-Type, X-Request-ID, Last-Event-ID, Authorization, X-API-Key, Idempotency-Key, If-Match, If-None-Match"
)
_EXPOSED_HEADERS = b"X-Request-ID, X-Total-Count, X-Next-Cursor, Link, Location, ETag, Retry-After"
_PROBES = frozenset({"/health", "/ready", "/live"})
_NO_CONTENT = 204
_PREFLIGHT_SECONDS = b"600"


def request_id(app: ASGIApp) -> ASGIApp:
    """Give each request an id, the client's own if it is safe to log, and send it back as `X-Request-ID`."""

    async def with_request_id(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        given = header(scope, b"x-request-id")
        name = given if given and _REQUEST_ID.fullmatch(given) else os.urandom(16).hex().encode()
        scope["taskflow.request_id"] = name.decode()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", name)]
            await send(message)

        await app(scope, receive, send_with_id)

    return with_request_id


def request_log(app: ASGIApp, metrics: ApiMetrics, log: RequestLog | None) -> ASGIApp:
    """Count each request, and log a line for it."""

    async def with_log(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        started = time.perf_counter()
        path, method = scope["path"], scope["method"]
        status = 0

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await app(scope, receive, send_and_note)
        finally:
            seconds = time.perf_counter() - started
            metrics.request(method, scope.get("path_template") or "unknown", status, seconds)
            if log is not None:
                log.add(method, path, status, seconds, scope.get("taskflow.request_id", ""))

    return with_log


def recovery(app: ASGIApp) -> ASGIApp:
    """Answer 500 when an application fails, and log what failed; a response that has begun is broken off."""

    async def with_recovery(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        begun = False

        async def send_and_note(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await app(scope, receive, send_and_note)
        except Exception as error:
            name = str(scope.get("taskflow.request_id", ""))
            status, body, _ = errors.answer(error, method=scope["method"], path=scope["path"], request_id=name)
            if begun:
                raise
            await respond(send, status, body)

    return with_recovery


def security_headers(app: ASGIApp) -> ASGIApp:
    """Tell browsers not to guess types, not to frame, not to keep, and to load nothing; what a response says itself counts."""

    async def with_security_headers(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = {name for name, _ in message["headers"]}
                more = [each for each in _SECURITY_HEADERS if each[0] not in said]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        await app(scope, receive, send_with_headers)

    return with_security_headers


def cors(app: ASGIApp, allowed: Sequence[str]) -> ASGIApp:
    """Let pages of the allowed origins (`*`: all) read the answers; no other site's page may change anything."""
    origins = {origin.rstrip("/").encode() for origin in allowed}
    anyone = b"*" in origins

    async def with_cors(scope: Scope, receive: Receive, send: Send) -> None:
        origin = header(scope, b"origin") if scope["type"] == "http" else None
        if origin is None:
            await app(scope, receive, send)
        elif not (anyone or origin in origins):
            if scope["method"] in _SAFE_METHODS or _is_own(origin, scope):
                await app(scope, receive, send)
            else:
                error = errors.ForeignOrigin()
                await respond(send, error.status, errors.body_of(error))
        elif scope["method"] == "OPTIONS" and header(scope, b"access-control-request-method") is not None:
            await _answer_preflight(send, origin)
        else:
            await app(scope, receive, _with_origin(send, origin))

    return with_cors


def _is_own(origin: bytes, scope: Scope) -> bool:
    return origin.partition(b"://")[2] == header(scope, b"host")


def _with_origin(send: Send, origin: bytes) -> Send:
    more: Headers = [
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", _EXPOSED_HEADERS),
        (b"vary", b"Origin"),
    ]

    async def send_with_origin(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *more]
        await send(message)

    return send_with_origin


async def _answer_preflight(send: Send, origin: bytes) -> None:
    headers: Headers = [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-methods", _ALLOWED_METHODS),
        (b"access-control-allow-headers", _ALLOWED_HEADERS),
        (b"access-control-max-age", _PREFLIGHT_SECONDS),
        (b"vary", b"Origin"),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def all_methods(app: ASGIApp, methods: Mapping[str, Sequence[str]]) -> ASGIApp:
    """Let the answer to OPTIONS name all methods of a path; the router names those of one of its handlers.

    Args:
        app: The router.
        methods: The methods of each path, as its template is written in `scope["path_template"]`.

    """

    async def with_all_methods(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_allow(message: Message) -> None:
            known = methods.get(scope.get("path_template", ""))
            if message["type"] == "http.response.start" and message["status"] == _NO_CONTENT and known:
                others = [(name, value) for name, value in message["headers"] if name != b"allow"]
                message["headers"] = [*others, (b"allow", ", ".join(known).encode())]
            await send(message)

        await app(scope, receive, send_with_allow if scope.get("method") == "OPTIONS" else send)

    return with_all_methods


def rate_limit(app: ASGIApp, buckets: Buckets) -> ASGIApp:
    """Let a key, and an address without one, ask only so often; probes are not counted."""

    async def with_rate_limit(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and route_path(scope) not in _PROBES:
            wait = buckets.take(_asker(scope))
            if wait:
                error = errors.RateLimited("too many requests", wait)
                await respond(send, error.status, errors.body_of(error), error.headers)
                return
        await app(scope, receive, send)

    return with_rate_limit


def _asker(scope: Scope) -> str:
    principal = scope.get("taskflow.principal")
    return f"key {principal}" if principal else f"address {address_of(scope)}"


async def respond(send: Send, status: int, body: ErrorBody, more: Mapping[str, str] | None = None) -> None:
    """Send an error, with more headers."""
    data = errors.encoded(body)
    headers = [
        *((name.lower().encode(), value.encode()) for name, value in (more or {}).items()),
        (b"content-type", b"application/json"),
        (b"content-length", str(len(data)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})
