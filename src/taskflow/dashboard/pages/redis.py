"""Redis: the servers that hold the queues, and what is wrong with them."""

from __future__ import annotations

from litestar import Response, get

from taskflow.dashboard.pages.overview import FRESH, attention
from taskflow.dashboard.request import PageRequest


@get("/redis")
async def show(request: PageRequest) -> Response[bytes]:
    """Show what the servers say of themselves."""
    redis = await request.glance("redis", FRESH, request.service.redis_info)
    findings = await attention(request)
    return request.page(
        "redis.html", redis=redis, findings=[finding for finding in findings if finding.target == "redis"]
    )


HANDLERS = [show]
