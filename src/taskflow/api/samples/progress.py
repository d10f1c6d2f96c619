"""Samples of progress: that of the task `hello`."""

from __future__ import annotations

from taskflow.api.events import event
from taskflow.api.samples.sample import Sample
from taskflow.api.schemas.progress import ProgressBody, ProgressEntryBody, ProgressHistory, ProgressInfoBody

_HELLO = {"task_id": "hello"}
_HALF = ProgressEntryBody(
    progress=ProgressBody(
        task_id="hello", percentage=50, stage="step 2/4", message="hello", timestamp_ms=1795521606955
    ),
    is_final=False,
    stream_id="1795521606955-0",
)
_LAST = ProgressEntryBody(
    progress=ProgressBody(
        task_id="hello", percentage=100, stage="completed", message="hello", timestamp_ms=1795521607959
    ),
    is_final=True,
    status="completed",
    stream_id="1795521607959-0",
)
_HALF_EVENT = event("history", _HALF, event_id=_HALF.stream_id).decode()
_LAST_EVENT = event("done", _LAST, event_id=_LAST.stream_id).decode()

SAMPLES = {
    "getProgress": Sample(parameters=_HELLO, answer=_LAST),
    "followProgress": Sample(parameters={**_HELLO, "history": True}, answer=_HALF_EVENT + _LAST_EVENT),
    "getProgressHistory": Sample(parameters=_HELLO, answer=ProgressHistory("hello", 2, [_HALF, _LAST])),
    "getProgressInfo": Sample(
        parameters=_HELLO,
        answer=ProgressInfoBody(
            task_id="hello", has_progress=True, length=5, first_entry="1795521606455-0", last_entry="1795521607959-0"
        ),
    ),
    "followManyProgress": Sample(parameters={"task_ids": "hello,later"}, answer=_LAST_EVENT),
}
