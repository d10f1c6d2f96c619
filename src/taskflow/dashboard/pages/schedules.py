"""Schedules: periodic tasks, with their next times, what they have enqueued, and what can be done with them."""

from __future__ import annotations

from datetime import datetime

import msgspec
from litestar import Response, get, post

from taskflow.application import unique
from taskflow.application.schedules import ScheduleInfo
from taskflow.broker.schedules import Pulse
from taskflow.dashboard import schedule_form, values
from taskflow.dashboard.messages import Undo
from taskflow.dashboard.question import Question
from taskflow.dashboard.request import PageRequest
from taskflow.errors import InvalidOption

SIZE = 50
"""How many stand on a page of the list."""
_EVENTS = 20
_RUNS = 5
_AGE = 2.0
"""How old (s) the list of a page that is looked at may be."""
_STEERING = {"scope": "admin"}


@get("/schedules")
async def show_all(request: PageRequest) -> Response[bytes]:
    """Show the periodic tasks, by id; those alone whose id or type holds what is searched."""
    schedules = request.service.schedules

    async def read() -> tuple[list[ScheduleInfo], Pulse]:
        return await schedules.list(), await schedules.pulse()

    infos, pulse = await request.live_glance("schedules", _AGE, read)
    wanted = request.asked("q", "").casefold()
    found = [info for info in infos if wanted in info.id.casefold() or wanted in info.type.casefold()]
    number = request.asked_number("page")
    return request.page(
        "schedules.html",
        schedules=found[number * SIZE : (number + 1) * SIZE],
        found=len(found),
        total=len(infos),
        number=number,
        size=SIZE,
        pulse=pulse,
    )


@get("/schedule")
async def show(request: PageRequest) -> Response[bytes]:
    """Show a periodic task: when it fires, what it enqueues and has enqueued."""
    schedules, number = request.service.schedules, request.asked_number("page")
    info = await schedules.get(request.asked("id"))
    return request.page(
        "schedule.html",
        schedule=info,
        runs=_runs(request, info),
        events=await schedules.events(info.id, page=number, size=_EVENTS),
        number=number,
        size=_EVENTS,
        payload=values.shown(info.payload) if request.frame.sees_payloads else None,
        lock=_lock(info),
        deletion=deletion_question(info.id),
    )


def _runs(request: PageRequest, info: ScheduleInfo) -> list[datetime]:
    try:
        return request.service.schedules.preview(info.spec, count=_RUNS)
    except InvalidOption:  # a scheduler in Go may know rules that this does not
        return []


def _lock(info: ScheduleInfo) -> str:
    """Return the unique lock of its tasks in a line."""
    lock = unique.shown(None if info.entry is None else info.entry.unique)
    if isinstance(lock, dict):
        return ", ".join(f"{name} {msgspec.json.encode(value).decode()}" for name, value in lock.items())
    return lock or ""


@post("/schedule/pause", opt=_STEERING)
async def pause(request: PageRequest) -> Response[bytes]:
    """Let a periodic task fire no more."""
    name = request.asked("id")
    await request.service.schedules.pause(name)
    request.audit("schedule paused", schedule_id=name)
    text = f"The schedule {name} is paused: its times pass, and are not made up for."
    return request.done(text, undo=Undo("Resume it", "/schedule/resume", {"id": name}))


@post("/schedule/resume", opt=_STEERING)
async def resume(request: PageRequest) -> Response[bytes]:
    """Let a periodic task fire again."""
    name = request.asked("id")
    await request.service.schedules.resume(name)
    request.audit("schedule resumed", schedule_id=name)
    return request.done(
        f"The schedule {name} fires again, from now on.", undo=Undo("Pause it", "/schedule/pause", {"id": name})
    )


@post("/schedule/run", opt=_STEERING)
async def run(request: PageRequest) -> Response[bytes]:
    """Enqueue a task of a periodic one now, beside its times."""
    name = request.asked("id")
    info = await request.service.schedules.run(name)
    request.audit("schedule run", schedule_id=name, task_id=info.id)
    return request.done(f"{name} was run: the task {info.id} is {info.state} in the queue {info.queue}.")


@post("/schedule/delete", opt=_STEERING)
async def delete(request: PageRequest) -> Response[bytes]:
    """Forget a periodic task kept in Redis, once it is confirmed."""
    name = request.asked("id")
    info = await request.service.schedules.get(name)
    if info.origin == "redis" and not request.confirmed:
        return request.ask(deletion_question(name))
    await request.service.schedules.delete(name)
    request.audit("schedule deleted", schedule_id=name)
    undo = None
    if info.entry is not None:
        undo = Undo("Restore it", "/schedule/save", fields=schedule_form.written(info.entry))
    return request.done(f"The schedule {name} is gone.", to=request.to_page("/schedules"), undo=undo)


def deletion_question(name: str) -> Question:
    """Return what is asked before a periodic task is deleted."""
    detail = "What is kept of its past goes with it; tasks that it has enqueued stay."
    return Question(text=f"Delete the schedule {name}?", yes="Delete", detail=detail)


HANDLERS = [show_all, show, pause, resume, run, delete]
