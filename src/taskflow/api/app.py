"""The API as one ASGI application: resources on Litestar, within the middleware."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import cast

from litestar import Litestar, Router
from msgspec import Struct

from taskflow.api import (
    access,
    bulk,
    changes,
    docs,
    health,
    middleware,
    progress,
    queues,
    schedules,
    servers,
    tasks,
    types,
)
from taskflow.api.errors import handle
from taskflow.api.keys import KeyRing
from taskflow.api.paths import whole_segments
from taskflow.api.places import Places
from taskflow.api.protocol import ASGIApp
from taskflow.api.proxy import at_root_path, behind_proxies
from taskflow.api.rate import Buckets
from taskflow.api.request import ApiRequest, Surroundings
from taskflow.application.service import TaskService
from taskflow.config import Settings
from taskflow.observability.audit_log import AuditLog
from taskflow.observability.metrics import ApiMetrics
from taskflow.observability.request_log import RequestLog
from taskflow.worker.loops import cancel_all

PREFIX = "/api/v1"


class Beside(Struct, frozen=True):
    """What stands beside the API in the same application, such as the dashboard.

    Attributes:
        routes: Its routes.
        identify: Middleware that tells who asks, as `access.authentication` does; requests are then counted as his.
        show_errors: Middleware that answers errors in its own way; it gets the API's answers.

    """

    routes: Sequence[Router]
    identify: Callable[[ASGIApp, Surroundings], ASGIApp]
    show_errors: Callable[[ASGIApp, Surroundings], ASGIApp]


def create_api(
    service: TaskService, settings: Settings, *, closing: asyncio.Event, beside: Beside | None = None
) -> ASGIApp:
    """Return the API.

    Args:
        service: The use cases; it is closed when the application is shut down.
        settings: All settings.
        closing: Set when the server goes down: streams and waits end then. The end of the application sets it as well.
        beside: What is served besides.

    Raises:
        ConfigError: The key file cannot be used.

    """
    auth = settings.api.auth
    keys = KeyRing(auth) if auth.enabled else None
    failures = Buckets.of(settings.api.rate_limit.failures)
    metrics = ApiMetrics()
    places = Places(settings.api.streams.max, settings.api.streams.per_client)
    body_limit = int(settings.server.http.body_limit)
    around = Surroundings(service, settings, metrics, closing, body_limit, places, AuditLog(), keys, failures)
    guards = [access.authorize] if keys else None
    resources = Router(
        PREFIX,
        guards=guards,
        route_handlers=[
            tasks.ROUTER,
            progress.ROUTER,
            queues.ROUTER,
            changes.ROUTER,
            bulk.ROUTER,
            types.ROUTER,
            schedules.ROUTER,
            servers.ROUTER,
        ],
    )
    guarded_metrics = Router("/", route_handlers=[health.METRICS], guards=guards)
    litestar = Litestar(
        route_handlers=[resources, guarded_metrics, health.ROUTER, docs.ROUTER, *(beside.routes if beside else ())],
        request_class=ApiRequest,
        exception_handlers={Exception: handle},
        lifespan=[_lifespan(around)],
        logging_config=None,
        openapi_config=docs.OPENAPI,
    )
    litestar.state.around = around
    methods = {route.path_format: sorted(getattr(route, "methods", ())) for route in litestar.routes}
    app = middleware.all_methods(cast("ASGIApp", litestar), methods)
    return _wrapped(app, around, beside)


def _wrapped(app: ASGIApp, around: Surroundings, beside: Beside | None) -> ASGIApp:
    """Return the application within the middleware; the last one here is the outermost."""
    settings = around.settings
    http, limit = settings.server.http, settings.api.rate_limit
    if http.root_path:
        app = at_root_path(app, http.root_path)
    app = whole_segments(app)
    if (buckets := Buckets.of(limit.rate, limit.burst)) is not None:
        app = middleware.rate_limit(app, buckets)
    if beside is not None:
        app = beside.identify(app, around)
    if around.keys is not None:
        app = access.authentication(app, around.keys, around.failures)
    app = middleware.cors(app, settings.api.cors.allow_origins)
    app = middleware.recovery(app)
    if beside is not None:
        app = beside.show_errors(app, around)
    app = middleware.security_headers(app)
    app = middleware.request_log(app, around.metrics, RequestLog() if http.request_log else None)
    app = middleware.request_id(app)
    return behind_proxies(app, http.trusted_proxies) if http.trusted_proxies else app


def _lifespan(around: Surroundings) -> Callable[[Litestar], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        sampling = asyncio.create_task(around.service.keep_sampling(), name="taskflow sampler")
        try:
            yield
        finally:
            around.closing.set()
            await cancel_all([sampling])
            await around.service.close()

    return lifespan
