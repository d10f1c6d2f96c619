"""Log lines, from structlog and from the standard library, on their way to a stream."""

from __future__ import annotations

import asyncio
import contextvars
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskflow.broker.delivery import Delivery
from taskflow.observability.logs import configure_logging, mask_secrets, render_json
from taskflow.observability.request_log import RequestLog
from taskflow.wire.message import TaskMessage
from taskflow.worker.context import RUNNING, TaskContext


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Leave logging as it was found."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


class Stream(io.TextIOWrapper):
    """A text stream over bytes, as standard error is; `terminal` says whether it is one."""

    def __init__(self, *, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8")
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    @property
    def text(self) -> str:
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


def test_a_line_that_a_task_writes_says_which_task_it_is() -> None:
    """Whoever writes it: structlog, the standard library; what the line says itself wins."""
    configure_logging("info", "json", stream := Stream())
    delivery = Delivery("low", b"42", b"", "0")
    message = TaskMessage(type="email:send", id="42", queue="low", retried=1)

    async def publish(*_: object) -> None: ...

    def write() -> None:
        RUNNING.set(TaskContext(message, delivery, None, None, publish, publish))
        structlog.get_logger().info("one")
        logging.getLogger("library").warning("two")
        structlog.get_logger().info("three", type="of letter")
        structlog.get_logger().info("four", task_id="41")

    contextvars.copy_context().run(write)
    structlog.get_logger().info("five")

    task = {"task_id": "42", "type": "email:send", "queue": "low", "retried": 1}
    assert [{key: line.get(key) for key in task} for line in stream.lines] == [
        task,
        task,
        task | {"type": "of letter"},
        dict.fromkeys(task) | {"task_id": "41"},
        dict.fromkeys(task),
    ]


def test_a_line_of_json_begins_with_time_level_and_event() -> None:
    configure_logging("info", "json", stream := Stream())

    structlog.get_logger().info("task done", task_id="1", queue="default")

    [line] = stream.lines
    assert list(line) == ["timestamp", "level", "event", "task_id", "queue"]
    assert line | {"timestamp": ""} == {
        "timestamp": "",
        "level": "info",
        "event": "task done",
        "task_id": "1",
        "queue": "default",
    }
    assert line["timestamp"].endswith("Z")


def test_labels_stand_in_every_line() -> None:
    """The lines of HTTP requests take a way of their own."""
    configure_logging("info", "json", stream := Stream(), labels={"app": "shop", "environment": "test"})

    structlog.get_logger().info("one")
    logging.getLogger("library").warning("two")
    structlog.get_logger().info("three", app="other")

    async def request() -> None:
        RequestLog().add("GET", "/", 200, 0.1, "id")

    asyncio.run(request())
    assert [(line["app"], line["environment"]) for line in stream.lines] == [
        ("shop", "test"),
        ("shop", "test"),
        ("other", "test"),
        ("shop", "test"),
    ]


def test_lines_below_the_level_are_not_even_put_together() -> None:
    configure_logging("warning", "json", stream := Stream())
    logger = structlog.get_logger().bind(worker="a")

    logger.debug("%s", "no")
    logger.info("no")
    logging.getLogger("redis").info("no")
    logger.warning("yes")

    assert [line["event"] for line in stream.lines] == ["yes"]
    assert logger.debug.__name__ == "_nop"


def test_the_standard_librarys_lines_go_the_same_way() -> None:
    configure_logging("info", "json", stream := Stream())

    logging.getLogger("uvicorn.error").info("listening on %s", "redis://:pw@h:1", extra={"port": 1, "token": "t"})

    [line] = stream.lines
    assert line | {"timestamp": ""} == {
        "timestamp": "",
        "level": "info",
        "event": "listening on redis://:***@h:1",
        "logger": "uvicorn.error",
        "port": 1,
        "token": "***",
    }


def test_bound_context_is_on_every_line() -> None:
    configure_logging("info", "json", stream := Stream())
    structlog.contextvars.bind_contextvars(request_id="r1")

    structlog.get_logger().info("one")
    logging.getLogger("litestar").info("two")

    assert [line["request_id"] for line in stream.lines] == ["r1", "r1"]


@pytest.mark.parametrize("source", ["structlog", "logging"])
@pytest.mark.parametrize("format", ["json", "console"])
def test_tracebacks_are_written_without_passwords_and_local_variables(source: str, format: str) -> None:  # noqa: A002 - the setting's own name
    configure_logging("info", "json" if format == "json" else "console", stream := Stream())
    logger = structlog.get_logger() if source == "structlog" else logging.getLogger("redis")

    def connect(token: str) -> None:
        raise ConnectionError("redis://app:hunter2@db.example.org refused")

    try:
        connect("abc" + "123")
    except ConnectionError:
        logger.exception("failed")

    assert "redis://app:***@db.example.org refused" in stream.text
    assert "Traceback" in stream.text
    assert "hunter2" not in stream.text
    assert "abc123" not in stream.text


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "Password",
        "redis_password",
        "secret",
        "client-secret",
        "token",
        "access_token",
        "Authorization",
        "api_key",
        "x-api-key",
        "apikey",
    ],
)
def test_secret_keys_are_masked_at_any_depth(key: str) -> None:
    event = {"event": "e", key: "v", "headers": {key: "v", "more": [{key: "v"}]}}

    assert mask_secrets(None, "info", event) == {
        "event": "e",
        key: "***",
        "headers": {key: "***", "more": [{key: "***"}]},
    }


@pytest.mark.parametrize("key", ["tokens_used", "secretary", "passwordless", "task_id", "keyboard"])
def test_other_keys_are_not_masked(key: str) -> None:
    assert mask_secrets(None, "info", {key: "v"}) == {key: "v"}


def test_values_nested_without_end_are_cut() -> None:
    cycle: dict[str, Any] = {"token": "t"}
    cycle["self"] = cycle

    line = render_json(None, "info", mask_secrets(None, "info", {"event": "e", "cycle": cycle}))

    assert b'"token":"t"' not in line
    assert "…" in line.decode()


def test_auto_is_console_on_a_terminal_and_json_elsewhere() -> None:
    configure_logging("info", "auto", terminal := Stream(terminal=True))
    structlog.get_logger().info("hello")
    configure_logging("info", "auto", file := Stream())
    structlog.get_logger().info("hello")

    assert "\x1b[" in terminal.text
    assert [line["event"] for line in file.lines] == ["hello"]


def test_texts_of_strangers_do_not_control_the_terminal() -> None:
    configure_logging("info", "console", stream := Stream())

    structlog.get_logger().info("task\x1b[2J", type="\x1b]0;owned\x07", text="\ud800")

    assert "\x1b" not in stream.text
    assert "\\x1b[2J" in stream.text


def test_texts_of_strangers_do_not_look_like_other_lines() -> None:
    configure_logging("info", "console", stream := Stream())

    structlog.get_logger().info("request", path="/a\n12:00:00 [error] forged\t\u2028")

    assert len(stream.text.splitlines()) == 1


@pytest.mark.parametrize("text", ["\x7f\x08", "\x9b2J", "\x85", "\u2028", "\u2029", "é\x1b[2J"])
def test_json_has_nothing_that_a_terminal_or_a_reader_of_lines_obeys(text: str) -> None:
    line = render_json(None, "info", {"event": text})

    assert line.decode().isprintable()
    assert len(line.decode().splitlines()) == 1
    assert json.loads(line)["event"] == text


def test_a_stream_of_text_only_gets_json_too() -> None:
    configure_logging("info", "json", stream := io.StringIO())

    structlog.get_logger().info("hello")
    logging.getLogger("redis").info("there")

    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["hello", "there"]


def test_configuring_again_does_not_double_the_lines() -> None:
    configure_logging("info", "json", Stream())
    configure_logging("info", "json", stream := Stream())

    logging.getLogger("redis").info("once")

    assert len(stream.lines) == 1


class Odd:
    """A value that JSON has no form for."""


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
@given(
    st.dictionaries(
        st.text(),
        st.recursive(
            st.none() | st.integers() | st.floats() | st.text() | st.binary() | st.builds(Odd) | st.sets(st.integers()),
            lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.tuples(st.text()), inner),
        ),
    )
)
def test_any_event_is_one_line_of_json(event: dict[str, Any]) -> None:
    line = render_json(None, "info", mask_secrets(None, "info", {"event": "e", **event}))

    assert b"\n" not in line
    assert "event" in json.loads(line)


@pytest.mark.parametrize("text", ["\ud800", "a\x00b", "日本"])
def test_any_text_is_one_line_of_json(text: str) -> None:
    line = render_json(None, "info", {"event": text, "n": 2**200, "f": float("nan")})

    assert "event" in json.loads(line)
