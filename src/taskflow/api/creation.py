"""Creation: tasks, one by one and in batches."""

from __future__ import annotations

from urllib.parse import quote

from litestar import post
from litestar.openapi.datastructures import ResponseSpec
from msgspec import UNSET

from taskflow.api.answer import Answer
from taskflow.api.bodies import read_batch, read_body, read_task
from taskflow.api.errors import body_of
from taskflow.api.protocol import header
from taskflow.api.request import ApiRequest
from taskflow.api.schemas import tasks as schemas
from taskflow.application.commands import CreateTask
from taskflow.application.idempotency import RequestKey
from taskflow.errors import (
    IdempotencyConflict,
    InvalidCallbackUrl,
    InvalidOption,
    InvalidPayload,
    InvalidProcessAt,
    InvalidQueue,
    InvalidTaskId,
    InvalidTaskType,
    InvalidTimeout,
    InvalidUnique,
    PayloadTooLarge,
    TaskConflict,
    TaskFlowError,
)
from taskflow.task import TaskInfo

_IDEMPOTENCY = b"idempotency-key"
_CREATE = (
    InvalidOption,
    InvalidTaskType,
    InvalidPayload,
    PayloadTooLarge,
    InvalidTimeout,
    InvalidProcessAt,
    InvalidUnique,
    InvalidCallbackUrl,
    InvalidQueue,
    InvalidTaskId,
)
"""What can be wrong with a task that is to be created."""


@post(
    "/",
    opt={
        "body": schemas.CreateTaskBody,
        "headers": {
            "Idempotency-Key": "Of requests with the same key and the same body (byte for byte), one creates a task within "
            "24 h; 1 to 255 printable ASCII characters."
        },
        "sends": {"Location": "Where the task can be read."},
        "errors": (*_CREATE, TaskConflict, IdempotencyConflict),
    },
    operation_id="createTask",
    summary="Create a task",
    responses={
        200: ResponseSpec(
            schemas.Created,
            description="The task that holds the unique lock, if it asks for it; or that of an earlier request with this key.",
        )
    },
)
async def create(request: ApiRequest) -> Answer[schemas.Created]:
    """Create a task. Answers once it is stored; the header Location names it.

    Where its unique lock asks for the task that holds it, and there is one, that one is named: 200. So is the task that an
    earlier request with the same Idempotency-Key created; `status` is its state now, or the first one if it is gone.
    """
    body = await read_body(request)
    given = header(request.scope, _IDEMPOTENCY)  # as a parameter of Litestar's, it would cost the requests without it
    key = None if given is None else RequestKey(request.principal, given.decode("latin-1"), body)
    info = await request.service.create(read_task(body), key)
    if not info.existing:
        request.audit("task created", task_id=info.id, queue=info.queue, type=info.type)
    return Answer(
        schemas.created(info), 200 if info.existing else 201, {"Location": f"/api/v1/tasks/{quote(info.id, safe='')}"}
    )


@post(
    "/batch",
    status_code=200,
    opt={"body": schemas.BatchBody, "errors": (InvalidOption,)},
    operation_id="createTasks",
    summary="Create many tasks",
)
async def create_batch(request: ApiRequest) -> Answer[schemas.BatchCreated]:
    """Create tasks in one request. Each has its own result, in order: a task that cannot be used stops no other.

    An Idempotency-Key is refused here: give the tasks a `task_id` each, and send what failed again.
    """
    if header(request.scope, _IDEMPOTENCY) is not None:
        raise InvalidOption(
            "Idempotency-Key", "is not for batches; give each task a task_id, so that none is created twice"
        )
    body = await read_body(request)
    results: list[schemas.BatchResult | None] = []
    commands: list[CreateTask] = []
    for raw in read_batch(body, limit=request.around.settings.server.http.batch_limit):
        try:
            commands.append(read_task(raw))
            results.append(None)
        except InvalidOption as error:
            results.append(_refused(error))
    answers = iter(await request.service.create_many(commands))
    final = [_result(next(answers)) if result is None else result for result in results]
    failed = sum(result.error is not UNSET for result in final)
    existing = sum(result.existing for result in final)
    request.audit("tasks created", count=len(final) - failed - existing, failed=failed)
    return Answer(schemas.BatchCreated(len(final) - failed - existing, failed, final))


def _result(answer: TaskInfo | TaskFlowError) -> schemas.BatchResult:
    if isinstance(answer, TaskInfo):
        return schemas.BatchResult(
            task_id=answer.id, queue=answer.queue, status=answer.state.value, existing=answer.existing
        )
    return _refused(answer)


def _refused(error: TaskFlowError) -> schemas.BatchResult:
    body = body_of(error)
    return schemas.BatchResult(error=body.error, code=body.code, details=body.details)
