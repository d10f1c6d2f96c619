"""Schedules over HTTP: periodic tasks, kept, looked at, paused and run."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from taskflow import Client, ScheduleEntry, ScheduleStore

SCHEDULES = "/api/v1/schedules"
NIGHTLY: dict[str, Any] = {"id": "nightly", "spec": "0 3 * * *", "type": "demo", "payload": {"message": "hello"}}


@pytest.fixture(autouse=True)
async def _published(publish: Any) -> None:
    await publish()


def without_id(**more: Any) -> dict[str, Any]:
    """The body that keeps a schedule under an id of the path."""
    return {name: value for name, value in {**NIGHTLY, **more}.items() if name != "id"}


async def test_a_schedule_is_created_read_and_listed(http: httpx.AsyncClient) -> None:
    body = {**NIGHTLY, "timezone": "Europe/Berlin", "queue": "low", "unique": "1h", "missed": "once", "jitter": "5s"}

    created = await http.post(SCHEDULES, json=body)
    read = await http.get(created.headers["location"], params={"next": 3})
    every = (await http.get(SCHEDULES)).json()

    assert created.status_code == 201
    details = read.json()
    assert len(details.pop("next_runs")) == 3
    assert every == [details]
    assert details.pop("next_fire").endswith("Z")
    assert details == {
        "id": "nightly",
        "spec": "0 3 * * *",
        "timezone": "Europe/Berlin",
        "type": "demo",
        "payload": {"message": "hello"},
        "payload_encoding": "json",
        "origin": "redis",
        "paused": False,
        "last_fired": None,
        "queue": "low",
        "max_retries": 3,
        "timeout": "30m",
        "unique": "1h",
        "metadata": {},
        "retention": "1h",
        "missed": "once",
        "catch_up": 100,
        "jitter": "5s",
        "options": ['Queue("low")', "MaxRetry(3)", "Timeout(30m)", "Retention(1h)", "Unique(1h)"],
    }


async def test_an_id_is_taken_once(http: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(http.post(SCHEDULES, json=NIGHTLY) for _ in range(8)))

    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 7]
    refused = next(answer for answer in answers if answer.status_code == 409).json()
    assert (refused["code"], refused["details"]) == ("SCHEDULE_ALREADY_EXISTS", {"schedule_id": "nightly"})


async def test_a_schedule_is_put_and_replaced(http: httpx.AsyncClient) -> None:
    first = await http.put(f"{SCHEDULES}/nightly", json=without_id())
    second = await http.put(f"{SCHEDULES}/nightly", json=without_id(spec="@hourly"))

    assert (first.status_code, second.status_code) == (201, 200)
    assert (await http.get(f"{SCHEDULES}/nightly")).json()["spec"] == "@hourly"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"spec": "61 * * * *"}, "INVALID_REQUEST"),
        ({"spec": 5}, "INVALID_REQUEST"),
        ({"timezone": "Nowhere/Land"}, "INVALID_REQUEST"),
        ({"type": "unheard"}, "INVALID_TASK_TYPE"),
        ({"payload": {"message": 3}}, "INVALID_PAYLOAD"),
        ({"queue": "a b"}, "INVALID_QUEUE"),
        ({"timeout": "soon"}, "INVALID_TIMEOUT"),
        ({"unique": "1ms"}, "INVALID_UNIQUE"),
        ({"missed": "never"}, "INVALID_REQUEST"),
        ({"jitter": "-1s"}, "INVALID_REQUEST"),
        ({"color": "red"}, "INVALID_REQUEST"),
    ],
)
async def test_a_schedule_that_cannot_be_kept(http: httpx.AsyncClient, change: dict[str, Any], code: str) -> None:
    created = await http.post(SCHEDULES, json={**NIGHTLY, **change})
    replaced = await http.put(f"{SCHEDULES}/nightly", json=without_id(**change))

    assert (created.status_code, created.json()["code"]) == (400, code)
    assert (replaced.status_code, replaced.json()["code"]) == (400, code)
    assert (await http.get(SCHEDULES)).json() == []


async def test_a_schedule_is_paused_resumed_and_deleted(http: httpx.AsyncClient) -> None:
    await http.post(SCHEDULES, json=NIGHTLY)

    with capture_logs() as logs:
        paused = (await http.post(f"{SCHEDULES}/nightly/pause")).json()
        resumed = (await http.post(f"{SCHEDULES}/nightly/resume")).json()
        deleted = await http.delete(f"{SCHEDULES}/nightly")

    assert (paused["paused"], paused["next_fire"], len(paused["next_runs"])) == (True, None, 5)
    assert (resumed["paused"], resumed["next_fire"]) == (False, resumed["next_runs"][0])
    assert (deleted.status_code, deleted.json()) == (200, {"message": "schedule deleted"})
    assert (await http.get(f"{SCHEDULES}/nightly")).status_code == 404
    audit = [line["event"] for line in logs if line.get("schedule_id") == "nightly"]
    assert audit == ["schedule paused", "schedule resumed", "schedule deleted"]


async def test_a_schedule_is_run_now_and_its_events_say_so(http: httpx.AsyncClient) -> None:
    await http.post(SCHEDULES, json={**NIGHTLY, "unique": "1h"})

    run = await http.post(f"{SCHEDULES}/nightly/run")
    again = await http.post(f"{SCHEDULES}/nightly/run")
    events = (await http.get(f"{SCHEDULES}/nightly/events")).json()

    assert (run.status_code, run.json()["status"]) == (201, "pending")
    assert (await http.get(run.headers["location"])).json()["payload"] == {"message": "hello"}
    assert (again.status_code, again.json()["code"]) == (409, "TASK_ALREADY_EXISTS")
    assert [event["task_id"] for event in events] == [run.json()["task_id"]]
    assert (await http.get(f"{SCHEDULES}/nightly/events?page=1")).json() == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/run"),
        ("POST", "/pause"),
        ("POST", "/resume"),
        ("GET", "/events"),
    ],
)
async def test_a_schedule_that_is_not_there(http: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await http.request(method, f"{SCHEDULES}/nobody{path}")

    assert (answer.status_code, answer.json()["code"]) == (404, "SCHEDULE_NOT_FOUND")


@pytest.mark.parametrize("path", ["?next=0", "/events?size=0", "/events?page=-1", "?next=many"])
async def test_a_number_that_cannot_be_used(http: httpx.AsyncClient, path: str) -> None:
    await http.post(SCHEDULES, json=NIGHTLY)

    answer = await http.get(f"{SCHEDULES}/nightly{path}")

    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST")


async def test_a_schedule_of_a_program_can_be_paused_but_not_deleted(http: httpx.AsyncClient, client: Client) -> None:
    entry = ScheduleEntry(id="coded", spec="@every 1h", type="demo", timeout=timedelta(minutes=1))
    store = ScheduleStore(client.broker)
    await store.publish((await store.snapshot()).states({"coded": entry}, now=store._now()).values())

    read = (await http.get(f"{SCHEDULES}/coded")).json()
    deleted = await http.delete(f"{SCHEDULES}/coded")

    assert (read["origin"], read["payload"], read["timeout"]) == ("code", None, "1m")
    assert (deleted.status_code, deleted.json()["code"]) == (409, "SCHEDULE_ELSEWHERE")
    assert (await http.post(f"{SCHEDULES}/coded/pause")).json()["paused"] is True
