"""Changes: tells the script that what a page shows may have changed; it then asks for the page's live parts anew."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from litestar import get

from taskflow.api.events import EventStream, event
from taskflow.application.changes import Changes
from taskflow.dashboard.request import PageRequest


@get("/changes", media_type="text/event-stream", opt={"limited": True})
async def stream(request: PageRequest) -> EventStream:
    """Send a `change` event whenever a queue has changed (`queue=` in the address: that queue), at most one a second."""
    request.check_place()
    found = await request.service.changes.follow(request.frame.query.get("queue"))
    return EventStream(request, _encoded(found))


async def _encoded(found: AsyncGenerator[Changes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(found):
        async for changes in found:
            yield event("change", {"queues": [info.queue for info in changes.queues], "removed": changes.removed})


HANDLERS = [stream]
