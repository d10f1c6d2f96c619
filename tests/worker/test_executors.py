"""Where handlers run: threads, which nothing can stop, and processes, which can be killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from conftest import StartWorker, WaitUntil
from support import handlers
from support.store import Store
from taskflow import (
    Broker,
    Client,
    Inspector,
    Task,
    TaskContext,
    TaskFailed,
    TaskFlow,
    TaskOptions,
    Worker,
    WorkerOptions,
)
from taskflow.broker.progress import ProgressStream
from taskflow.errors import ConfigError, StartFailed

pytestmark = pytest.mark.usefixtures("invariants_hold")

KEPT = timedelta(minutes=5)
LONG = 20
"""Starting a process takes a second or two, more on a busy machine."""


# -- threads ----------------------------------------------------------------------------------------------------------


async def test_a_plain_function_runs_in_a_thread_of_its_own(
    app: TaskFlow, client: Client, start_worker: StartWorker
) -> None:
    @app.task("t")
    def handler(context: TaskContext, n: int) -> list[object]:
        context.progress(50, "in a thread")
        context.write_result(b"early")
        return [n, threading.current_thread() is threading.main_thread()]

    await start_worker(app)
    info = await client.enqueue("t", {"n": 1}, retention=KEPT)

    assert await client.result(info, timeout=20) == [1, False]


async def test_threads_run_side_by_side(app: TaskFlow, client: Client, start_worker: StartWorker) -> None:
    together = threading.Barrier(4, timeout=5)

    @app.task("t")
    def handler() -> int:
        return together.wait()

    await start_worker(app)
    infos = [await client.enqueue("t", retention=KEPT) for _ in range(4)]

    assert sorted([await client.result(info, timeout=20) for info in infos]) == [0, 1, 2, 3]


async def test_a_thread_that_goes_on_after_its_timeout_keeps_its_slot(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    go_on = threading.Event()
    ran: list[str] = []

    @app.task("stuck")
    def stuck() -> None:
        go_on.wait(20)

    @app.task("next")
    async def following() -> None:
        ran.append("next")

    worker = await start_worker(app, concurrency=1)
    info = await client.enqueue("stuck", timeout=timedelta(seconds=1))
    await wait_until(lambda: store.state(info.id) == "active")
    await client.enqueue("next")

    await wait_until(lambda: store.state(info.id) == "retry")
    assert "AttemptTimedOut" in store.message(info.id).error_msg
    assert worker._executor.left_behind == 1
    assert worker._executor.free == 0
    assert ran == []

    go_on.set()
    await wait_until(lambda: ran == ["next"])
    await wait_until(lambda: worker._executor.left_behind == 0)
    assert worker._executor.free == 1


async def test_a_task_that_still_waits_for_a_thread_is_stopped_without_a_trace(
    app: TaskFlow, client: Client, inspector: Inspector, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    go_on = threading.Event()
    ran: list[int] = []

    @app.task("t")
    def handler(n: int) -> None:
        ran.append(n)
        go_on.wait(20)

    worker = await start_worker(app, threads=1)
    first = await client.enqueue("t", {"n": 1})
    await wait_until(lambda: ran == [1])
    second = await client.enqueue("t", {"n": 2})
    await wait_until(lambda: store.state(second.id) == "active")
    await inspector.cancel(second.id)

    await wait_until(lambda: store.state(second.id) == "archived")
    go_on.set()
    await wait_until(lambda: store.state(first.id) is None)
    await wait_until(lambda: worker._executor.free == worker._executor.concurrency)
    assert ran == [1]


async def test_an_error_in_a_thread_is_a_failure(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    @app.task("t")
    def handler() -> None:
        raise SystemExit(3)

    await start_worker(app)
    info = await client.enqueue("t")

    await wait_until(lambda: store.state(info.id) == "retry")
    assert "SystemExit" in store.message(info.id).error_msg


# -- processes --------------------------------------------------------------------------------------------------------


async def test_handlers_in_processes(
    app: TaskFlow, client: Client, broker: Broker, start_worker: StartWorker, inspector: Inspector
) -> None:
    """One test for what needs no process of its own: each start of a pool takes a second."""
    app.task("double", executor="process")(handlers.double)
    app.task("report", executor="process")(handlers.report)
    app.task("give up", executor="process")(handlers.give_up)
    app.task("fail", executor="process")(handlers.fail)
    app.task("die", executor="process")(handlers.die)
    app.task("early", executor="process")(handlers.early_result)
    app.task("current", executor="process")(handlers.current)
    app.task("nested", executor="process")(lambda: None)
    await start_worker(app, concurrency=2)
    tasks = {
        "double": Task("double", {"n": 21}),
        "report": Task("report", {"steps": 4}),
        "give up": Task("give up"),
        "fail": Task("fail", {"reason": "no luck"}),
        "invalid": Task("double", {"n": "many"}),
        "die": Task("die", {"code": 3}),
        "early": Task("early"),
        "current": Task("current"),
        "nested": Task("nested"),
        "after": Task("double", {"n": 4}),
    }
    options = TaskOptions(retention=KEPT, max_retries=0, headers={"trace": "1"})
    await client.enqueue("warm up", retention=KEPT, max_retries=0)
    infos = await client.enqueue_many(Task(task.type, task.payload, options) for task in tasks.values())
    ended = {}
    for name, info in zip(tasks, infos, strict=True):
        assert not isinstance(info, Exception)
        ended[name] = await client.wait(info.id, timeout=LONG)

    assert ended["double"].result == b"42"
    assert ended["report"].result == b"\"report 0/0 {'trace': '1'}\""
    assert ended["give up"].last_error == "no use"
    assert ended["fail"].last_error == "ValueError: no luck"
    assert "in fail" in (ended["fail"].attempts[0].traceback or "")
    assert "Expected `int`, got `str`" in (ended["invalid"].last_error or "")
    assert "ProcessExpired" in (ended["die"].last_error or "")
    assert "write_result is not available" in (ended["early"].last_error or "")
    assert json.loads(ended["current"].result or b"") == ["current", ended["current"].id]
    assert "top level of a module" in (ended["nested"].last_error or "")
    assert ended["after"].result == b"8"
    history = await ProgressStream(broker).history(ended["report"].id)
    assert [one.progress.message for one in history if not one.is_final] == [f"step {n}" for n in range(1, 5)]


async def test_every_process_warms_up_before_the_worker_takes_tasks(
    app: TaskFlow, client: Client, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    """One that dies is replaced by one that is warm, even if it dies idle, which breaks the pool."""
    app.task("warmth", executor="process")(handlers.warmth)
    assert app.warm_up(handlers.warm) is handlers.warm
    worker = await start_worker(app, concurrency=2, pool_size=2)
    assert len(_pool_processes(worker)) == 2

    async def warm_process() -> int:
        info = await client.enqueue("warmth", retention=KEPT)
        loaded, own = await client.result(info, timeout=LONG)
        assert loaded == own
        return int(own)

    first = await warm_process()
    assert first in _pool_processes(worker)
    for pid in _pool_processes(worker):
        os.kill(pid, signal.SIGKILL)
    await wait_until(lambda: not _lives(first), LONG)
    await wait_until(lambda: not worker._executor._processes._lives(), LONG)

    assert await warm_process() != first


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (handlers.cold, "warm-up cold failed at the start: FileNotFoundError: no model"),
        (handlers.deadly, "a process of the pool failed at the start: it died while it warmed up"),
    ],
)
async def test_a_warm_up_that_fails_keeps_the_worker_from_starting(
    app: TaskFlow, store: Store, function: Callable[[], None], reason: str
) -> None:
    app.task("double", executor="process")(handlers.double)
    app.warm_up(function)

    with pytest.raises(StartFailed, match=reason):
        await asyncio.wait_for(app.worker(WorkerOptions(pool_size=1)).run(), LONG)

    assert store.client.zcard("asynq:servers") == 0


async def test_the_word_to_stop_ends_a_warm_up_that_takes_long(app: TaskFlow, wait_until: WaitUntil) -> None:
    app.task("double", executor="process")(handlers.double)
    app.warm_up(handlers.endless)
    worker = app.worker(WorkerOptions(pool_size=1))
    running = asyncio.create_task(worker.run())
    await wait_until(lambda: worker._starting is not None and _pool_processes(worker), LONG)
    processes = _pool_processes(worker)
    worker.stop()

    await asyncio.wait_for(running, LONG)
    assert not any(map(_lives, processes))


async def test_without_handlers_in_processes_nothing_is_warmed_up(app: TaskFlow, start_worker: StartWorker) -> None:
    app.task("double")(handlers.double)
    app.warm_up(handlers.cold)

    worker = await start_worker(app)

    assert _pool_processes(worker) == []


def test_what_cannot_warm_up_is_refused(app: TaskFlow) -> None:
    async def nested() -> None: ...

    with pytest.raises(ConfigError, match="a `def` function at the top level of a module"):
        app.warm_up(nested)
    with pytest.raises(ConfigError, match="is called without arguments"):
        app.registry.add_warm_up(handlers.double)  # type: ignore[arg-type]


def _pool_processes(worker: Worker) -> list[int]:
    pool = worker._executor._processes._pool
    return [] if pool is None else list(pool._pool_manager.worker_manager.workers)


async def test_a_process_is_killed_when_its_task_times_out(
    app: TaskFlow, client: Client, start_worker: StartWorker, wait_until: WaitUntil, tmp_path: Path
) -> None:
    app.task("endless", executor="process")(handlers.tell_pid)
    app.task("double", executor="process")(handlers.double)
    worker = await start_worker(app, concurrency=1)
    first = await client.enqueue("double", {"n": 1}, retention=KEPT)
    assert await client.result(first, timeout=LONG) == 2
    told = tmp_path / "pid"
    info = await client.enqueue("endless", {"path": str(told)}, timeout=timedelta(seconds=1), max_retries=0)

    with pytest.raises(TaskFailed, match="AttemptTimedOut"):
        await client.result(info, timeout=LONG)

    pid = int(told.read_text())
    await wait_until(lambda: not _lives(pid))
    assert worker._executor.free == 1
    again = await client.enqueue("double", {"n": 5}, retention=KEPT)
    assert await client.result(again, timeout=LONG) == 10


async def test_no_process_outlives_the_worker(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil, tmp_path: Path
) -> None:
    app.task("endless", executor="process")(handlers.tell_pid)
    worker = await start_worker(app, shutdown_timeout=0.1)
    told = tmp_path / "pid"
    info = await client.enqueue("endless", {"path": str(told)})
    await wait_until(lambda: told.exists() and told.read_text(), LONG)

    worker.stop()

    await wait_until(lambda: not _lives(int(told.read_text())), LONG)
    await wait_until(lambda: store.state(info.id) == "pending")


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


async def test_the_loop_stays_free_while_threads_work(app: TaskFlow, client: Client, start_worker: StartWorker) -> None:
    go_on = threading.Event()

    @app.task("thread")
    def thread() -> None:
        go_on.wait(20)

    @app.task("loop")
    async def loop() -> str:
        await asyncio.sleep(0)
        return "ran"

    await start_worker(app)
    await client.enqueue("thread")
    info = await client.enqueue("loop", retention=KEPT)

    assert await client.result(info, timeout=20) == "ran"
    go_on.set()
