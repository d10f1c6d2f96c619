"""Servers: the worker servers that are alive, what each runs now, and how to drain one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from litestar import Response, get, post

from taskflow.dashboard.question import Question
from taskflow.dashboard.request import PageRequest
from taskflow.task import ServerInfo, Stall
from taskflow.wording import many

MOST_RUNNING = 100
"""How many tasks are shown of those that a server runs."""
_AGE = 1.0
"""How old (s) may be what a page that is looked at shows."""


@get("/servers")
async def show(request: PageRequest) -> Response[bytes]:
    """Show the servers, by host."""

    async def read() -> tuple[Sequence[ServerInfo], Mapping[str, Stall], Mapping[str, bool]]:
        service = request.service
        servers = sorted(await service.servers(), key=lambda each: (each.host, each.pid, each.id))
        ids = [server.id for server in servers]
        stalls, told = await asyncio.gather(service.stalls(ids), service.draining.told(ids))
        return servers, stalls, told

    servers, stalls, told = await request.live_glance("servers and orders", _AGE, read)
    return request.page(
        "servers.html",
        servers=servers,
        stalls=stalls,
        told=told,
        most=MOST_RUNNING,
        question=drain_question,
    )


@post("/server/drain", opt={"scope": "admin"})
async def drain(request: PageRequest) -> Response[bytes]:
    """Tell a server to take no more tasks, to let those that run end, and to end, once it is confirmed."""
    name = request.asked("id")
    if not request.confirmed:
        found = [server for server in await request.service.servers() if server.id == name]
        return request.ask(drain_question(found[0]) if found else _question(name))
    info = await request.service.draining.begin(name)
    request.audit("server drained", server_id=name, host=info.host, pid=info.pid)
    return request.done(f"The server {info.host}, pid {info.pid}, takes no more tasks, and ends with those it runs.")


_DETAIL = (
    "It takes no more tasks, lets those that run end, and ends. What has not ended by its shutdown timeout goes back into its "
    "queue. A process under a supervisor is followed by a fresh one."
)


def drain_question(server: ServerInfo) -> Question:
    """Return what is asked before a server is drained."""
    return _question(f"{server.host}, pid {server.pid}, which runs {many(server.active_count, 'task')}")


def _question(server: str) -> Question:
    return Question(text=f"Drain the server {server}?", yes="Drain", detail=_DETAIL)


HANDLERS = [show, drain]
