"""Samples of queues: of `trial` and `outdated`, with the tasks of the samples before these."""

from __future__ import annotations

from datetime import date

from msgspec import structs

from taskflow.api.events import event
from taskflow.api.samples.sample import Sample
from taskflow.api.schemas.changes import QueuesEvent
from taskflow.api.schemas.queues import DayBody, GroupBody, QueueBody, QueueDeleted, QueueDetails
from taskflow.api.schemas.tasks import SteeredBody

_TRIAL = QueueDetails(
    queue="trial",
    pending=1,
    active=0,
    scheduled=0,
    retry=0,
    archived=2,
    completed=0,
    aggregating=1,
    size=4,
    processed=0,
    failed=0,
    processed_total=0,
    failed_total=0,
    paused=False,
    latency_ms=4210,
    memory_bytes=2016,
)
_STATE = QueueBody(**{name: getattr(_TRIAL, name) for name in QueueBody.__struct_fields__})
_DEFAULT = structs.replace(
    _STATE, queue="default", pending=0, archived=0, completed=1, aggregating=0, size=1, processed=1, latency_ms=0
)
_EVENT = event("queues", QueuesEvent([_STATE], removed=[])).decode()
_QUEUE = {"queue": "trial"}
_ONE = SteeredBody(1, complete=True, next_cursor=None)

SAMPLES = {
    "listQueues": Sample(answer=[_DEFAULT, _STATE]),
    "queueStats": Sample(parameters=_QUEUE, answer=[_STATE]),
    "getQueue": Sample(parameters=_QUEUE, answer=_TRIAL),
    "deleteQueue": Sample(parameters={"queue": "outdated", "force": True}, answer=QueueDeleted("queue deleted", 1)),
    "getQueueHistory": Sample(
        parameters={"queue": "default", "days": 2},
        answer=[DayBody(date(2026, 11, 24), 1, 0), DayBody(date(2026, 11, 23), 0, 0)],
    ),
    "listGroups": Sample(parameters=_QUEUE, answer=[GroupBody("letters", 1)]),
    "pauseQueue": Sample(parameters=_QUEUE, answer=structs.replace(_STATE, paused=True)),
    "resumeQueue": Sample(parameters=_QUEUE, answer=_STATE),
    "followQueues": Sample(parameters={**_QUEUE, "tasks": True}, answer=_EVENT, endless=True),
    "runAllTasks": Sample(parameters={**_QUEUE, "status": "aggregating", "group": "letters"}, answer=_ONE),
    "cancelAllTasks": Sample(parameters={**_QUEUE, "status": "pending", "q": "three"}, answer=_ONE),
    "archiveAllTasks": Sample(parameters={**_QUEUE, "status": "pending"}, answer=_ONE),
    "deleteAllTasks": Sample(
        parameters={**_QUEUE, "status": "archived", "type": "demo"}, answer=structs.replace(_ONE, count=4)
    ),
}
