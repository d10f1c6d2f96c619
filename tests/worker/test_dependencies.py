"""Dependencies: shared resources handed to handlers, opened for the worker's life or for one attempt.

Annotations are no text here: they name functions that stand within the tests.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from typing import Annotated, Any

import pytest

from conftest import StartWorker, WaitUntil
from support import handlers
from support.store import Store
from taskflow import Client, Depends, Task, TaskContext, TaskFlow, TaskInfo, TaskOptions, WorkerOptions
from taskflow.errors import ConfigError, InvalidPayload, StartFailed
from taskflow.worker.handler import Handler
from taskflow.worker.resources import opened

pytestmark = pytest.mark.usefixtures("invariants_hold")

KEPT = timedelta(minutes=5)


class Story:
    """What was opened and closed, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @asynccontextmanager
    async def tell(self, name: str) -> AsyncIterator[str]:
        self.lines.append(f"+{name}")
        try:
            yield name
        except BaseException as error:
            self.lines.append(f"!{name} {type(error).__name__}")
            raise
        finally:
            self.lines.append(f"-{name}")


@pytest.fixture
def story() -> Story:
    return Story()


async def run(client: Client, task_type: str, payload: Any = None, **options: Any) -> Any:
    return await client.result(await client.enqueue(task_type, payload, retention=KEPT, **options), timeout=20)


# -- for the worker's life --------------------------------------------------------------------------------------------


async def test_a_resource_is_opened_once_before_the_first_task_and_closed_after_the_last(
    app: TaskFlow, client: Client, start_worker: StartWorker, story: Story, wait_until: WaitUntil
) -> None:
    """Two handlers share it, on the loop and in a thread; it depends on another, which is opened before and closed after."""

    async def pool() -> AsyncIterator[str]:
        async with story.tell("pool") as value:
            yield value

    async def database(pool: Annotated[str, Depends(pool)]) -> AsyncIterator[list[str]]:
        async with story.tell("database"):
            yield [pool, "database"]

    @app.task("loop")
    async def on_the_loop(db: Annotated[list[str], Depends(database)], n: int) -> list[object]:
        return [*db, n]

    @app.task("thread")
    def in_a_thread(n: int, db: Annotated[list[str], Depends(database)], suffix: str = "?") -> list[object]:
        return [*db, n, suffix]

    worker = await start_worker(app)
    assert story.lines == ["+pool", "+database"]

    assert await run(client, "loop", {"n": 1}) == ["pool", "database", 1]
    assert await run(client, "thread", {"n": 2, "suffix": "!"}) == ["pool", "database", 2, "!"]
    worker.stop()
    await wait_until(lambda: len(story.lines) == 4)
    assert story.lines == ["+pool", "+database", "-database", "-pool"]


async def test_every_kind_of_function_provides(
    app: TaskFlow, client: Client, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    """What is returned is handed over as it is: a lock is not entered. Blocking functions run in threads."""
    closed: list[str] = []
    main = threading.current_thread()

    def plain() -> bool:
        return threading.current_thread() is main

    async def coroutine() -> asyncio.Lock:
        return asyncio.Lock()

    def generator() -> Iterator[str]:
        yield "generator"
        closed.append("generator")

    @contextmanager
    def manager() -> Iterator[str]:
        yield "manager"
        closed.append("manager")

    @asynccontextmanager
    async def async_manager(size: int = 3) -> AsyncIterator[int]:
        yield size
        closed.append("async manager")

    class Made:
        def __init__(self, size: Annotated[int, Depends(async_manager)]) -> None:
            self.size = size

    @app.task("t")
    async def handler(
        *,
        a: bool = Depends(plain),
        b: asyncio.Lock = Depends(coroutine),
        c: str = Depends(generator),
        d: str = Depends(manager),
        e: Made = Depends(Made),
    ) -> list[object]:
        return [a, b.locked(), c, d, e.size]

    worker = await start_worker(app)

    assert await run(client, "t") == [False, False, "generator", "manager", 3]
    worker.stop()
    await wait_until(lambda: closed == ["async manager", "manager", "generator"])


async def test_a_dependency_that_fails_keeps_the_worker_from_starting(
    app: TaskFlow, client: Client, store: Store, story: Story
) -> None:
    async def pool() -> AsyncIterator[str]:
        async with story.tell("pool") as value:
            yield value

    def database(pool: Annotated[str, Depends(pool)]) -> str:
        raise ConnectionError("no route")

    @app.task("t")
    async def handler(db: Annotated[str, Depends(database)]) -> None: ...

    await client.enqueue("t")
    with pytest.raises(StartFailed, match=r"dependency .*database failed at the start: ConnectionError: no route"):
        await app.worker(WorkerOptions()).run()

    assert story.lines[-1] == "-pool"
    assert len(store.list("pending")) == 1


async def test_what_no_handler_needs_is_not_opened(app: TaskFlow, story: Story) -> None:
    async def used() -> AsyncIterator[str]:
        async with story.tell("used") as value:
            yield value

    async def other() -> AsyncIterator[str]:
        async with story.tell("other") as value:
            yield value

    @app.task("a")
    async def a(x: Annotated[str, Depends(used)]) -> None: ...

    @app.task("b")
    async def b(x: Annotated[str, Depends(other)]) -> None: ...

    async with opened(app.registry, ["a", "unknown"]) as provided:
        route = provided.find("a")
        assert route is not None
        assert route.handler is not app.registry.routes[0].handler
    assert story.lines == ["+used", "-used"]


async def test_a_worker_that_is_told_to_stop_while_a_thread_opens_something_closes_it(app: TaskFlow) -> None:
    story: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> Iterator[str]:
        begun.set()
        go_on.wait(20)
        story.append("open")
        try:
            yield "slow"
        finally:
            story.append("closed")

    @app.task("t")
    async def handler(x: Annotated[str, Depends(slow)]) -> None: ...

    worker = app.worker(WorkerOptions())
    running = asyncio.create_task(worker.run())
    await asyncio.to_thread(begun.wait, 5)
    worker.stop()
    go_on.set()
    await asyncio.wait_for(running, 5)

    assert story == ["open", "closed"]
    assert not worker.ready.is_set()


# -- for one attempt --------------------------------------------------------------------------------------------------


async def test_a_resource_of_an_attempt_is_fresh_for_each_and_sees_how_it_ends(
    app: TaskFlow, client: Client, start_worker: StartWorker, story: Story, wait_until: WaitUntil
) -> None:
    """It may take the task's context, and depend on what lives as long as the worker; one attempt opens it once."""

    async def database() -> AsyncIterator[str]:
        async with story.tell("database") as value:
            yield value

    async def session(ctx: TaskContext, db: Annotated[str, Depends(database)]) -> AsyncIterator[list[str]]:
        async with story.tell(f"session of {ctx.type}"):
            yield [db]

    async def repository(session: Annotated[list[str], Depends(session, scope="task")]) -> list[str]:
        session.append("repository")
        return session

    @app.task("good")
    async def good(
        s: Annotated[list[str], Depends(session, scope="task")],
        r: Annotated[list[str], Depends(repository, scope="task")],
    ) -> list[object]:
        return [s, s is r]

    @app.task("bad")
    def bad(s: Annotated[list[str], Depends(session, scope="task")]) -> None:
        raise ValueError("no luck")

    worker = await start_worker(app, concurrency=1)
    assert story.lines == ["+database"]

    assert await run(client, "good") == [["database", "repository"], True]
    assert await run(client, "good") == [["database", "repository"], True]
    await client.enqueue("bad", max_retries=0)
    await wait_until(lambda: len(story.lines) == 8)
    worker.stop()
    await wait_until(lambda: story.lines[-1] == "-database")
    of_good, of_bad = "session of good", "session of bad"
    assert story.lines[1:-1] == [
        *(f"+{of_good}", f"-{of_good}") * 2,
        f"+{of_bad}",
        f"!{of_bad} ValueError",
        f"-{of_bad}",
    ]


async def test_a_failure_counts_even_if_a_dependency_swallows_it(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    async def forgiving() -> AsyncIterator[None]:
        with suppress(ValueError):
            yield

    @app.task("t")
    async def handler(x: Annotated[None, Depends(forgiving, scope="task")]) -> None:
        raise ValueError("no luck")

    await start_worker(app)
    info = await client.enqueue("t")

    await wait_until(lambda: store.state(info.id) == "retry")
    assert store.message(info.id).error_msg == "ValueError: no luck"


async def test_an_attempt_whose_resource_cannot_be_opened_has_failed(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    """Not the worker: the next attempt may have more luck. `sys.exit()` is no way out either."""
    ran: list[str] = []

    def broken() -> None:
        raise SystemExit(3)

    @app.task("t")
    async def handler(x: Annotated[None, Depends(broken, scope="task")]) -> None:
        ran.append("ran")

    await start_worker(app)
    info = await client.enqueue("t")

    await wait_until(lambda: store.state(info.id) == "retry")
    assert "SystemExit" in store.message(info.id).error_msg
    assert ran == []


async def test_a_blocking_session_is_closed_when_its_task_is_stopped(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    story: list[str] = []
    begun = asyncio.Event()

    def session() -> Iterator[str]:
        try:
            yield "session"
        except BaseException as error:
            story.append(type(error).__name__)
            raise
        finally:
            story.append("closed")

    @app.task("t")
    async def handler(s: Annotated[str, Depends(session, scope="task")]) -> None:
        begun.set()
        await asyncio.sleep(60)

    worker = await start_worker(app)
    info = await client.enqueue("t")
    await asyncio.wait_for(begun.wait(), 20)
    worker.stop()
    worker.stop()

    await wait_until(lambda: worker._status == "closed")
    assert story == ["CancelledError", "closed"]
    assert store.list("pending") == [info.id]


async def test_tasks_that_run_side_by_side_have_each_their_own(
    app: TaskFlow, client: Client, start_worker: StartWorker
) -> None:
    together = threading.Barrier(4, timeout=5)

    async def session(ctx: TaskContext) -> str:
        return ctx.id

    @app.task("t")
    def handler(ctx: TaskContext, s: Annotated[str, Depends(session, scope="task")]) -> bool:
        together.wait()
        return s == ctx.id

    await start_worker(app)
    infos = await client.enqueue_many([Task("t", None, TaskOptions(retention=KEPT))] * 4)

    for info in infos:
        assert isinstance(info, TaskInfo)
        assert await client.result(info, timeout=20) is True


# -- beside the payload -----------------------------------------------------------------------------------------------


async def answer() -> int:
    return 42


async def test_a_dependency_is_no_part_of_the_payload(app: TaskFlow, client: Client, start_worker: StartWorker) -> None:
    """Neither of the schema nor of what is enqueued; given as the default, type checkers know that too."""

    @app.task("t")
    async def handler(to: str, n: int = Depends(answer), subject: str = "Hello") -> list[object]:
        return [to, n, subject]

    @app.task("raw")
    async def raw(n: Annotated[int, Depends(answer)], payload: bytes) -> int:
        return n + len(payload)

    schema = Handler(handler.function).schema
    assert schema is not None
    assert list(schema["properties"]) == ["to", "subject"]
    assert schema["required"] == ["to"]
    await start_worker(app)

    info = await handler.with_options(retention=KEPT).enqueue("ada", subject="Hi")
    assert await client.result(info, timeout=20) == ["ada", 42, "Hi"]
    assert await run(client, "t", {"to": "ada", "n": 7}) == ["ada", 42, "Hello"]
    assert await run(client, "raw", b"12345678") == 50
    with pytest.raises(TypeError, match="unexpected keyword argument 'n'"):
        handler.task("ada", n=7)
    with pytest.raises(InvalidPayload):
        handler.task(3)  # type: ignore[arg-type]


async def test_a_dependency_can_be_overridden(app: TaskFlow, client: Client, start_worker: StartWorker) -> None:
    """At any depth; the override may have dependencies of its own."""

    async def real() -> str:
        raise AssertionError("the real one was opened")

    async def service(database: Annotated[str, Depends(real)]) -> str:
        return f"service on {database}"

    async def fake(n: Annotated[int, Depends(answer)]) -> str:
        return f"fake {n}"

    @app.task("t")
    async def handler(service: Annotated[str, Depends(service)]) -> str:
        return service

    app.dependency_overrides[real] = fake
    await start_worker(app)

    assert await run(client, "t") == "service on fake 42"


# -- what is refused --------------------------------------------------------------------------------------------------


def test_a_circle_is_refused() -> None:
    async def first(x: Annotated[int, Depends(answer)]) -> int:
        return x

    async def second(x: Annotated[int, Depends(first)]) -> int:
        return x

    first.__annotations__["x"] = Annotated[int, Depends(second)]

    async def handler(x: Annotated[int, Depends(second)]) -> None: ...

    with pytest.raises(ConfigError, match=r"in a circle: .*second -> .*first -> .*second"):
        Handler(handler)


def test_what_lives_longer_cannot_depend_on_what_lives_shorter() -> None:
    async def short() -> int:
        return 1

    async def long(x: Annotated[int, Depends(short, scope="task")]) -> int:
        return x

    async def nosy(ctx: TaskContext) -> int:
        return 1

    async def on_long(x: Annotated[int, Depends(long)]) -> None: ...

    async def on_nosy(x: Annotated[int, Depends(nosy)]) -> None: ...

    with pytest.raises(ConfigError, match=r"cannot depend on .*short, which is opened anew for each task"):
        Handler(on_long)
    with pytest.raises(ConfigError, match="is opened when no task runs"):
        Handler(on_nosy)


def test_what_nothing_provides_is_refused() -> None:
    async def database(url: str) -> str:
        return url

    async def handler(db: Annotated[str, Depends(database)]) -> None: ...

    async def no_function(db: Annotated[str, Depends("database")]) -> None: ...

    async def positional(db: Annotated[int, Depends(answer)], /) -> None: ...

    with pytest.raises(ConfigError, match="nothing provides its parameter 'url'"):
        Handler(handler)
    with pytest.raises(ConfigError, match="takes a function that provides the value, not 'database'"):
        Handler(no_function)
    with pytest.raises(ConfigError, match="must not be positional-only"):
        Handler(positional)
    with pytest.raises(ConfigError, match="scope must be 'worker' or 'task', not 'request'"):
        Depends(answer, scope="request")  # type: ignore[arg-type]


def test_a_handler_in_a_process_of_its_own_has_no_dependencies(app: TaskFlow) -> None:
    with pytest.raises(ConfigError, match="open in the worker's own process"):
        app.task("t", executor="process")(handlers.with_dependency)
