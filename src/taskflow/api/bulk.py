"""Bulk: something done to all tasks of a state, or to those that fit."""

from __future__ import annotations

import time
from typing import Annotated, get_args

from litestar import Router, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import PathParameter, QueryParameter

from taskflow.api.answer import Answer
from taskflow.api.parameters import QueueName
from taskflow.api.request import ApiRequest
from taskflow.api.schemas import tasks as schemas
from taskflow.api.tasks import read_state
from taskflow.application.commands import Action, SteerMatching
from taskflow.broker.steering import ARCHIVE, CANCEL, DELETE, RUN, Order
from taskflow.errors import InvalidOption, InvalidQueue, InvalidTaskState, QueueNotFound

MAX_SECONDS = 20.0
"""After which a request answers with what it has done: proxies and clients wait no longer than 30 or 60 s by habit."""
_WORDS: dict[Action, tuple[str, str, Order]] = {
    "run": ("Run tasks now", "tasks run", RUN),
    "archive": ("Give up tasks", "tasks archived", ARCHIVE),
    "delete": ("Delete tasks", "tasks deleted", DELETE),
    "cancel": ("Cancel tasks", "tasks cancelled", CANCEL),
}


def _handler(action: Action) -> HTTPRouteHandler:
    """Return the handler that does something to all tasks of a state."""
    summary, event, order = _WORDS[action]

    async def steer(
        request: ApiRequest,
        *,
        queue: QueueName,
        status: Annotated[str, PathParameter(description="In which state the tasks are.")],
        task_type: Annotated[str | None, QueryParameter(name="type", description="Only tasks of this type.")] = None,
        text: Annotated[
            str | None,
            QueryParameter(name="q", description="Only tasks whose id, last error or payload holds this text."),
        ] = None,
        group: Annotated[
            str | None, QueryParameter(description="Only this group, of aggregating tasks. Default: all groups.")
        ] = None,
        cursor: Annotated[
            str, QueryParameter(description="The `next_cursor` of an answer that was not complete.")
        ] = "",
    ) -> Answer[schemas.SteeredBody]:
        """Do it to all tasks of a queue in a state, or to those that fit, in bounded chunks.

        It works for up to 20 s. What is left then is done by the same request with the `next_cursor` of the answer.
        """
        command = SteerMatching(
            action=action,
            queue=queue,
            state=read_state(status),
            type=task_type,
            text=text or None,
            group=group,
            cursor=cursor,
        )
        ends_at = time.monotonic() + MAX_SECONDS
        closing = request.around.closing
        done = await request.service.scan.steer(command, lambda: time.monotonic() < ends_at and not closing.is_set())
        request.audit(event, queue=queue, state=status, count=done.count, type=task_type, q=text, group=group)
        return Answer(schemas.SteeredBody(done.count, done.next_cursor is None, done.next_cursor))

    return post(
        f"/queues/{{queue:str}}/tasks/{{status:str}}/{action}",
        status_code=200,
        opt={
            "errors": (InvalidOption, InvalidTaskState, InvalidQueue, QueueNotFound),
            "scope": "admin",
            "limited": True,
            "values": {"status": sorted(order.states)},
        },
        operation_id=f"{action}AllTasks",
        summary=summary,
    )(steer)


ROUTER = Router("/", route_handlers=[_handler(action) for action in get_args(Action)], tags=["queues"])
