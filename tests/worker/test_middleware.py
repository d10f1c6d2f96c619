"""A real worker with middleware around some of its handlers, and with handlers of many types."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from conftest import StartWorker, WaitUntil
from support import handlers
from support.store import Store
from taskflow import Broker, Client, InvalidPayload, Retry, SkipRetry, TaskContext, TaskFailed, TaskFlow
from taskflow.application.known_types import KnownTypes
from taskflow.broker.catalog import TaskCatalog
from taskflow.worker.registry import Next

pytestmark = pytest.mark.usefixtures("invariants_hold")

KEPT = timedelta(minutes=5)


def tag(name: str) -> Any:
    """A layer that puts its name around the result."""

    async def layer(context: TaskContext, call_next: Next) -> Any:
        return f"{name}({await call_next(context)})"

    return layer


async def results(client: Client, *types: str, payload: Any = None) -> dict[str, Any]:
    """Run a task of each type; return what they answer."""
    infos = [await client.enqueue(task_type, payload, retention=KEPT) for task_type in types]
    return {info.type: await client.result(info, timeout=10) for info in infos}


# -- order --------------------------------------------------------------------------------------------------------------


async def test_layers_are_around_their_types_only_the_widest_outside(
    redis_url: str, client: Client, start_worker: StartWorker
) -> None:
    app = TaskFlow(redis_url, middleware=[tag("app")])
    app.middleware("image:*")(tag("images"))
    app.middleware("image:resize")(tag("resize"))
    app.middleware(tag("late"))

    @app.task("image:resize", middleware=[tag("outer"), tag("inner")])
    async def resize() -> str:
        return "x"

    @app.task("image:*", middleware=[tag("rest")])
    def image() -> str:  # in a thread
        return "x"

    @app.task("*")
    async def anything() -> str:
        return "x"

    await start_worker(app)

    assert await results(client, "image:resize", "image:crop", "image:turn", "video:cut") == {
        "image:resize": "app(late(images(resize(outer(inner(x))))))",
        "image:crop": "app(late(images(rest(x))))",
        "image:turn": "app(late(images(rest(x))))",
        "video:cut": "app(late(x))",
    }


async def test_layers_are_around_a_handler_in_a_process_too(
    app: TaskFlow, client: Client, start_worker: StartWorker
) -> None:
    app.task("double", executor="process", middleware=[tag("own")])(handlers.double)
    await start_worker(app)

    assert await results(client, "double", payload={"n": 4}) == {"double": "own(8)"}


async def test_a_decorator_gives_the_layer_back(app: TaskFlow) -> None:
    async def layer(context: TaskContext, call_next: Next) -> Any:
        return await call_next(context)

    assert app.middleware(layer) is layer
    assert app.middleware("a*")(layer) is layer
    assert app.middleware()(layer) is layer


# -- what a layer may do ------------------------------------------------------------------------------------------------


class Once:
    """A layer with a memory: the handler runs once, then its answer is given without it."""

    def __init__(self) -> None:
        self.answers: dict[bytes, Any] = {}

    async def __call__(self, context: TaskContext, call_next: Next) -> Any:
        if context.payload not in self.answers:
            self.answers[context.payload] = await call_next(context)
        return self.answers[context.payload]


async def test_a_layer_may_be_an_object_and_answer_without_the_handler(
    app: TaskFlow, client: Client, start_worker: StartWorker
) -> None:
    ran: list[int] = []

    @app.task("t", middleware=[Once()])
    async def handler(n: int) -> int:
        ran.append(n)
        return n * 10

    await start_worker(app, concurrency=1)
    infos = [await client.enqueue("t", {"n": n}, retention=KEPT) for n in (1, 2, 1, 1)]

    assert [await client.result(info, timeout=10) for info in infos] == [10, 20, 10, 10]
    assert ran == [1, 2]


async def test_a_layer_may_steer_the_task(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    @app.middleware("t:*")
    async def steer(context: TaskContext, call_next: Next) -> Any:
        if context.type == "t:closed":
            raise SkipRetry("closed today")
        if context.retried == 0:
            raise Retry(timedelta(milliseconds=20), "not at once")
        return await call_next(context)

    @app.task("t:*")
    async def handler(context: TaskContext) -> int:
        return context.retried

    await start_worker(app)
    closed = await client.enqueue("t:closed")

    assert await results(client, "t:open") == {"t:open": 1}
    with pytest.raises(TaskFailed, match="closed today"):
        await client.result(closed, timeout=20)


async def test_a_layer_sees_a_payload_that_does_not_fit_and_a_timeout(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    seen: list[str] = []

    @app.middleware("t")
    async def watch(context: TaskContext, call_next: Next) -> Any:
        try:
            return await call_next(context)
        except (InvalidPayload, asyncio.CancelledError) as error:
            seen.append(type(error).__name__)
            raise

    @app.task("t")
    async def handler(n: int) -> None:
        await asyncio.sleep(60)

    await start_worker(app)
    await client.enqueue("t", {"n": "one"})
    await wait_until(lambda: seen == ["InvalidPayload"])
    await client.enqueue("t", {"n": 1}, timeout=timedelta(seconds=1))
    await wait_until(lambda: seen == ["InvalidPayload", "CancelledError"])


async def test_a_layer_that_exits_does_not_end_the_worker(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    async def leave(context: TaskContext, call_next: Next) -> Any:
        raise SystemExit(3)

    @app.task("t", middleware=[leave])
    async def handler() -> None: ...

    await start_worker(app)
    info = await client.enqueue("t")

    await wait_until(lambda: store.state(info.id) == "retry")
    assert "HandlerExit" in store.message(info.id).error_msg


# -- types that nobody named --------------------------------------------------------------------------------------------


async def test_a_handler_of_a_star_gets_what_nobody_else_serves(
    app: TaskFlow, client: Client, broker: Broker, start_worker: StartWorker
) -> None:
    @app.task("known")
    async def known() -> str:
        return "known"

    @app.task("mail:*")
    async def mail(context: TaskContext) -> str:
        return f"mail {context.type}"

    @app.task("*")
    async def unknown(context: TaskContext, payload: bytes) -> str:
        return f"{context.type} with {payload!r}"

    await start_worker(app)

    assert await results(client, "known", "mail:send", "what?", payload=b"{}") == {
        "known": "known",
        "mail:send": "mail mail:send",
        "what?": "what? with b'{}'",
    }
    entry = await KnownTypes(TaskCatalog(broker)).find("anything")
    assert entry is not None
    assert entry.entry.name == "*"
    entry.check(b"not even JSON")


async def test_an_unknown_type_is_tried_again_and_told_with_names_like_it(
    app: TaskFlow, client: Client, start_worker: StartWorker, store: Store, wait_until: WaitUntil
) -> None:
    @app.task("email:send")
    async def handler() -> None: ...

    await start_worker(app)
    info = await client.enqueue("email:sent")

    await wait_until(lambda: store.state(info.id) == "retry")
    assert "'email:sent' (did you mean 'email:send'?)" in store.message(info.id).error_msg


async def test_a_type_and_a_prefix_of_the_same_name_are_both_published(
    app: TaskFlow, broker: Broker, start_worker: StartWorker
) -> None:
    @app.task("image")
    async def one(n: int) -> None: ...

    @app.task("image*")
    async def many(payload: bytes) -> None: ...

    await start_worker(app)

    types = {entry.name: entry for entry in await TaskCatalog(broker).types()}
    assert set(types) == {"image", "image*"}
    assert types["image"].schema is not None
    assert types["image*"].schema is None
