"""Schedules: periodic tasks, to look at, keep in Redis, pause and run now."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from litestar import Router, delete, get, post, put
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter

from taskflow.api.answer import Answer, Tagged
from taskflow.api.bodies import read_body, read_new_schedule, read_schedule
from taskflow.api.parameters import ScheduleId
from taskflow.api.request import ApiRequest
from taskflow.api.schemas import schedules as schemas
from taskflow.api.schemas.tasks import Created, created
from taskflow.api.schemas.values import Message
from taskflow.application.queries import MAX_PAGE
from taskflow.application.schedules import MAX_PAGE_SIZE, MAX_PREVIEW
from taskflow.errors import (
    DuplicateTask,
    InvalidOption,
    InvalidPayload,
    InvalidQueue,
    InvalidTaskType,
    InvalidTimeout,
    InvalidUnique,
    PayloadTooLarge,
    ScheduleElsewhere,
    ScheduleExists,
    ScheduleNotFound,
)

_PUT = (
    InvalidOption,
    InvalidTaskType,
    InvalidPayload,
    PayloadTooLarge,
    InvalidTimeout,
    InvalidUnique,
    InvalidQueue,
)
"""What can be wrong with a periodic task that is to be kept."""


@get("/", operation_id="listSchedules", summary="List schedules")
async def list_schedules(request: ApiRequest) -> Answer[list[schemas.ScheduleBody]]:
    """Return all periodic tasks, by id: those kept in Redis, those of the settings, those of schedulers that run, Go's too."""
    return Answer([schemas.schedule(info) for info in await request.service.schedules.list()])


@post(
    "/",
    opt={
        "body": schemas.CreateScheduleBody,
        "sends": {"Location": "Where the schedule can be read."},
        "errors": (*_PUT, ScheduleExists),
        "scope": "admin",
    },
    operation_id="createSchedule",
    summary="Create a schedule",
)
async def create(request: ApiRequest) -> Answer[schemas.ScheduleDetails]:
    """Keep a new periodic task in Redis; a scheduler that runs takes it up at once."""
    command = read_new_schedule(await read_body(request))
    entry = await request.service.schedules.put(command, replace=False)
    request.audit("schedule created", schedule_id=entry.id, spec=entry.spec, type=entry.type)
    return Answer(await _details(request, entry.id), 201, {"Location": f"/api/v1/schedules/{quote(entry.id, safe='')}"})


@get(
    "/{schedule_id:str}",
    opt={"errors": (InvalidOption, ScheduleNotFound), "etag": True},
    operation_id="getSchedule",
    summary="Read a schedule",
)
async def read(
    request: ApiRequest,
    schedule_id: ScheduleId,
    runs: Annotated[
        int,
        QueryParameter(
            name="next",
            description="How many of its next times, 1 to 1,000.",
            schema_extra={"minimum": 1, "maximum": MAX_PREVIEW},
        ),
    ] = 5,
) -> Answer[schemas.ScheduleDetails]:
    """Return a periodic task with its next times, as if it were not paused."""
    return Tagged(await _details(request, schedule_id, runs))


@put(
    "/{schedule_id:str}",
    opt={"body": schemas.PutScheduleBody, "errors": _PUT, "scope": "admin"},
    operation_id="putSchedule",
    summary="Create or replace a schedule",
    responses={201: ResponseSpec(schemas.ScheduleDetails, description="There was none of this id.")},
)
async def replace(request: ApiRequest, schedule_id: ScheduleId) -> Answer[schemas.ScheduleDetails]:
    """Keep a periodic task in Redis under an id, in place of the one that had it.

    One of the settings or of a program's code is stood in for until this one is deleted.
    """
    command = read_schedule(await read_body(request), schedule_id)
    try:
        entry, status = await request.service.schedules.put(command, replace=False), 201
    except ScheduleExists:
        entry, status = await request.service.schedules.put(command), 200
    request.audit("schedule put", schedule_id=entry.id, spec=entry.spec, type=entry.type)
    return Answer(await _details(request, entry.id), status)


@delete(
    "/{schedule_id:str}",
    status_code=200,
    opt={"errors": (ScheduleNotFound, ScheduleElsewhere), "scope": "admin"},
    operation_id="deleteSchedule",
    summary="Delete a schedule",
)
async def remove(request: ApiRequest, schedule_id: ScheduleId) -> Answer[Message]:
    """Forget a periodic task kept in Redis, with its events; tasks that it has enqueued stay."""
    await request.service.schedules.delete(schedule_id)
    request.audit("schedule deleted", schedule_id=schedule_id)
    return Answer(Message("schedule deleted"))


@post(
    "/{schedule_id:str}/run",
    opt={
        "sends": {"Location": "Where the task can be read."},
        "errors": (ScheduleNotFound, ScheduleElsewhere, DuplicateTask),
        "scope": "admin",
    },
    operation_id="runSchedule",
    summary="Run a schedule now",
)
async def run(request: ApiRequest, schedule_id: ScheduleId) -> Answer[Created]:
    """Enqueue a task of a schedule now, beside its times. The header Location names it."""
    info = await request.service.schedules.run(schedule_id)
    request.audit("schedule run", schedule_id=schedule_id, task_id=info.id)
    return Answer(created(info), 201, {"Location": f"/api/v1/tasks/{quote(info.id, safe='')}"})


@post(
    "/{schedule_id:str}/pause",
    status_code=200,
    opt={"errors": (ScheduleNotFound, ScheduleElsewhere), "scope": "admin"},
    operation_id="pauseSchedule",
    summary="Pause a schedule",
)
async def pause(request: ApiRequest, schedule_id: ScheduleId) -> Answer[schemas.ScheduleDetails]:
    """Let a periodic task fire no more; times that pass meanwhile are not missed ones."""
    await request.service.schedules.pause(schedule_id)
    request.audit("schedule paused", schedule_id=schedule_id)
    return Answer(await _details(request, schedule_id))


@post(
    "/{schedule_id:str}/resume",
    status_code=200,
    opt={"errors": (ScheduleNotFound, ScheduleElsewhere), "scope": "admin"},
    operation_id="resumeSchedule",
    summary="Resume a schedule",
)
async def resume(request: ApiRequest, schedule_id: ScheduleId) -> Answer[schemas.ScheduleDetails]:
    """Let a periodic task fire again, from now on."""
    await request.service.schedules.resume(schedule_id)
    request.audit("schedule resumed", schedule_id=schedule_id)
    return Answer(await _details(request, schedule_id))


@get(
    "/{schedule_id:str}/events",
    opt={"errors": (InvalidOption, ScheduleNotFound)},
    operation_id="listScheduleEvents",
    summary="List what a schedule has enqueued",
)
async def events(
    request: ApiRequest,
    schedule_id: ScheduleId,
    page: Annotated[
        int, QueryParameter(description="Counts from 0.", schema_extra={"minimum": 0, "maximum": MAX_PAGE})
    ] = 0,
    size: Annotated[
        int,
        QueryParameter(
            description="Events on a page, 1 to 1,000.", schema_extra={"minimum": 1, "maximum": MAX_PAGE_SIZE}
        ),
    ] = 20,
) -> Answer[list[schemas.EventBody]]:
    """Return one page of what a periodic task has enqueued, the newest first."""
    found = await request.service.schedules.events(schedule_id, page=page, size=size)
    return Answer([schemas.event(each) for each in found])


async def _details(request: ApiRequest, schedule_id: str, runs: int = 5) -> schemas.ScheduleDetails:
    info = await request.service.schedules.get(schedule_id)
    return schemas.details(info, request.service.schedules.preview(info.spec, count=runs))


ROUTER = Router(
    "/schedules",
    route_handlers=[list_schedules, create, read, replace, remove, run, pause, resume, events],
    tags=["schedules"],
)
