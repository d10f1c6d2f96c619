"""Servers: the worker servers that are alive, Python's and Go's."""

from __future__ import annotations

from litestar import Router, get

from taskflow.api.answer import Answer
from taskflow.api.request import ApiRequest
from taskflow.api.schemas import servers as schemas


@get("/", operation_id="listServers", summary="List worker servers")
async def list_servers(request: ApiRequest) -> Answer[list[schemas.ServerBody]]:
    """Return the worker servers that are alive, with what each runs now."""
    return Answer([schemas.server(info) for info in await request.service.servers()])


ROUTER = Router("/servers", route_handlers=[list_servers], tags=["servers"])
