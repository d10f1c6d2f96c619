"""Overview: the whole system at a glance."""

from __future__ import annotations

from litestar import Response, get

from taskflow.dashboard.request import PageRequest


@get("/", opt={"limited": True})
async def show(request: PageRequest) -> Response[bytes]:
    """Show all queues."""
    return request.page("overview.html", queues=await request.service.queue_stats())


HANDLERS = [show]
