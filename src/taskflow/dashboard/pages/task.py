"""Task: everything that is known of one task, and how far it has come, live."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from litestar import Response, get

from taskflow.api.events import EventStream, event
from taskflow.api.protocol import header
from taskflow.application.progress import ProgressEvent
from taskflow.application.queries import GetTask
from taskflow.broker.progress import ProgressEntry
from taskflow.dashboard import values
from taskflow.dashboard.curl import curl
from taskflow.dashboard.lifeline import first_line, lifeline
from taskflow.dashboard.offers import offers
from taskflow.dashboard.request import PageRequest
from taskflow.errors import Forbidden, InvalidOption, ProgressNotFound, TaskNotFound
from taskflow.task import ServerInfo, TaskInfo, TaskState
from taskflow.wording import plain

_LIMITED = {"limited": True}
_FRESH_SECONDS = 1.0
_LISTED_MESSAGES = 100


EDITABLE = frozenset({TaskState.SCHEDULED, TaskState.RETRY})


@get("/task", opt=_LIMITED)
async def show(request: PageRequest) -> Response[bytes]:
    """Show a task; without its queue in the address, all are searched for it."""
    queue, task_id = request.asked("queue", ""), request.asked("id")
    if not queue:
        info = await request.service.get(GetTask(task_id.strip()))
        return request.redirect(request.to_page("/task", queue=info.queue, id=info.id))
    try:
        info = await request.service.get(GetTask(task_id, queue))
    except TaskNotFound:
        if not request.frame.live:
            raise
        return request.page("task_gone.html", entry=await _last_word(request, queue, task_id), id=task_id, queue=queue)
    history = await _history(request, info)
    return request.page(
        "task.html",
        task=info,
        offers=offers(info.state) if not info.cancelled or info.state.finished else (),
        editable=info.state in EDITABLE,
        life=lifeline(info, request.frame.now),
        attempts=list(enumerate(info.attempts, 1))[::-1],
        first_line=first_line,
        server=await _server(request, info),
        progress=history[-1] if history else None,
        messages=history[::-1][:_LISTED_MESSAGES],
        moment=_moment,
        texts=values.texts,
        **_contents(request, info),
    )


async def _history(request: PageRequest, info: TaskInfo) -> list[ProgressEntry]:
    """Return what is kept of a task's progress; none of one that has ended, and is gone, since it was read."""

    async def read() -> list[ProgressEntry]:
        try:
            return await request.service.progress.history(info.id)
        except TaskNotFound:
            return []

    return await request.glance(("progress", info.queue, info.id), _FRESH_SECONDS, read)


async def _last_word(request: PageRequest, queue: str, task_id: str) -> ProgressEntry | None:
    """Return the last that a task has said that is gone; None if it has said nothing, or who asks may not know."""
    try:
        return await request.service.progress.latest(task_id, queue)
    except (ProgressNotFound, TaskNotFound):
        return None


async def _server(request: PageRequest, info: TaskInfo) -> ServerInfo | None:
    """Return the server that runs a task; None if nobody does, or who asks may see no servers."""
    if info.worker is None or request.frame.visitor.limited:
        return None
    servers = await request.glance("servers", _FRESH_SECONDS, request.service.servers)
    return next((server for server in servers if server.id == info.worker), None)


def _contents(request: PageRequest, info: TaskInfo) -> dict[str, Any]:
    """Return payload, result, and the command that creates such a task, for who may see them."""
    if not request.frame.sees_payloads:
        return {"payload": None, "result": None, "curl": None}
    around = request.around
    host = (header(request.scope, b"host") or b"").decode("latin-1")
    address = f"{request.scope.get('scheme', 'http')}://{host}{request.frame.root}"
    return {
        "payload": values.shown(info.payload),
        "result": None if info.result is None else values.shown(info.result),
        "curl": curl(info, address, guarded=around.guarded),
    }


def _moment(entry: ProgressEntry) -> Any:
    """Return when an entry was published."""
    return values.of_milliseconds(entry.progress.timestamp_ms)


@get("/task/bytes", opt=_LIMITED)
async def download(request: PageRequest) -> Response[bytes]:
    """Send a payload or a result as it is, to be kept as a file: it is never shown as a page."""
    if not request.frame.sees_payloads:
        raise Forbidden("your key may not see payloads")
    part = request.asked("part")
    if part not in {"payload", "result"}:
        raise InvalidOption("part", "must be payload or result")
    info = await request.service.get(GetTask(request.asked("id"), request.asked("queue")))
    data = (info.payload if part == "payload" else info.result) or b""
    headers = {"Content-Disposition": f'attachment; filename="{part}.bin"'}
    return Response(data, media_type="application/octet-stream", headers=headers)


@get("/task/progress", media_type="text/event-stream", opt=_LIMITED)
async def follow(request: PageRequest) -> EventStream:
    """Send a task's progress as it comes, then `end`: whoever hears that must not come back."""
    request.check_place()
    found = await request.service.progress.follow(request.asked("id"), queue=request.asked("queue"))
    return EventStream(request, _encoded(found))


async def _encoded(found: AsyncGenerator[ProgressEvent, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(found):
        async for each in found:
            if each.entry is not None and each.entry.stream_id:
                progress = each.entry.progress
                said = {"stage": plain(progress.stage), "message": plain(progress.message)}
                yield event("progress", {"percentage": progress.percentage, **said})
    yield event("end", {})


HANDLERS = [show, download, follow]
