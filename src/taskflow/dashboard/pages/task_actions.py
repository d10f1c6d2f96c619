"""What can be done to one task: run it, give it up, stop it, delete it."""

from __future__ import annotations

from litestar import Response, post

from taskflow.application.commands import Action, ArchiveTask, CancelTask, DeleteTask, RunTask
from taskflow.application.queries import GetTask
from taskflow.dashboard.messages import Undo
from taskflow.dashboard.offers import offer_of
from taskflow.dashboard.request import PageRequest
from taskflow.task import TaskInfo, TaskState

_LIMITED = {"limited": True}


@post("/task/run", opt=_LIMITED)
async def run(request: PageRequest) -> Response[bytes]:
    """Run a task now, whatever it waits for or however it ended."""
    queue, task_id = _subject(request)
    state = await request.service.run(RunTask(task_id, queue))
    request.audit("task run", task_id=task_id, queue=queue, state=state.value)
    return request.done(f"The task was {state.value}, and waits for a worker now.", to=_page(request))


@post("/task/archive", opt=_LIMITED)
async def archive(request: PageRequest) -> Response[bytes]:
    """Give a task up."""
    queue, task_id = _subject(request)
    state = await request.service.archive(ArchiveTask(task_id, queue))
    request.audit("task archived", task_id=task_id, queue=queue, state=state.value)
    return request.done("The task is archived: it is not tried again.", to=_page(request), undo=_undo(request, state))


@post("/task/cancel", opt=_LIMITED)
async def cancel(request: PageRequest) -> Response[bytes]:
    """Stop a task for good, once it is confirmed."""
    queue, task_id = _subject(request)
    if not request.confirmed:
        info = await request.service.get(GetTask(task_id, queue))
        return _ask(request, info, "cancel")
    state = await request.service.cancel(CancelTask(task_id, queue))
    request.audit("task cancelled", task_id=task_id, state=state.value)
    text = "The task is told to stop." if state is TaskState.ACTIVE else "The task is cancelled."
    return request.done(text, to=_page(request), undo=_undo(request, state))


@post("/task/delete", opt=_LIMITED)
async def delete(request: PageRequest) -> Response[bytes]:
    """Delete a task, once it is confirmed."""
    queue, task_id = _subject(request)
    info = await request.service.get(GetTask(task_id, queue))
    if not request.confirmed:
        return _ask(request, info, "delete")
    await request.service.delete(DeleteTask(task_id, queue))
    request.audit("task deleted", task_id=task_id)
    to = request.to_page("/queue", name=queue, state=info.state.value)
    return request.done(f"The task {task_id} is deleted.", to=to)


def _ask(request: PageRequest, info: TaskInfo, action: Action) -> Response[bytes]:
    """Ask whether it is meant. Raises `InvalidTaskState` if it cannot be done."""
    question = offer_of(action, info.state).question_of(info)
    assert question is not None  # noqa: S101 - both actions are grave
    return request.ask(question)


def _subject(request: PageRequest) -> tuple[str, str]:
    return request.asked("queue"), request.asked("id")


def _page(request: PageRequest) -> str:
    queue, task_id = _subject(request)
    return request.to_page("/task", queue=queue, id=task_id)


def _undo(request: PageRequest, state: TaskState) -> Undo | None:
    """Return the way back for a task that was pending; one that had a time to wait for has lost it."""
    if state is not TaskState.PENDING:
        return None
    queue, task_id = _subject(request)
    return Undo("Put it back", "/task/run", {"queue": queue, "id": task_id})


HANDLERS = [run, archive, cancel, delete]
