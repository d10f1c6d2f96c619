"""What schemathesis must know of the system it tests, beside the OpenAPI document.

JSON Schema cannot say which types the workers serve, which text is a cron expression, or that two options exclude each other.
So the document gets values for these, and a request that is to be accepted is kept from what the descriptions rule out.
Requests that are to be refused are sent as they were made.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import schemathesis
from schemathesis import Case, CheckContext, HookContext, Response
from schemathesis.checks import CHECKS
from schemathesis.specs.openapi import checks

TYPES = ["quick", "failing", "telling"]
"""The types that the worker of the test serves."""
_TIMES = ["", "2030-01-31T12:00:00Z", "2030-01-31T12:00:00.5+02:00", None]
_SPANS = ["", "0s", "30s", "1h30m", "1.5s", "+2m", None]
_LOCK = ["1s", "1h", "36h"]
_SPECS = ["@every 1h", "*/5 * * * *", "0 0 3 * * 1", "@daily", "CRON_TZ=Europe/Berlin 0 4 * * *"]
_PAYLOAD = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "number": {"type": "integer", "minimum": 0, "maximum": 100}},
    "additionalProperties": False,
}
_VALUES: dict[str, Any] = {
    "type": {"enum": TYPES},
    "payload": _PAYLOAD,
    "process_at": {"enum": _TIMES},
    "deadline": {"enum": _TIMES},
    "unique": {"anyOf": [{"enum": ["", "0s", *_LOCK, None]}, {"$ref": "#/components/schemas/UniqueBody"}]},
    "ttl": {"enum": _LOCK},
    "spec": {"enum": _SPECS},
    "timezone": {"enum": ["Europe/Berlin", "UTC", None]},
    "timeout": {"enum": _SPANS},
    "process_in": {"enum": _SPANS},
    "retention": {"enum": ["", "30s", "1h30m", None]},  # of none, a task would be gone before it is asked for
    "jitter": {"enum": ["0s", "30s"]},
}
_PROGRESS = "/progress"
_BODIES = ("CreateTaskBody", "EditTaskBody", "CreateScheduleBody", "PutScheduleBody", "UniqueBody")
_NAME = re.compile(r"[^{}\s]{1,30}")
_ID = re.compile(r"(?=.*\S).{1,60}", re.DOTALL)
_PRINTED = re.compile(r"(?=.*\S).{1,31}", re.DOTALL)
_WAIT = re.compile(r"[0-9]{0,3}(\.[0-9]*)?ms|0s|")


@schemathesis.hook
def before_load_schema(context: HookContext, raw_schema: dict[str, Any]) -> None:
    """Say what the document cannot know."""
    schemas = raw_schema["components"]["schemas"]
    for body in _BODIES:
        properties = schemas[body]["properties"]
        properties |= {name: values for name, values in _VALUES.items() if name in properties}
    schemas["EditTaskBody"]["minProperties"] = 1
    schemas["EditTaskBody"]["properties"]["process_at"] = {"enum": _TIMES[1:-1]}


for _name in ("use_after_free", "ensure_resource_availability"):
    CHECKS.unregister(_name)


@schemathesis.check
def use_after_free(context: CheckContext, response: Response, case: Case[Any]) -> bool | None:
    """What was deleted is not found, but for a task's progress: it is kept for an hour, whatever becomes of the task."""
    return None if _PROGRESS in case.operation.path else checks.use_after_free(context, response, case)


@schemathesis.check
def ensure_resource_availability(context: CheckContext, response: Response, case: Case[Any]) -> bool | None:
    """What was created is found, but for a task's progress: there is none before its handler tells of it."""
    return None if _PROGRESS in case.operation.path else checks.ensure_resource_availability(context, response, case)


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    """Keep a request that is to be accepted from what the descriptions rule out."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    _suit_path(case.path_parameters)
    _suit_query(case.query, str(case.path_parameters.get("status")))
    for name in ("Last-Event-ID", "Idempotency-Key"):
        if not re.fullmatch(r"\d{1,19}(-\d{1,19})?", str(case.headers.get(name, "0"))):
            case.headers[name] = "0"
    if isinstance(case.body, dict):
        _suit_body(case.body)


def _suit_path(path: dict[str, Any]) -> None:
    for name, pattern in (("queue", _NAME), ("task_id", _ID), ("schedule_id", _PRINTED), ("task_type", _ID)):
        if name in path and not _suits(unquote(str(path[name])), pattern):
            path[name] = "other"


def _suit_query(query: dict[str, Any], status: str) -> None:
    if not _suits(query.get("queue", "default"), _NAME):
        del query["queue"]
    if "cursor" in query:
        query["cursor"] = ""
        query.pop("page", None)
    if query.get("status") == "aggregating":
        query.setdefault("group", "some")
    if status != "aggregating" and "status" not in query:
        query.pop("group", None)
    if query.get("tasks"):
        query.setdefault("queue", "default")
    if not _suits(query.get("wait", ""), _WAIT):
        query["wait"] = "5ms"
    if "start_id" in query:
        query["start_id"] = "0"
    if "task_ids" in query:
        query["task_ids"] = "one"  # `Last-Event-ID` names a place for each


def _suit_body(body: dict[str, Any]) -> None:
    body.pop("callback_url", None)  # the settings allow none
    if body.get("process_at"):
        body.pop("process_in", None)
    for name, pattern in (("queue", _NAME), ("task_id", _ID), ("group", _ID)):
        if name in body and not _suits(body[name], pattern):
            del body[name]
    if "id" in body and not _suits(body["id"], _PRINTED):
        body["id"] = "nightly"
    for name in ("max_retries", "catch_up"):  # 3.0 is an integer for JSON Schema, but neither for Go nor for the API
        if isinstance(body.get(name), float):
            body[name] = int(body[name])
    lock = body.get("unique")
    if isinstance(lock, dict):
        lock.pop("fields", None)
        if not _suits(lock.get("key", "a"), _ID):
            del lock["key"]
        body.pop("group", None)


def _suits(value: object, pattern: re.Pattern[str]) -> bool:
    fits = isinstance(value, str) and pattern.fullmatch(value) is not None
    return fits and (pattern is _ID or str(value).isprintable())
