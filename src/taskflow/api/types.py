"""Task types: what the workers have published of the tasks they serve."""

from __future__ import annotations

from litestar import Router, get

from taskflow.api.answer import Answer, Tagged
from taskflow.api.parameters import TypeName
from taskflow.api.request import ApiRequest
from taskflow.api.schemas import types as schemas
from taskflow.errors import TaskTypeNotFound


@get("/", operation_id="listTaskTypes", summary="List task types")
async def list_types(request: ApiRequest) -> Answer[list[schemas.TaskTypeBody]]:
    """Return all task types with the schemas of their payloads, their defaults, their versions, and who serves them.

    Go's workers publish no types.
    """
    return Answer([schemas.task_type(entry) for entry in await request.service.types()])


@get(
    "/{task_type:path}",
    opt={"errors": (TaskTypeNotFound,), "etag": True},
    operation_id="getTaskType",
    summary="Read a task type",
)
async def read(request: ApiRequest, task_type: TypeName) -> Answer[schemas.TaskTypeBody]:
    """Return a task type."""
    return Tagged(schemas.task_type(await request.service.type(task_type.removeprefix("/"))))


ROUTER = Router("/task-types", route_handlers=[list_types, read], tags=["task types"], opt={"limited": True})
