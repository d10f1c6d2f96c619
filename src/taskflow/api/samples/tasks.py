"""Samples of tasks. All but `hello` are in queues that the workers of `taskflow dev` do not serve, so they stay as they are."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import UNSET, structs

from taskflow.api.samples.sample import Sample
from taskflow.api.schemas.progress import ProgressBody
from taskflow.api.schemas.tasks import BatchCreated, BatchResult, Created, ResultBody, TaskBody, TaskSummary
from taskflow.api.schemas.values import Message

_STARTED_AT = datetime(2026, 11, 24, 12, 0, 5, 953507, tzinfo=UTC)
_RESULT = {"message": "hello", "steps": 4, "elapsed_seconds": 2.004}
_LATER = TaskBody(
    id="later",
    queue="trial",
    type="demo",
    state="scheduled",
    max_retry=3,
    retried=0,
    next_process_at=datetime(2030, 1, 31, 12, tzinfo=UTC),
    metadata={},
    timeout="30m",
    deadline=None,
    retention="1h",
    group=None,
    callback_url=None,
    pending_since=None,
    started_at=None,
    completed_at=None,
    archived_at=None,
    last_failed_at=None,
    cancelled=False,
    worker=None,
    orphaned=False,
    payload={"message": "later"},
    payload_encoding="json",
    result=None,
    result_encoding="json",
    attempts=[],
    progress=None,
)
_HELLO = structs.replace(
    _LATER,
    id="hello",
    queue="default",
    state="completed",
    next_process_at=UNSET,
    started_at=_STARTED_AT,
    completed_at=datetime(2026, 11, 24, 12, 0, 7, tzinfo=UTC),
    worker="d23c77e1-4fe3-4847-bbc3-99b04db2fdac",
    payload={"message": "hello", "count": 4},
    result=_RESULT,
    progress=ProgressBody(
        task_id="hello", percentage=100, stage="completed", message="hello", timestamp_ms=1795521607959
    ),
)
_WAITS = structs.replace(
    _LATER, state="pending", next_process_at=UNSET, pending_since=datetime(2026, 11, 24, 12, 1, 30, 23540, tzinfo=UTC)
)
_TRIAL = {"type": "demo", "queue": "trial"}

SAMPLES = {
    "createTask": Sample(
        body={**_TRIAL, "payload": {"message": "later"}, "task_id": "later", "process_in": "24h"},
        status=201,
        answer=Created("later", "trial", "scheduled"),
    ),
    "listTasks": Sample(
        parameters={"queue": "trial", "status": "scheduled", "size": 10},
        answer=[TaskSummary(**{name: getattr(_LATER, name) for name in TaskSummary.__struct_fields__})],
    ),
    "createTasks": Sample(
        body={
            "tasks": [
                *({**_TRIAL, "payload": {"message": name}, "task_id": name} for name in ("one", "two", "three")),
                {**_TRIAL, "payload": {"message": "four"}, "task_id": "four", "group": "letters"},
                {**_TRIAL, "payload": {"message": "five"}, "task_id": "five", "queue": "outdated"},
                {**_TRIAL, "payload": {"message": 6}},
            ]
        },
        answer=BatchCreated(
            5,
            1,
            [
                *(BatchResult(task_id=name, queue="trial", status="pending") for name in ("one", "two", "three")),
                BatchResult(task_id="four", queue="trial", status="aggregating"),
                BatchResult(task_id="five", queue="outdated", status="pending"),
                BatchResult(
                    error='payload: 6 is not of type "string" (at $.message)',
                    code="INVALID_PAYLOAD",
                    details={"path": "$.message", "expected": "string", "got": "integer"},
                ),
            ],
        ),
    ),
    "getTask": Sample(parameters={"task_id": "hello"}, answer=_HELLO),
    "editTask": Sample(parameters={"task_id": "later"}, body={"process_at": "2030-01-31T12:00:00Z"}, answer=_LATER),
    "deleteTask": Sample(parameters={"task_id": "one"}, answer=Message("task deleted")),
    "getResult": Sample(
        parameters={"task_id": "hello", "wait": "30s"},
        answer=ResultBody(task_id="hello", state="completed", result=_RESULT),
    ),
    "cancelTask": Sample(parameters={"task_id": "two"}, answer=Message("task cancelled")),
    "runTask": Sample(parameters={"task_id": "later"}, answer=_WAITS),
    "archiveTask": Sample(
        parameters={"task_id": "later"}, answer=structs.replace(_WAITS, state="archived", pending_since=None)
    ),
}
