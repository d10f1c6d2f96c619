"""A plain `def` handler runs in a thread, or in a process that can be killed; a plain program uses the blocking client."""

from __future__ import annotations

import threading
from datetime import timedelta

from conftest import StartWorker
from support import handlers
from taskflow import Client, SyncClient, TaskFlow

KEPT = timedelta(minutes=5)


async def test_blocking_handlers(app: TaskFlow, client: Client, start_worker: StartWorker) -> None:
    # A `def` handler may block as long as it likes: the worker's other tasks go on.
    @app.task("thumbnail")
    def thumbnail(path: str) -> bool:
        return threading.current_thread() is not threading.main_thread()

    # With executor="process" it has a process of its own, which ends with its timeout, whatever it does.
    # Such a handler stands at the top level of a module.
    app.task("double", executor="process")(handlers.double)

    await start_worker(app, concurrency=2)
    threaded = await client.enqueue("thumbnail", {"path": "cat.png"}, retention=KEPT)
    forked = await client.enqueue("double", {"n": 21}, retention=KEPT)

    assert await client.result(threaded, timeout=10) is True
    assert await client.result(forked, timeout=20) == 42


def test_a_blocking_program(redis_url: str) -> None:
    # For Django, Flask or a script: the same calls, without `await`.
    with SyncClient(redis_url) as client:
        info = client.enqueue("mail:send", {"to": "a@example.org"}, process_in=timedelta(hours=1))
        assert info.state == "scheduled"


async def test_a_task_enqueues_itself_from_blocking_code(app: TaskFlow) -> None:
    @app.task("mail:send")
    def send(to: str) -> None: ...

    assert send.enqueue_sync(to="a@example.org").state == "pending"
