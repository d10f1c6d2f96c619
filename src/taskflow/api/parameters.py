"""Parameters that several resources take, with what OpenAPI says of them."""

from __future__ import annotations

from typing import Annotated

from litestar.params import PathParameter, QueryParameter

TaskId = Annotated[str, PathParameter(description="The task's id.")]
QueueName = Annotated[str, PathParameter(description="The queue's name.")]
TypeName = Annotated[str, PathParameter(description="The task type, or the prefix of types.")]
Queue = Annotated[str | None, QueryParameter(description="The task's queue; without it all are searched.")]
