"""Samples of progress: that of the task `hello`."""

from __future__ import annotations

from taskflow.api.events import event
from taskflow.api.samples.sample import Sample
from taskflow.api.schemas.progress import (
    ProgressHistory,
    ProgressInfoBody,
    progress_entry,
    progress_event,
    tagged_event,
)
from taskflow.broker.progress import ProgressEntry
from taskflow.task import Progress

_HELLO = {"task_id": "hello"}
_HALF = ProgressEntry(
    progress=Progress(task_id="hello", percentage=50, stage="step 2/4", message="hello", timestamp_ms=1795521606955),
    stream_id="1795521606955-0",
)
_LAST = ProgressEntry(
    progress=Progress(task_id="hello", percentage=100, stage="completed", message="hello", timestamp_ms=1795521607959),
    is_final=True,
    status="completed",
    stream_id="1795521607959-0",
)
_HALF_EVENT = event("history", progress_event(_HALF), event_id=_HALF.stream_id)
_LAST_EVENTS = event("progress", progress_event(_LAST)) + event("done", progress_event(_LAST), event_id=_LAST.stream_id)
_TAGGED_EVENTS = event("progress", tagged_event(_LAST)) + event("done", tagged_event(_LAST), event_id=_LAST.stream_id)

SAMPLES = {
    "getProgress": Sample(parameters=_HELLO, answer=progress_entry(_LAST)),
    "followProgress": Sample(parameters={**_HELLO, "history": True}, answer=(_HALF_EVENT + _LAST_EVENTS).decode()),
    "getProgressHistory": Sample(
        parameters=_HELLO, answer=ProgressHistory("hello", 2, [progress_entry(_HALF), progress_entry(_LAST)])
    ),
    "getProgressInfo": Sample(
        parameters=_HELLO,
        answer=ProgressInfoBody(
            task_id="hello", has_progress=True, length=5, first_entry="1795521606455-0", last_entry="1795521607959-0"
        ),
    ),
    "followManyProgress": Sample(parameters={"task_ids": "hello,later"}, answer=_TAGGED_EVENTS.decode()),
}
