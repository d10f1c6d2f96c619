"""Servers: the worker servers that are alive, Python's and Go's."""

from __future__ import annotations

from litestar import Router, get, post

from taskflow.api.answer import Answer
from taskflow.api.parameters import ServerId
from taskflow.api.request import ApiRequest
from taskflow.api.schemas import servers as schemas
from taskflow.api.schemas.values import Message
from taskflow.errors import ServerNotDrainable, ServerNotFound


@get("/", operation_id="listServers", summary="List worker servers")
async def list_servers(request: ApiRequest) -> Answer[list[schemas.ServerBody]]:
    """Return the worker servers that are alive, with what each runs now."""
    return Answer([schemas.server(info) for info in await request.service.servers()])


@post(
    "/{server_id:str}/drain",
    status_code=202,
    opt={"errors": (ServerNotFound, ServerNotDrainable), "scope": "admin"},
    operation_id="drainServer",
    summary="Drain a worker server",
)
async def drain(request: ApiRequest, server_id: ServerId) -> Answer[Message]:
    """Tell a worker server to take no more tasks, to let those that run end, and then to end, as a first SIGTERM does.

    It begins at once. What has not ended by its `shutdown_timeout` goes back into its queue. A process under a supervisor, as
    those of `taskflow dev` and `taskflow worker` with several processes are, is followed by a fresh one. Go's workers cannot be
    told, nor those of releases before this one: 409.
    """
    info = await request.service.draining.begin(server_id)
    request.audit("server drained", server_id=server_id, host=info.host, pid=info.pid)
    return Answer(Message("server drains"), 202)


ROUTER = Router("/servers", route_handlers=[list_servers, drain], tags=["servers"])
