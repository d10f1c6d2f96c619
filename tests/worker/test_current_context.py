"""The running task is known anywhere in its calls, and context variables go where one expects them."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import pytest

from conftest import StartWorker
from taskflow import Client, Task, TaskContext, TaskFlow, TaskInfo, TaskOptions, current_context
from taskflow.errors import NoCurrentTask
from taskflow.worker.registry import Next

pytestmark = pytest.mark.usefixtures("invariants_hold")

KEPT = timedelta(minutes=5)
_TRACE: ContextVar[str] = ContextVar("trace", default="none")


def _deep_in_a_library() -> str:
    return current_context().id


async def test_the_context_is_known_in_helpers_middleware_threads_and_child_tasks(
    client: Client, redis_url: str, start_worker: StartWorker
) -> None:
    async def layer(context: TaskContext, call_next: Next) -> Any:
        assert current_context() is context
        return await call_next(context)

    app = TaskFlow(redis_url, middleware=[layer])

    @app.task("loop")
    async def on_the_loop() -> list[str]:
        async with asyncio.TaskGroup() as group:
            child = group.create_task(asyncio.to_thread(_deep_in_a_library))
        return [_deep_in_a_library(), child.result()]

    @app.task("thread")
    def in_a_thread() -> list[str]:
        return [_deep_in_a_library(), _deep_in_a_library()]

    await start_worker(app)

    for task_type in ("loop", "thread"):
        info = await client.enqueue(task_type, retention=KEPT)
        assert await client.result(info, timeout=20) == [info.id, info.id]


async def test_tasks_that_run_side_by_side_see_each_their_own(
    app: TaskFlow, client: Client, start_worker: StartWorker
) -> None:
    together = asyncio.Barrier(5)

    @app.task("t")
    async def handler() -> str:
        await together.wait()
        return _deep_in_a_library()

    await start_worker(app)
    infos = await client.enqueue_many([Task("t", None, TaskOptions(retention=KEPT))] * 5)

    for info in infos:
        assert isinstance(info, TaskInfo)
        assert await client.result(info, timeout=20) == info.id


async def test_a_variable_that_middleware_sets_is_seen_by_the_handler_and_by_no_other_task(
    client: Client, redis_url: str, start_worker: StartWorker
) -> None:
    async def trace(context: TaskContext, call_next: Next) -> Any:
        if "trace" in context.headers:
            _TRACE.set(context.headers["trace"])
        return await call_next(context)

    app = TaskFlow(redis_url, middleware=[trace])

    @app.task("loop")
    async def on_the_loop() -> str:
        return _TRACE.get()

    @app.task("thread")
    def in_a_thread() -> str:
        return _TRACE.get()

    await start_worker(app, concurrency=1)

    for task_type in ("loop", "thread"):
        traced = await client.enqueue(task_type, retention=KEPT, headers={"trace": "abc"})
        plain = await client.enqueue(task_type, retention=KEPT)
        assert await client.result(traced, timeout=20) == "abc"
        assert await client.result(plain, timeout=20) == "none"


def test_where_no_task_runs_there_is_none() -> None:
    with pytest.raises(NoCurrentTask, match="no task runs here"):
        current_context()
