"""Samples of schedules: `nightly` and `hourly`, kept in Redis."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import structs

from taskflow.api.samples.sample import Sample
from taskflow.api.schemas.schedules import EventBody, ScheduleBody, ScheduleDetails
from taskflow.api.schemas.tasks import Created
from taskflow.api.schemas.values import Message

_NEXT = [datetime(2026, 11, day, 2, tzinfo=UTC) for day in (25, 26)]
_NIGHTLY = ScheduleDetails(
    id="nightly",
    spec="0 3 * * *",
    timezone="Europe/Berlin",
    type="demo",
    payload={"message": "good night"},
    payload_encoding="json",
    origin="redis",
    paused=False,
    last_fired=None,
    next_fire=_NEXT[0],
    queue="default",
    max_retries=3,
    timeout="30m",
    unique=None,
    metadata={},
    retention="1h",
    missed="skip",
    catch_up=100,
    jitter="0s",
    options=['Queue("default")', "MaxRetry(3)", "Timeout(30m)", "Retention(1h)"],
    next_runs=_NEXT,
)
_STATE = ScheduleBody(**{name: getattr(_NIGHTLY, name) for name in ScheduleBody.__struct_fields__})
_HOURLY = structs.replace(
    _NIGHTLY,
    id="hourly",
    spec="@hourly",
    timezone=None,
    payload={"message": "ding"},
    next_fire=datetime(2026, 11, 24, 13, tzinfo=UTC),
    unique="30m",
    options=['Queue("default")', "MaxRetry(3)", "Timeout(30m)", "Retention(1h)", "Unique(30m)"],
    next_runs=[datetime(2026, 11, 24, hour, tzinfo=UTC) for hour in (13, 14)],
)
_RUN = "410ddb02-3671-42c6-aee4-e2f606b5ec36"
_ID = {"schedule_id": "nightly"}

SAMPLES = {
    "createSchedule": Sample(
        body={
            "id": "nightly",
            "spec": "0 3 * * *",
            "timezone": "Europe/Berlin",
            "type": "demo",
            "payload": {"message": "good night"},
        },
        status=201,
        answer=_NIGHTLY,
    ),
    "listSchedules": Sample(answer=[_STATE]),
    "getSchedule": Sample(parameters={**_ID, "next": 2}, answer=_NIGHTLY),
    "putSchedule": Sample(
        parameters={"schedule_id": "hourly"},
        body={"spec": "@hourly", "type": "demo", "payload": {"message": "ding"}, "unique": "30m"},
        status=201,
        answer=_HOURLY,
    ),
    "deleteSchedule": Sample(parameters={"schedule_id": "hourly"}, answer=Message("schedule deleted")),
    "runSchedule": Sample(parameters=_ID, status=201, answer=Created(_RUN, "default", "pending")),
    "listScheduleEvents": Sample(
        parameters=_ID, answer=[EventBody(_RUN, datetime(2026, 11, 24, 12, 13, 51, 185419, tzinfo=UTC))]
    ),
    "pauseSchedule": Sample(parameters=_ID, answer=structs.replace(_NIGHTLY, paused=True, next_fire=None)),
    "resumeSchedule": Sample(parameters=_ID, answer=_NIGHTLY),
}
