"""Health: what load balancers, orchestrators and Prometheus ask."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from litestar import Router, get
from litestar.openapi.datastructures import ResponseSpec

from taskflow.api.answer import Answer
from taskflow.api.request import ApiRequest
from taskflow.api.schemas import health as schemas
from taskflow.errors import BrokerUnavailable, TaskFlowError
from taskflow.observability.metrics import CONTENT_TYPE


@get(
    "/health",
    operation_id="health",
    summary="Health of the server and of Redis",
    responses={503: ResponseSpec(schemas.HealthBody, description="Redis does not answer.")},
)
async def health(request: ApiRequest) -> Answer[schemas.HealthBody]:
    """Answer 200 while Redis answers, else 503."""
    status: Literal["healthy", "unhealthy"] = "healthy" if await _redis_answers(request) else "unhealthy"
    body = schemas.HealthBody(status, datetime.now(UTC), {"redis": status})
    return Answer(body, 200 if status == "healthy" else 503)


@get(
    "/ready",
    operation_id="ready",
    summary="Whether the server can take requests",
    responses={503: ResponseSpec(schemas.Ready, description="It cannot now; `reason` says why.")},
)
async def ready(request: ApiRequest) -> Answer[schemas.Ready]:
    """Answer 200 while requests can be served, else 503."""
    reason = await _why_not_ready(request)
    if reason is None:
        return Answer(schemas.Ready("ready"))
    return Answer(schemas.Ready("not ready", reason), 503)


@get("/live", operation_id="live", summary="Whether the process answers")
async def live() -> Answer[schemas.Alive]:
    """Answer 200."""
    return Answer(schemas.Alive())


@get("/metrics", media_type=CONTENT_TYPE, operation_id="metrics", summary="Metrics for Prometheus")
async def metrics(request: ApiRequest) -> bytes:
    """Return HTTP requests and the state of the queues, as Prometheus reads them."""
    try:
        queues = await request.service.queue_stats()
    except BrokerUnavailable:
        queues = []
    return request.around.metrics.render(queues)


async def _why_not_ready(request: ApiRequest) -> str | None:
    if request.around.closing.is_set():
        return "the server is going down"
    return None if await _redis_answers(request) else "redis unavailable"


async def _redis_answers(request: ApiRequest) -> bool:
    try:
        await request.service.ping()
    except TaskFlowError:
        return False
    return True


ROUTER = Router("/", route_handlers=[health, ready, live], tags=["health"])
METRICS = Router("/", route_handlers=[metrics], tags=["health"])
"""Apart, since they name the queues: they need a key where there are keys."""
