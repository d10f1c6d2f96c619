"""Servers: the worker servers that are alive, and what each runs now."""

from __future__ import annotations

from litestar import Response, get

from taskflow.dashboard.request import PageRequest


@get("/servers")
async def show(request: PageRequest) -> Response[bytes]:
    """Show the servers, by host."""
    servers = sorted(await request.service.servers(), key=lambda each: (each.host, each.pid, each.id))
    return request.page("servers.html", servers=servers)


HANDLERS = [show]
