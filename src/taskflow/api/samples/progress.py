"""Samples of progress: that of the task `hello`."""

from __future__ import annotations

from taskflow.api.events import event
from taskflow.api.samples.sample import Sample
from taskflow.api.schemas import progress as schemas
from taskflow.broker.progress import ProgressEntry
from taskflow.task import Progress

_HELLO = {"task_id": "hello"}
_HALF = ProgressEntry(
    stream_id="1795521606955-0",
    progress=Progress(task_id="hello", percentage=50, stage="step 2/4", message="hello", timestamp_ms=1795521606955),
)
_LAST = ProgressEntry(
    stream_id="1795521607959-0",
    progress=Progress(task_id="hello", percentage=100, stage="completed", message="hello", timestamp_ms=1795521607959),
    is_final=True,
    status="completed",
)
_HISTORY = [schemas.progress_entry(entry) for entry in (_HALF, _LAST)]
_FOLLOWED = event("history", schemas.progress_event(_HALF), event_id=_HALF.stream_id) + event(
    "done", schemas.progress_event(_LAST), event_id=_LAST.stream_id
)

SAMPLES = {
    "getProgress": Sample(parameters=_HELLO, answer=_HISTORY[-1]),
    "followProgress": Sample(parameters={**_HELLO, "history": True}, answer=_FOLLOWED.decode()),
    "getProgressHistory": Sample(parameters=_HELLO, answer=schemas.ProgressHistory("hello", 2, _HISTORY)),
    "getProgressInfo": Sample(
        parameters=_HELLO,
        answer=schemas.ProgressInfoBody(
            task_id="hello", has_progress=True, length=5, first_entry="1795521606455-0", last_entry=_LAST.stream_id
        ),
    ),
    "followManyProgress": Sample(
        parameters={"task_ids": "hello,later"},
        answer=event("done", schemas.tagged_event(_LAST), event_id=f"{_LAST.stream_id},").decode(),
    ),
}
