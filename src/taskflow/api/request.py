"""ApiRequest: a request, with what the handlers need to answer it."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import unquote

from litestar import Request
from litestar.datastructures import State
from msgspec import Struct

from taskflow.api.keys import KeyRing
from taskflow.api.paths import ESCAPED
from taskflow.api.places import Places
from taskflow.api.protocol import address_of
from taskflow.api.rate import Buckets
from taskflow.application.service import TaskService
from taskflow.config import Settings
from taskflow.observability.audit_log import AuditLog
from taskflow.observability.metrics import ApiMetrics


class Surroundings(Struct, frozen=True):
    """What all handlers share. `closing` is set when the server goes down: then open streams and waits end."""

    service: TaskService
    settings: Settings
    metrics: ApiMetrics
    closing: asyncio.Event
    body_limit: int
    places: Places
    audit_log: AuditLog
    keys: KeyRing | None = None
    failures: Buckets | None = None
    """How many wrong keys an address may try."""

    @property
    def guarded(self) -> bool:
        """Whether an API key is asked for."""
        return self.keys is not None


class ApiRequest(Request[Any, Any, State]):
    """A request of the API."""

    @property
    def around(self) -> Surroundings:
        """What all handlers share."""
        around: Surroundings = self.app.state.around
        return around

    @property
    def service(self) -> TaskService:
        """The use cases, within the limits of the API key."""
        limited: TaskService | None = self.scope.get("taskflow.service")  # type: ignore[assignment]  # set by access.authorize
        return limited or self.around.service

    @property
    def path_params(self) -> dict[str, Any]:
        """The parameters in the path, with the slashes that were encoded in it."""
        found: dict[str, Any] = self.scope["path_params"]
        return {name: unquote(value) for name, value in found.items()} if self.scope.get(ESCAPED) else found

    @property
    def id(self) -> str:
        """The request id, as logs and the header `X-Request-ID` have it."""
        return str(self.scope.get("taskflow.request_id", ""))

    @property
    def principal(self) -> str:
        """Who asks, by the id of the API key; '' while nobody is told apart."""
        return str(self.scope.get("taskflow.principal", ""))

    @property
    def client_name(self) -> str:
        """Who is counted as one client: the API key, or the address while there are no keys."""
        return self.principal or address_of(self.scope)

    def check_place(self) -> None:
        """Refuse the client an event stream if too many are open. Raises `TooManyStreams`."""
        self.around.places.check(self.client_name)

    def audit(self, action: str, **facts: object) -> None:
        """Log a change that this request has made: what was done, to what, by whose key, from where."""
        self.around.audit_log.add(
            action,
            {**facts, "request_id": self.id, "key": self.principal or None, "address": address_of(self.scope)},
        )
