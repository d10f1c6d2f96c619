"""The form of a periodic task: a new one, or one that is changed, with a look at its next times before it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from litestar import Response, get, post

from taskflow.dashboard import schedule_form
from taskflow.dashboard.request import PageRequest
from taskflow.errors import InvalidOption, ScheduleElsewhere, ScheduleExists

_RUNS = 5
_STEERING = {"scope": "admin"}
_REFUSED = 422
_TAKEN = 409


@get("/schedule/new", opt=_STEERING)
async def new(request: PageRequest) -> Response[bytes]:
    """Show the form of a new periodic task; `type` fills in its type."""
    return await _form(request, schedule_form.filled({"type": request.asked("type", "")}))


@get("/schedule/edit", opt=_STEERING)
async def edit(request: PageRequest) -> Response[bytes]:
    """Show the form of a periodic task that is to be changed, or stood in for."""
    info = await request.service.schedules.get(request.asked("id"))
    if info.entry is None:
        raise ScheduleElsewhere(info.id, info.origin, "an entry of a scheduler in Go; only that can change it")
    return await _form(request, schedule_form.written(info.entry))


@post("/schedule/save", opt=_STEERING)
async def save(request: PageRequest) -> Response[bytes]:
    """Keep a periodic task in Redis: the one that the address names, in place of what has its id, or a new one."""
    known = request.asked("id", "")
    fields = {**request.fields, "id": known} if known else request.fields
    try:
        command = schedule_form.read(fields)
        entry = await request.service.schedules.put(command, replace=bool(known))
    except InvalidOption as error:
        return await _form(request, schedule_form.filled(fields), error, _REFUSED)
    except ScheduleExists as error:
        taken = InvalidOption("id", str(error))
        return await _form(request, schedule_form.filled(fields), taken, _TAKEN)
    event = "schedule put" if known else "schedule created"
    request.audit(event, schedule_id=entry.id, spec=entry.spec, type=entry.type)
    text = f"The schedule {entry.id} is kept; a running scheduler has taken it up."
    return request.done(text, to=request.to_page("/schedule", id=entry.id))


@post("/schedule/preview", opt=_STEERING)
async def preview(request: PageRequest) -> Response[bytes]:
    """Show the form again with the next times of its rule, and keep nothing."""
    fields = request.fields
    try:
        runs = request.service.schedules.preview(
            fields.get("spec", "").strip(), timezone=fields.get("timezone", "").strip() or None, count=_RUNS
        )
    except InvalidOption as error:
        return await _form(request, schedule_form.filled(fields), error)
    return await _form(request, schedule_form.filled(fields), runs=runs)


async def _form(
    request: PageRequest,
    fields: Mapping[str, str],
    error: InvalidOption | None = None,
    status: int = 200,
    *,
    runs: list[datetime] | None = None,
) -> Response[bytes]:
    """Return the form with some values, and what is wrong with one of them."""
    service, known = request.service, request.asked("id", "")
    errors: dict[str, str] = {}
    if error is not None:
        place = schedule_form.PLACES.get(error.option, error.option)
        is_field = place in schedule_form.FIELDS and not (known and place == "id")
        errors = {place: error.reason} if is_field else {"": str(error)}
    return request.page(
        "schedule_form.html",
        status=status,
        known=known,
        back=request.to_page("/schedule/edit", id=known) if known else "/schedule/new",
        given=fields,
        errors=errors,
        opened=bool(known) or bool(errors.keys() & schedule_form.MORE),
        runs=runs,
        types=[entry.current.type for entry in await service.types() if not entry.current.prefix],
        queues=[info.queue for info in await service.queue_stats()],
    )


HANDLERS = [new, edit, save, preview]
