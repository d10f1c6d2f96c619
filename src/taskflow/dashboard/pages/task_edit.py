"""Edit: another payload, or another time, for a task that waits for one."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

import msgspec
from litestar import Response, get, post
from msgspec import UNSET, structs

from taskflow.api.bodies import read_edit, read_span
from taskflow.application.commands import EditTask
from taskflow.application.queries import GetTask
from taskflow.dashboard.messages import Undo
from taskflow.dashboard.payload_form import is_writable, pretty, raw_json
from taskflow.dashboard.request import PageRequest
from taskflow.dashboard.task_form import written_moment
from taskflow.dashboard.values import machine_time
from taskflow.errors import InvalidOption, InvalidPayload, InvalidProcessAt
from taskflow.task import TaskInfo

_LIMITED = {"scope": "write", "limited": True}


@get("/task/edit", opt=_LIMITED)
async def show(request: PageRequest) -> Response[bytes]:
    """Show what can be changed of a task."""
    info = await _task(request)
    return _page(request, info, {"payload": _text(request, info) or "", "process_at": _due(info)}, {})


@post("/task/edit", opt=_LIMITED)
async def edit(request: PageRequest) -> Response[bytes]:
    """Change a task, unless it has become another one meanwhile; what was not touched stays as it is."""
    info = await _task(request)
    given = {name: request.fields.get(name, "") for name in ("payload", "process_at", "process_in")}
    seen = request.fields.get("seen")
    if seen is not None and seen != _mark(info):
        text = "The task has changed since this form was opened; look at what it is now, and send the form again."
        return _page(request, info, given, {"": text}, status=409)
    try:
        command = _command(request, info, given)
        if command is None:
            return request.done("Nothing was changed.", to=_back(request))
        changed = await request.service.edit(command)
    except InvalidOption as error:
        return _page(request, info, given, {error.option: error.reason}, status=422)
    request.audit(
        "task edited",
        task_id=info.id,
        queue=info.queue,
        payload=command.payload is not UNSET,
        process_at=command.process_at is not None,
    )
    return request.done("The task is changed.", to=_back(request), undo=_undo(request, info, changed))


def _command(request: PageRequest, info: TaskInfo, given: dict[str, str]) -> EditTask | None:
    """Return what is to be changed; None if nothing is. Raises `InvalidOption`."""
    command = EditTask(info.id, info.queue)
    if "payload" in request.fields and _text(request, info) is not None:
        command = _with_payload(command, info, given["payload"])
    moment = _moment(request, info, given)
    if moment is not None:
        command = structs.replace(command, process_at=moment)
    return None if command.payload is UNSET and command.process_at is None else command


def _with_payload(command: EditTask, info: TaskInfo, text: str) -> EditTask:
    if not text.strip():
        if not info.payload:
            return command
        raise InvalidPayload("write JSON; null is no value")
    try:
        data = bytes(raw_json(text))
    except ValueError as error:
        raise InvalidPayload(str(error)) from None
    if _compact(data) == _compact(info.payload):
        return command
    body = msgspec.json.encode({"payload": msgspec.Raw(data)})
    return read_edit(body, command.task_id, command.queue)


def _moment(request: PageRequest, info: TaskInfo, given: dict[str, str]) -> datetime | None:
    """Return the new time; None if it stays. A span counts from now."""
    text, span = given["process_at"].strip(), given["process_in"].strip()
    moment = written_moment(InvalidProcessAt, "process_at", text) if text else None
    old = info.next_process_at
    if moment is not None and old is not None and abs(moment - old) < timedelta(seconds=1):
        moment = None
    if not span:
        return moment
    if moment is not None:
        raise InvalidProcessAt("process_in", "give either this or a new time, not both")
    return request.frame.now + read_span("process_in", span)


async def _task(request: PageRequest) -> TaskInfo:
    return await request.service.get(GetTask(request.asked("id"), request.asked("queue")))


def _text(request: PageRequest, info: TaskInfo) -> str | None:
    """Return the payload as it can be edited; None if it cannot: it is binary, too large, or not to be seen."""
    return pretty(info.payload) if request.frame.sees_payloads and is_writable(info.payload) else None


def _compact(data: bytes) -> bytes:
    return msgspec.json.format(data, indent=-1) if data else b""


def _due(info: TaskInfo) -> str:
    """Return the time that the form begins with."""
    return "" if info.next_process_at is None else machine_time(info.next_process_at)


def _mark(info: TaskInfo) -> str:
    """Return what is another one if somebody else has changed the task."""
    said = f"{info.state} {info.next_process_at} ".encode() + info.payload
    return hashlib.blake2b(said, digest_size=8).hexdigest()


def _back(request: PageRequest) -> str:
    return request.to_page("/task", queue=request.asked("queue"), id=request.asked("id"))


def _undo(request: PageRequest, before: TaskInfo, after: TaskInfo) -> Undo | None:
    """Return the way back; there is none to no payload at all."""
    fields = {}
    if after.payload and not before.payload:
        return None
    if before.payload != after.payload:
        fields["payload"] = before.payload.decode()
    if before.next_process_at is not None and before.next_process_at != after.next_process_at:
        fields["process_at"] = before.next_process_at.isoformat()
    return Undo("Take it back", "/task/edit", {"queue": request.asked("queue"), "id": request.asked("id")}, fields)


def _page(
    request: PageRequest, info: TaskInfo, given: dict[str, str], errors: dict[str, str], *, status: int = 200
) -> Response[bytes]:
    return request.page(
        "task_edit.html",
        status=status,
        task=info,
        editable=_text(request, info) is not None,
        given=given,
        errors=errors,
        mark=_mark(info),
        back=_back(request),
    )


HANDLERS = [show, edit]
