"""Followups: what can be asked next of what an answer names, as links of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

_OF_TASK = (
    "getTask",
    "getResult",
    "getProgress",
    "getProgressHistory",
    "getProgressInfo",
    "followProgress",
    "editTask",
    "runTask",
    "archiveTask",
    "cancelTask",
    "deleteTask",
)
_OF_QUEUE = ("getQueue", "getQueueHistory", "listGroups", "pauseQueue", "resumeQueue", "deleteQueue")
_OF_SCHEDULE = (
    "getSchedule",
    "putSchedule",
    "runSchedule",
    "pauseSchedule",
    "resumeSchedule",
    "listScheduleEvents",
    "deleteSchedule",
)


class Followups(Struct, frozen=True):
    """The operations that take what an answer names: their parameters, and where in the body their values are."""

    operations: tuple[str, ...]
    parameters: Mapping[str, str]


_NEW_TASK = Followups(_OF_TASK, {"task_id": "/task_id", "queue": "/queue"})
_TASK = Followups(_OF_TASK, {"task_id": "/id", "queue": "/queue"})
_QUEUE = Followups(_OF_QUEUE, {"queue": "/queue"})
_SCHEDULE = Followups(_OF_SCHEDULE, {"schedule_id": "/id"})
_FOLLOWUPS: dict[str, tuple[Followups, ...]] = {
    "createTask": (_NEW_TASK, _QUEUE),
    "runSchedule": (_NEW_TASK, _QUEUE),
    "getTask": (_TASK,),
    "editTask": (_TASK,),
    "runTask": (_TASK,),
    "archiveTask": (_TASK,),
    "getQueue": (_QUEUE,),
    "pauseQueue": (_QUEUE,),
    "resumeQueue": (_QUEUE,),
    "createSchedule": (_SCHEDULE,),
    "putSchedule": (_SCHEDULE,),
}


def add_to(document: dict[str, Any]) -> None:
    """Write the links into the successful answers of an OpenAPI document."""
    operations = {
        operation["operationId"]: operation for item in document["paths"].values() for operation in item.values()
    }
    for name, followups in _FOLLOWUPS.items():
        links = {
            other: _link(other, operations[other], each.parameters)
            for each in followups
            for other in each.operations
            if other != name
        }
        for status in {"200", "201"} & operations[name]["responses"].keys():
            operations[name]["responses"][status]["links"] = links


def _link(name: str, operation: dict[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    """Return a link to an operation, with those values that it takes."""
    known = {parameter["name"] for parameter in operation["parameters"]}
    parameters = {key: f"$response.body#{where}" for key, where in values.items() if key in known}
    return {"operationId": name, "parameters": parameters}
