"""Samples of what stands around tasks: types, servers, health."""

from __future__ import annotations

from datetime import UTC, datetime

from taskflow.api.samples.sample import DEV, Sample
from taskflow.api.schemas.health import Alive, HealthBody, Ready
from taskflow.api.schemas.servers import ServerBody
from taskflow.api.schemas.types import ServingBody, TaskTypeBody, TypeVersionBody
from taskflow.api.schemas.values import Message

_NOW = datetime(2026, 11, 24, 12, 13, 51, 234033, tzinfo=UTC)
_SCHEMA = {
    "title": "demo",
    "type": "object",
    "properties": {
        "message": {"type": "string", "description": "Said with every step."},
        "count": {
            "type": "integer",
            "minimum": 0,
            "maximum": 10_000,
            "default": 5,
            "description": "How many steps to take.",
        },
    },
    "required": ["message"],
    "additionalProperties": False,
    "description": "Take some steps of half a second each, and tell of every one.",
    "examples": [{"message": "hello", "count": 10}],
}
_DEMO = TaskTypeBody(
    type="demo",
    prefix=False,
    schema=_SCHEMA,
    doc="Take some steps of half a second each, and tell of every one.",
    queue=None,
    max_retries=None,
    timeout=None,
    unique=None,
    callback_url=None,
    version=None,
    first_seen=_NOW,
    last_seen=_NOW,
    versions=[
        TypeVersionBody(
            id="6e0ad3d2f0c1",
            version=None,
            schema=_SCHEMA,
            accepted=True,
            serving=1,
            first_seen=_NOW,
            last_seen=_NOW,
        )
    ],
    serving=1,
    servers=[
        ServingBody(
            id="d23c77e1-4fe3-4847-bbc3-99b04db2fdac",
            host="worker-1",
            pid=4711,
            status="active",
            queues={"critical": 6, "default": 3, "low": 1},
            version_id="6e0ad3d2f0c1",
        )
    ],
)
_WORKER = ServerBody(
    id="d23c77e1-4fe3-4847-bbc3-99b04db2fdac",
    host="worker-1",
    pid=4711,
    status="active",
    concurrency=100,
    queues={"critical": 6, "default": 3, "low": 1},
    strict_priority=False,
    started_at=datetime(2026, 11, 24, 12, 0, 0, 798687, tzinfo=UTC),
    active_count=0,
    running=[],
)
_METRICS = """\
# HELP taskflow_http_requests_total HTTP requests
# TYPE taskflow_http_requests_total counter
taskflow_http_requests_total{method="POST",route="/api/v1/tasks",status="201"} 2.0
"""

SAMPLES = {
    "listTaskTypes": Sample(answer=[_DEMO]),
    "getTaskType": Sample(parameters={"task_type": "demo"}, answer=_DEMO),
    "listServers": Sample(answer=[_WORKER]),
    "drainServer": Sample(
        parameters={"server_id": _WORKER.id},
        found={"server_id": f'curl -s {DEV}/api/v1/servers | grep -o \'"id":"[^"]*\' | head -1 | cut -d\'"\' -f4'},
        status=202,
        answer=Message("server drains"),
    ),
    "health": Sample(answer=HealthBody("healthy", _NOW, {"redis": "healthy"})),
    "ready": Sample(answer=Ready("ready")),
    "live": Sample(answer=Alive()),
    "metrics": Sample(answer=_METRICS),
}
