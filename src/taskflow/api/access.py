"""Access: who asks, and whether he may. The middleware tells the key; the guard of each route asks for its scope.

A route says in its `opt` which `scope` it needs, if not `read` for GET and `write` for all else, and with `limited` that a key
which is limited to some queues may use it: then all it does goes through `LimitedService`. Other routes are closed to such keys.
"""

from __future__ import annotations

from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler

from taskflow.api.errors import RateLimited, Unauthorized, body_of
from taskflow.api.keys import KeyRing
from taskflow.api.middleware import respond
from taskflow.api.protocol import ASGIApp, Receive, Scope, Send, address_of, header
from taskflow.api.rate import Buckets
from taskflow.application.limited import LimitedService
from taskflow.config.keys import KeyRecord
from taskflow.config.keys import Scope as KeyScope
from taskflow.errors import Forbidden

KEY = "taskflow.key"
"""Key of a scope: the record of the request's API key."""
GIVEN = "taskflow.key_given"
"""Key of a scope: whether the request has an API key, be it a wrong one."""
PRINCIPAL = "taskflow.principal"
"""Key of a scope: who asks."""
SERVICE = "taskflow.service"
"""Key of a scope: the use cases, within the limits of the key."""
_BEARER = b"bearer "
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


def authentication(app: ASGIApp, keys: KeyRing, failures: Buckets | None) -> ASGIApp:
    """Find out whose key a request has; what may be done without one is for the routes to say.

    An address that has tried too many wrong keys is told to wait, and its keys are not looked at.
    """

    async def with_key(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (given := given_key(scope)) is not None:
            if failures is not None and (wait := failures.wait(address_of(scope))):
                error = RateLimited("too many wrong keys came from this address", wait)
                await respond(send, error.status, body_of(error), error.headers)
                return
            scope[GIVEN] = True
            record = keys.find(given)
            if record is None:
                if failures is not None:
                    failures.take(address_of(scope))
            else:
                scope[KEY] = record
                scope[PRINCIPAL] = record.name
        await app(scope, receive, send)

    return with_key


def given_key(scope: Scope) -> bytes | None:
    """Return the key that a request has, from `Authorization: Bearer` or `X-API-Key`."""
    authorization = header(scope, b"authorization")
    if authorization is not None and authorization[: len(_BEARER)].lower() == _BEARER:
        return authorization[len(_BEARER) :].strip()
    return header(scope, b"x-api-key")


async def authorize(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Let a request through if its key has the scope that the route needs (a guard of Litestar).

    Raises:
        Unauthorized: It has no key, or one that nobody knows.
        Forbidden: Its key has not the scope, or is limited to some queues where the route knows no limits.

    """
    scope = connection.scope
    record: KeyRecord | None = scope.get(KEY)  # type: ignore[assignment]  # our own key
    if record is None:
        raise Unauthorized(given=bool(scope.get(GIVEN)))
    needed = scope_of(handler.opt, str(scope.get("method", "")))
    if not record.may(needed):
        raise Forbidden(f"the key {record.name!r} has not the scope {needed!r}, which this needs", scope=needed)
    if record.queues:
        if not handler.opt.get("limited"):
            raise Forbidden(f"the key {record.name!r} is limited to some queues, and this is about all of them")
        scope[SERVICE] = LimitedService(connection.app.state.around.service, record.reaches)  # type: ignore[literal-required]  # our own key


def scope_of(opt: dict[str, Any], method: str) -> KeyScope:
    """Return the scope that a route needs."""
    scope: KeyScope = opt.get("scope") or ("read" if method.upper() in _READING else "write")
    return scope
