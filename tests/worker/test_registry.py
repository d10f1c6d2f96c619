"""Registry and middleware: which handler runs which type, and what is wrapped around it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from taskflow import InvalidOption, Registry, TaskContext
from taskflow.broker.delivery import Delivery
from taskflow.errors import ConfigError, HandlerExit
from taskflow.wire.message import TaskMessage
from taskflow.worker.handler import Handler
from taskflow.worker.middleware import recovery
from taskflow.worker.registry import Next


def handler() -> None: ...


HANDLER = Handler(handler)


def found(registry: Registry, task_type: str) -> str | None:
    route = registry.find(task_type)
    return None if route is None else route.type + ("*" if route.prefix else "")


def test_the_exact_type_comes_first_then_the_longest_prefix() -> None:
    registry = Registry()
    for task_type in ("image:*", "image:re*", "image:resize"):
        registry.add(task_type, HANDLER)

    assert found(registry, "image:resize") == "image:resize"
    assert found(registry, "image:resize:small") == "image:re*"
    assert found(registry, "image:crop") == "image:*"
    assert found(registry, "video:crop") is None
    assert found(registry, "image") is None


def test_a_star_alone_serves_whatever_nobody_else_does() -> None:
    registry = Registry()
    registry.add("*", HANDLER)
    registry.add("a", HANDLER)

    assert found(registry, "a") == "a"
    assert found(registry, "b") == "*"


def test_a_handler_added_later_is_found_by_types_looked_up_before() -> None:
    registry = Registry()
    assert found(registry, "a:b") is None
    registry.add("a:*", HANDLER)
    assert found(registry, "a:b") == "a:*"
    registry.add("a:b", HANDLER)
    assert found(registry, "a:b") == "a:b"


def test_a_type_has_one_handler() -> None:
    registry = Registry()
    registry.add("a", HANDLER)
    registry.add("a*", HANDLER)

    for task_type in ("a", "a*"):
        with pytest.raises(ConfigError, match="two handlers"):
            registry.add(task_type, HANDLER)


def test_names_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(InvalidOption):
        Registry().add("", HANDLER)
    with pytest.raises(InvalidOption):
        Registry().add("a", HANDLER, queue="{x}")


def test_types_of_strangers_are_not_remembered_for_ever() -> None:
    registry = Registry()
    for i in range(20_000):
        registry.find(f"stranger {i}")

    assert len(registry._found) <= 10_000


def test_a_route_keeps_the_defaults_of_its_tasks() -> None:
    registry = Registry()
    registry.add("a", HANDLER, queue="low", max_retries=0, timeout=timedelta(seconds=5))

    (route,) = registry.routes
    assert (route.queue, route.max_retries, route.timeout) == ("low", 0, timedelta(seconds=5))


# -- middleware -------------------------------------------------------------------------------------------------------


async def _nothing(*_: Any) -> None: ...


def context() -> TaskContext:
    message = TaskMessage(type="t", id="a", queue="default")
    delivery = Delivery("default", b"a", message.SerializeToString(), "1.5")
    return TaskContext(message, delivery, None, None, _nothing, _nothing)


async def test_the_first_layer_is_the_outermost() -> None:
    seen: list[str] = []

    def layer(name: str) -> Any:
        async def wrapped(context: TaskContext, call_next: Next) -> Any:
            seen.append(f"{name} in")
            result = await call_next(context)
            seen.append(f"{name} out")
            return f"{name}({result})"

        return wrapped

    async def innermost(context: TaskContext) -> str:
        seen.append("handler")
        return "x"

    call = Registry(middleware=[layer("a"), layer("b")]).wrap(innermost)

    assert await call(context()) == "a(b(x))"
    assert seen == ["a in", "b in", "handler", "b out", "a out"]


async def test_a_layer_may_answer_itself_and_change_what_is_raised() -> None:
    async def answer(context: TaskContext, call_next: Next) -> Any:
        return "cached"

    async def translate(context: TaskContext, call_next: Next) -> Any:
        try:
            return await call_next(context)
        except KeyError as error:
            raise ValueError("translated") from error

    async def innermost(context: TaskContext) -> Any:
        raise KeyError("x")

    assert await Registry(middleware=[answer]).wrap(innermost)(context()) == "cached"
    with pytest.raises(ValueError, match="translated"):
        await Registry(middleware=[translate]).wrap(innermost)(context())


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
async def test_a_handler_does_not_end_the_worker(error: BaseException) -> None:
    async def innermost(context: TaskContext) -> Any:
        raise error

    with pytest.raises(HandlerExit, match=type(error).__name__):
        await recovery(context(), innermost)


def named(name: str) -> Any:
    async def layer(context: TaskContext, call_next: Next) -> Any:
        return f"{name}({await call_next(context)})"

    layer.__name__ = name
    return layer


def names(registry: Registry, task_type: str) -> list[str]:
    """The layers around a type's handler, without those of all types."""
    route = registry.find(task_type)
    assert route is not None
    return [getattr(layer, "__name__", "?") for layer in route.layers]


def test_the_more_types_a_layer_is_for_the_further_out_it_is() -> None:
    registry = Registry()
    registry.use(named("exact"), "image:resize")
    registry.use(named("long"), "image:re*")
    registry.use(named("first"), "image:*")
    registry.use(named("second"), "image:*")
    registry.add("image:resize", HANDLER, middleware=[named("own"), named("innermost")])
    registry.add("image:*", HANDLER, middleware=[named("handler's")])
    registry.add("*", HANDLER)

    assert names(registry, "image:resize") == ["first", "second", "long", "exact", "own", "innermost"]
    assert names(registry, "image:rename") == ["first", "second", "long", "handler's"]
    assert names(registry, "image:crop") == ["first", "second", "handler's"]
    assert names(registry, "video:crop") == []


def test_a_layer_added_later_is_around_types_looked_up_before() -> None:
    registry = Registry()
    registry.add("image:*", HANDLER)
    assert names(registry, "image:crop") == []
    registry.use(named("late"), "image:*")
    assert names(registry, "image:crop") == ["late"]


def test_types_with_the_same_layers_share_a_route() -> None:
    """What is composed of it is kept: types are strangers' text, so it must not be one for each."""
    registry = Registry()
    registry.add("*", HANDLER)
    registry.use(named("a"), "image:*")

    assert registry.find("image:1") is registry.find("image:2")
    assert registry.find("video:1") is registry.find("video:2")
    assert registry.find("image:1") is not registry.find("video:1")


def test_a_layer_for_all_types_is_the_registrys() -> None:
    registry = Registry(middleware=[named("a")])
    registry.use(named("b"))

    assert [layer.__name__ for layer in registry.middleware] == ["a", "b"]


def test_what_is_no_layer_is_refused() -> None:
    layer: Any = "logging"
    with pytest.raises(ConfigError, match="middleware"):
        Registry().use(layer)
    with pytest.raises(ConfigError, match="middleware"):
        Registry().add("a", HANDLER, middleware=[layer])
    with pytest.raises(InvalidOption):
        Registry().use(named("a"), "")


def test_an_unknown_type_is_told_with_names_like_it() -> None:
    registry = Registry()
    for task_type in ("email:send", "email:fetch", "image:*"):
        registry.add(task_type, HANDLER)

    assert "(did you mean 'email:send'" in str(registry.not_found("email:sent"))
    assert "(did you mean 'image:*'?)" in str(registry.not_found("image"))
    assert "mean" not in str(registry.not_found("xyz"))
