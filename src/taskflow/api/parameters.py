"""Parameters that several resources take, with what OpenAPI says of them."""

from __future__ import annotations

from typing import Annotated

from litestar.params import HeaderParameter, PathParameter, QueryParameter

TaskId = Annotated[str, PathParameter(description="The task's id.")]
QueueName = Annotated[str, PathParameter(description="The queue's name.")]
TypeName = Annotated[str, PathParameter(description="The task type, or the prefix of types.")]
Queue = Annotated[str | None, QueryParameter(description="The task's queue; without it all are searched.")]
ScheduleId = Annotated[str, PathParameter(description="The schedule's id.")]
ServerId = Annotated[str, PathParameter(description="The worker server's id.")]
IfMatch = Annotated[
    str | None,
    HeaderParameter(name="If-Match", description="The ETag it must still have; otherwise nothing is changed: 412."),
]
