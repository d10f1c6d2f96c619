"""`run_task`: one attempt at a task, without Redis, as a user's test makes it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from support import handlers
from taskflow import (
    Depends,
    InvalidOption,
    InvalidPayload,
    Registry,
    Retry,
    RevokeTask,
    SkipRetry,
    TaskContext,
    TaskFlow,
)
from taskflow.errors import AttemptTimedOut, HandlerExit, HandlerNotFound, StartFailed
from taskflow.testing import TaskRun, run_task, sync
from taskflow.worker.handler import Handler


@pytest.fixture
def app() -> TaskFlow:
    """An app whose Redis nobody can reach."""
    return TaskFlow("redis://127.0.0.1:1/0")


@dataclass
class Size:
    width: int
    height: int


# -- what a handler makes of it ---------------------------------------------------------------------------------------


async def test_a_handler_is_run_and_its_result_told(app: TaskFlow) -> None:
    @app.task("image:resize")
    async def resize(path: str, size: Size) -> dict[str, Any]:
        return {"path": path, "area": size.width * size.height}

    run = await run_task(app, resize.task("a.png", Size(2, 3)))

    assert run.outcome == "done"
    assert run.result() == {"path": "a.png", "area": 6}
    assert run.error is None
    assert (run.reason, run.retry_in) == ("", None)


async def test_a_task_can_be_given_as_type_and_payload(app: TaskFlow) -> None:
    @app.task("image:*")
    async def any_image(context: TaskContext, path: str) -> str:
        return f"{context.type} {path}"

    assert (await run_task(app, "image:resize", {"path": "a.png"})).result() == "image:resize a.png"


async def test_the_context_is_that_of_the_task(app: TaskFlow) -> None:
    seen: list[Any] = []

    @app.task("t", queue="low", max_retries=7, timeout=timedelta(seconds=90))
    async def handler(context: TaskContext) -> None:
        seen.extend([context.id, context.queue, context.retried, context.max_retries, dict(context.headers)])
        assert context.deadline is not None

    (await run_task(app, "t", retried=2, headers={"by": "ada"}, task_id="42")).result()
    (await run_task(app, handler.with_options(max_retries=1, queue="high").task())).result()

    assert seen[:5] == ["42", "low", 2, 7, {"by": "ada"}]
    assert seen[6:9] == ["high", 0, 1]


async def test_progress_and_early_results_are_recorded(app: TaskFlow) -> None:
    @app.task("t")
    async def handler(context: TaskContext) -> None:
        await context.progress(20, "reading", metadata={"rows": 5})
        await context.write_result(b"early")
        await context.progress(80, "writing")

    run = await run_task(app, "t")

    assert [(entry.percentage, entry.stage) for entry in run.progress] == [(20, "reading"), (80, "writing")]
    assert run.progress[0].metadata == {"rows": 5}
    assert run.written == (b"early",)
    assert run.result() == b"early"


async def test_a_blocking_handler_runs_in_a_thread(app: TaskFlow) -> None:
    @app.task("t")
    def handler(context: TaskContext, n: int) -> list[object]:
        context.progress(50, "half")
        context.write_result(b"early")
        return [n, threading.current_thread() is threading.main_thread()]

    run = await run_task(app, handler.task(1))

    assert run.result() == [1, False]
    assert [entry.stage for entry in run.progress] == ["half"]


async def test_a_handler_with_a_process_runs_in_one(app: TaskFlow) -> None:
    report = app.task("t", executor="process")(handlers.report)

    run = await run_task(app, report.with_options(headers={"by": "ada"}, max_retries=4).task(2), retried=1)

    assert run.result() == "t 1/4 {'by': 'ada'}"
    assert [entry.message for entry in run.progress] == ["step 1", "step 2"]


async def test_the_progress_of_a_process_that_fails_is_recorded(app: TaskFlow) -> None:
    app.task("t", executor="process")(handlers.report_and_fail)

    run = await run_task(app, "t")

    assert (run.outcome, run.reason) == ("retry", "ValueError: the other half")
    assert [entry.stage for entry in run.progress] == ["half"]


async def test_a_registry_is_enough() -> None:
    async def double(n: int) -> int:
        return 2 * n

    registry = Registry()
    registry.add("double", Handler(double))

    assert (await run_task(registry, "double", {"n": 4})).result() == 8


# -- when it fails ----------------------------------------------------------------------------------------------------


async def test_a_failure_is_tried_again_after_its_backoff_until_its_retries_are_used_up(app: TaskFlow) -> None:
    @app.task("t", max_retries=3)
    async def handler() -> None:
        raise ValueError("nobody there")

    first, third, last = [await run_task(app, "t", retried=retried) for retried in (0, 2, 3)]

    assert (first.outcome, first.reason) == ("retry", "ValueError: nobody there")
    assert first.retry_in is not None
    assert timedelta(seconds=15) <= first.retry_in <= timedelta(seconds=45)
    assert third.retry_in is not None
    assert timedelta(seconds=2**4 + 15) <= third.retry_in
    assert (last.outcome, last.retry_in) == ("archived", None)
    with pytest.raises(ValueError, match="nobody there") as caught:
        last.result()
    assert caught.traceback[-1].name == "handler"


async def test_what_a_handler_raises_steers_its_task(app: TaskFlow) -> None:
    @app.task("t")
    async def handler(signal: str) -> None:
        raise {
            "retry": Retry(timedelta(minutes=7, milliseconds=300), "later"),
            "skip": SkipRetry("no use"),
            "revoke": RevokeTask("not needed"),
        }[signal]

    async def ended(signal: str) -> tuple[str, str, timedelta | None]:
        run = await run_task(app, handler.task(signal))
        return run.outcome, run.reason, run.retry_in

    assert await ended("retry") == ("retry", "later", timedelta(minutes=7, milliseconds=300))
    assert await ended("skip") == ("archived", "no use", None)
    assert await ended("revoke") == ("revoked", "not needed", None)


async def test_a_payload_that_does_not_fit_archives_the_task(app: TaskFlow) -> None:
    @app.task("t")
    async def handler(n: int) -> None:
        raise AssertionError("not reached")

    run = await run_task(app, "t", {"n": "many"})

    assert run.outcome == "archived"
    assert isinstance(run.error, InvalidPayload)
    assert run.error.path == "$.n"


async def test_a_payload_that_cannot_travel_is_refused_as_by_a_client(app: TaskFlow) -> None:
    @app.task("t")
    async def handler(payload: Any) -> None:
        raise AssertionError("not reached")

    with pytest.raises(InvalidPayload, match="has no JSON form"):
        await run_task(app, "t", {"lock": threading.Lock()})
    with pytest.raises(InvalidOption, match="retried"):
        await run_task(app, "t", retried=-1)


async def test_a_result_that_cannot_travel_archives_the_task(app: TaskFlow) -> None:
    @app.task("t")
    async def handler() -> object:
        return object()

    run = await run_task(app, "t")

    assert (run.outcome, type(run.error)) == ("archived", InvalidPayload)
    assert "has no JSON form" in run.reason


async def test_progress_that_cannot_travel_fails_in_the_handler(app: TaskFlow) -> None:
    @app.task("t")
    async def handler(context: TaskContext) -> None:
        await context.progress(1, metadata={"lock": threading.Lock()})

    assert isinstance((await run_task(app, "t")).error, TypeError)


async def test_a_type_that_nobody_serves_is_no_success(app: TaskFlow) -> None:
    run = await run_task(app, "typo")

    assert run.outcome == "retry"
    with pytest.raises(HandlerNotFound, match="typo"):
        run.result()


async def test_an_exit_is_a_failure(app: TaskFlow) -> None:
    @app.task("t")
    async def handler() -> None:
        raise SystemExit(3)

    run = await run_task(app, "t")

    assert (run.outcome, type(run.error)) == ("retry", HandlerExit)


@pytest.mark.parametrize("way", ["async", "thread", "process"])
async def test_an_attempt_that_takes_too_long_is_stopped(app: TaskFlow, way: str) -> None:
    stopped = threading.Event()

    async def waiting(context: TaskContext, path: str = "") -> None:
        await asyncio.sleep(60)

    def blocking(context: TaskContext, path: str = "") -> None:
        while not context.cancelled:
            stopped.wait(0.01)

    if way == "process":
        app.task("t", executor="process")(handlers.tell_pid)
    else:
        app.task("t")(waiting if way == "async" else blocking)

    run = await run_task(app, "t", {"path": "/dev/null"}, timeout=timedelta(seconds=1))

    assert (run.outcome, type(run.error)) == ("retry", AttemptTimedOut)
    assert "longer than its timeout" in run.reason


async def test_a_run_that_is_cancelled_stops_its_handler(app: TaskFlow) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    @app.task("t")
    async def handler() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    running = asyncio.create_task(run_task(app, "t"))
    await begun.wait()
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()


# -- middleware -------------------------------------------------------------------------------------------------------


async def test_middleware_is_around_the_handler_and_the_registry_stays_as_it_is() -> None:
    async def shout(context: TaskContext, call_next: Callable[[TaskContext], Awaitable[Any]]) -> Any:
        try:
            return (await call_next(context)).upper()
        except KeyError as error:
            raise SkipRetry("no such key") from error

    app = TaskFlow("redis://127.0.0.1:1/0", middleware=[shout])

    @app.task("t")
    async def handler(key: str) -> str:
        return {"a": "alpha"}[key]

    assert (await run_task(app, handler.task("a"))).result() == "ALPHA"
    assert (await run_task(app, handler.task("b"))).reason == "no such key"
    assert app.registry.middleware == [shout]


async def test_the_layers_of_a_type_are_around_its_handler_too(app: TaskFlow) -> None:
    async def twice(context: TaskContext, call_next: Callable[[TaskContext], Awaitable[Any]]) -> Any:
        return 2 * await call_next(context)

    @app.task("t", middleware=[twice])
    async def handler(n: int) -> int:
        return n

    assert (await run_task(app, handler.task(2))).result() == 4


async def test_the_policy_of_retries_is_the_apps_own(app: TaskFlow) -> None:
    @app.task("t", max_retries=3, backoff=[timedelta(seconds=1), timedelta(seconds=5)], is_failure=_is_no_outage)
    async def handler(down: bool) -> None:
        raise ConnectionError if down else ValueError

    first = await run_task(app, handler.task(down=False))
    third = await run_task(app, handler.task(down=False), retried=2)
    excused = await run_task(app, handler.task(down=True))

    assert (first.retry_in, first.counts) == (timedelta(seconds=1), True)
    assert third.retry_in == timedelta(seconds=5)
    assert (excused.outcome, excused.counts) == ("retry", False)


def _is_no_outage(error: BaseException) -> bool:
    return not isinstance(error, ConnectionError)


# -- what handlers depend on ------------------------------------------------------------------------------------------


happened: list[str] = []
"""What was opened, closed and done, in order."""


async def database() -> AsyncIterator[str]:
    happened.append("connect")
    yield "database"
    happened.append("disconnect")


async def transaction(db: str = Depends(database)) -> AsyncIterator[str]:
    happened.append("begin")
    yield f"transaction on {db}"
    happened.append("commit")


@pytest.fixture
def shop(app: TaskFlow) -> TaskFlow:
    """An app with a lifespan, and a handler that depends on a transaction on a database."""
    happened.clear()

    @app.lifespan
    async def around() -> AsyncIterator[None]:
        happened.append("open")
        yield
        happened.append("close")

    @app.task("order")
    async def order(article: str, tx: str = Depends(transaction, scope="task")) -> str:
        happened.append("order")
        return f"{article} in {tx}"

    @app.task("other")
    async def other() -> None: ...

    return app


async def test_dependencies_and_lifespans_are_open_for_the_length_of_the_call(shop: TaskFlow) -> None:
    assert (await run_task(shop, "order", {"article": "lamp"})).result() == "lamp in transaction on database"
    assert happened == ["open", "connect", "begin", "order", "commit", "disconnect", "close"]


async def test_only_what_the_handler_needs_is_opened(shop: TaskFlow) -> None:
    await run_task(shop, "other")
    await run_task(shop, "other", lifespan=False)

    assert happened == ["open", "close"]


async def test_dependencies_can_be_overridden(shop: TaskFlow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shop.dependency_overrides, database, lambda: "fake")

    assert (
        await run_task(shop, "order", {"article": "lamp"}, lifespan=False)
    ).result() == "lamp in transaction on fake"
    assert happened == ["begin", "order", "commit"]


async def test_a_dependency_of_the_attempt_that_fails_is_a_failed_attempt(
    shop: TaskFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise ConnectionError("no transaction")

    monkeypatch.setitem(shop.dependency_overrides, transaction, refuse)

    run = await run_task(shop, "order", {"article": "lamp"})

    assert (run.outcome, run.reason) == ("retry", "ConnectionError: no transaction")


async def test_a_dependency_of_the_worker_that_fails_is_an_error_of_the_test(
    shop: TaskFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise ConnectionError("no database")

    monkeypatch.setitem(shop.dependency_overrides, database, refuse)

    with pytest.raises(StartFailed, match="no database"):
        await run_task(shop, "order", {"article": "lamp"})


# -- in blocking tests ------------------------------------------------------------------------------------------------


def test_a_blocking_test_runs_a_task(app: TaskFlow) -> None:
    @app.task("t")
    async def handler(n: int) -> int:
        await asyncio.sleep(0)
        return n + 1

    run = sync.run_task(app, handler.task(1))

    assert isinstance(run, TaskRun)
    assert run.result() == 2


async def test_in_a_coroutine_the_blocking_form_says_what_to_do(app: TaskFlow) -> None:
    with pytest.raises(RuntimeError, match=r"await taskflow\.testing\.run_task"):
        sync.run_task(app, "t")


def test_a_handler_that_enqueues_leaves_no_connection_behind(redis_url: str) -> None:
    app = TaskFlow(redis_url)

    @app.task("first")
    async def first() -> str:
        return (await second.enqueue()).id

    @app.task("second")
    async def second() -> None:
        raise AssertionError("not run")

    assert sync.run_task(app, "first").result()
    assert sync.run_task(app, "first").result()
