"""New task: a form made of a type's schema, or JSON; what is written is checked as the API checks it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import timedelta

import msgspec
from litestar import Response, get, post

from taskflow.application.idempotency import RequestKey
from taskflow.application.known_types import is_our_own
from taskflow.application.queries import GetTask
from taskflow.broker.catalog import TaskType
from taskflow.config import Settings
from taskflow.dashboard import curl
from taskflow.dashboard.payload_form import examples, is_writable
from taskflow.dashboard.request import PageRequest
from taskflow.dashboard.signing import new_nonce
from taskflow.dashboard.task_form import MORE, TaskForm, write_metadata
from taskflow.durations import format_duration
from taskflow.errors import Forbidden, InvalidOption, TaskConflict
from taskflow.task import TaskInfo

_OPT = {"scope": "write", "limited": True}
_FRESH_SECONDS = 1.0
_ONCE = "once"
"""Field: tells one showing of the form from all others."""


@get("/new-task", opt=_OPT)
async def show(request: PageRequest) -> Response[bytes]:
    """Show the form of a type; without a type, which ones there are.

    In the address: `raw=yes` for JSON, `example=1` for one of the type's examples, `queue` and `copy` for a task to be created again.
    """
    if copied := request.asked("copy", ""):
        return await _copy(request, await request.service.get(GetTask(copied, request.asked("queue", "") or None)))
    task_type = request.asked("type", "").strip()
    if not task_type:
        return request.page(
            "new_task.html", form=None, types=await _types(request), queue=_defaults(request).queues.default
        )
    form = await _form(request, task_type, {}, raw=request.asked("raw", "") == "yes")
    found = examples(form.known.schema if form.known else None)
    number = request.asked_number("example")
    if 0 < number <= len(found):
        form.fill(found[number - 1].encode())
    elif form.raw:
        form.given["payload"] = found[0] if found else ""
    return _page(request, form)


@post("/new-task", opt=_OPT)
async def create(request: PageRequest) -> Response[bytes]:
    """Create the task that was written down, or show what is wrong with it."""
    task_type = request.fields.get("type", "").strip() or request.asked("type", "")
    form = await _form(request, task_type, request.fields, raw=request.fields.get("payload_as") == "json")
    if switch := request.fields.get("switch"):
        form.switch(raw=switch == "json")
        return _page(request, form, status=422 if form.errors else 200)
    command = form.command()
    if command is None:
        return _page(request, form, status=422)
    try:
        info = await request.service.create(command, _key(request))
    except InvalidOption as error:
        form.refuse(error)
    except (TaskConflict, Forbidden) as error:
        form.errors[""] = str(error)
    if form.errors:
        return _page(request, form, status=422)
    to = request.to_page("/task", queue=info.queue, id=info.id)
    if info.existing:
        return request.done("No other task was created: this one was, by this form, or holds the unique lock.", to=to)
    request.audit("task created", task_id=info.id, queue=info.queue, type=info.type)
    return request.done("The task is created.", to=to)


def _key(request: PageRequest) -> RequestKey | None:
    """Return what makes the form the same as one that was sent before, by a double click: it creates one task."""
    if not request.fields.get(_ONCE):
        return None
    said = hashlib.sha256(msgspec.json.encode(request.fields)).hexdigest()
    return RequestKey(request.frame.visitor.name, f"dashboard {said}", b"")


async def _copy(request: PageRequest, info: TaskInfo) -> Response[bytes]:
    """Show the form with all that a task was created with."""
    if not request.frame.sees_payloads:
        raise Forbidden("your key may not see payloads, so it cannot copy tasks")
    options = curl.options(info)
    metadata = options.pop("metadata", None)
    given = {name: str(value) for name, value in options.items() if name not in {"deadline", "process_at"}}
    if metadata:
        given["metadata"] = write_metadata(metadata)
    form = await _form(request, info.type, given, raw=False)
    if is_writable(info.payload):
        form.fill(info.payload)
    else:
        form.errors["payload"] = "the payload of that task is no JSON, or too large to be written here"
    return _page(request, form)


async def _types(request: PageRequest) -> list[TaskType]:
    """Return what the catalog says of all types that may be created, by name."""
    found = await request.glance("types", _FRESH_SECONDS, request.service.types)
    own = [entry.current for entry in found if not is_our_own(entry.current.type)]
    return sorted(own, key=lambda entry: entry.name)


async def _form(request: PageRequest, task_type: str, given: Mapping[str, str], *, raw: bool) -> TaskForm:
    """Return the form of a type, which may be a prefix with its `*`; what serves it is the type itself, or the longest prefix."""
    serving = [each for each in await _types(request) if each.serves(task_type)]
    known = max(serving, key=lambda each: (not each.prefix, len(each.type)), default=None)
    name = known.type if known is not None and known.name == task_type else task_type
    return TaskForm.of(name, known, given, raw=raw)


def _defaults(request: PageRequest) -> Settings:
    return request.around.settings


def _page(request: PageRequest, form: TaskForm, *, status: int = 200) -> Response[bytes]:
    defaults, known = _defaults(request), form.known
    timeout = None if known is None or known.timeout_seconds is None else timedelta(seconds=known.timeout_seconds)
    usual = {
        "queue": (known and known.queue) or defaults.queues.default,
        "max_retries": defaults.tasks.max_retries if known is None or known.max_retries is None else known.max_retries,
        "timeout": format_duration(timeout or defaults.tasks.timeout),
        "retention": format_duration(defaults.tasks.retention),
    }
    return request.page(
        "new_task.html",
        status=status,
        form=form,
        usual=usual,
        once=new_nonce(),
        examples=examples(known.schema if known else None),
        opened=any(form.given.get(name) or name in form.errors for name in MORE),
    )


HANDLERS = [show, create]
