"""Handler: the signature of a plain function is the schema of the payload, and binds the payload to arguments."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Literal, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest

from taskflow import InvalidPayload, TaskContext
from taskflow.errors import ConfigError
from taskflow.worker.handler import Handler


class Color(Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: int = 0


class Size(msgspec.Struct):
    width: int
    height: int = 1


class Options(TypedDict, total=False):
    fast: bool


class Address(pydantic.BaseModel):
    city: str
    zip_code: str = pydantic.Field(default="", max_length=5)


def bound(function: Callable[..., Any], payload: Any) -> Any:
    """What the function is called with, as the function itself tells it."""
    args, kwargs = Handler(function).bind(payload if isinstance(payload, bytes) else json.dumps(payload).encode())
    return function(*args, **kwargs)


# -- what is bound ----------------------------------------------------------------------------------------------------


def test_fields_are_bound_by_name_and_converted_to_their_annotations() -> None:
    def handler(
        when: datetime, color: Color, point: Point, size: Size, options: Options, number: UUID, tags: list[str]
    ) -> tuple[Any, ...]:
        return when, color, point, size, options, number, tags

    payload = {
        "tags": ["a"],
        "number": "12345678-1234-5678-1234-567812345678",
        "options": {"fast": True},
        "size": {"width": 3},
        "point": {"x": 1, "y": 2},
        "color": "red",
        "when": "2026-01-31T12:00:00Z",
        "unknown": "is ignored",
    }

    assert bound(handler, payload) == (
        datetime(2026, 1, 31, 12, tzinfo=UTC),
        Color.RED,
        Point(1, 2),
        Size(3),
        {"fast": True},
        UUID("12345678-1234-5678-1234-567812345678"),
        ["a"],
    )


def test_a_pydantic_model_validates_its_own_way() -> None:
    def handler(address: Address) -> Address:
        return address

    assert bound(handler, {"address": {"city": "Bonn"}}) == Address(city="Bonn")
    with pytest.raises(InvalidPayload, match="at most 5 characters"):
        bound(handler, {"address": {"city": "Bonn", "zip_code": "1234567"}})


def test_defaults_stand_in_for_missing_fields_and_are_not_shared() -> None:
    def handler(a: int, b: str = "b", c: list[int] = [1]) -> tuple[int, str, list[int]]:  # noqa: B006 - as users write it
        c.append(a)
        return a, b, c

    assert bound(handler, {"a": 1}) == (1, "b", [1, 1])
    assert bound(handler, {"a": 2}) == (2, "b", [1, 2])
    assert bound(handler, {"a": 3, "b": "x", "c": []}) == (3, "x", [3])


def test_keyword_only_and_positional_only_parameters() -> None:
    def keywords(a: int, *, b: int = 2, c: int) -> tuple[int, int, int]:
        return a, b, c

    def positions(a: int, b: int = 2, /) -> tuple[int, int]:
        return a, b

    assert bound(keywords, {"a": 1, "c": 3}) == (1, 2, 3)
    assert bound(positions, {"a": 1}) == (1, 2)


def test_positional_only_beside_keyword_only_parameters() -> None:
    def mixed(a: int, /, b: int, *, c: int) -> tuple[int, int, int]:
        return a, b, c

    assert bound(mixed, {"a": 1, "b": 2, "c": 3}) == (1, 2, 3)


def test_no_parameters_take_no_payload_or_any_object() -> None:
    def handler() -> str:
        return "called"

    assert bound(handler, b"") == "called"
    assert bound(handler, {"a": 1}) == "called"


def test_one_parameter_called_payload_takes_the_whole() -> None:
    def point(payload: Point) -> Point:
        return payload

    def anything(payload: Any) -> Any:
        return payload

    def untyped(payload):  # type: ignore[no-untyped-def]
        return payload

    assert bound(point, {"x": 1}) == Point(1)
    assert bound(anything, [1, None]) == [1, None]
    assert bound(anything, b"") is None
    assert bound(untyped, {"a": 1}) == {"a": 1}


def test_a_payload_of_bytes_comes_as_it_is() -> None:
    def handler(payload: bytes) -> bytes:
        return payload

    assert bound(handler, b"\xff{no json") == b"\xff{no json"
    assert bound(handler, b"") == b""
    assert Handler(handler).schema is None


def test_beside_other_parameters_payload_is_a_field_like_any_other() -> None:
    def handler(payload: int, other: int) -> tuple[int, int]:
        return payload, other

    assert bound(handler, {"payload": 1, "other": 2}) == (1, 2)


def test_the_context_is_the_first_parameter_annotated_so() -> None:
    def with_context(context: TaskContext, a: int) -> int:
        return a

    def without(context: dict[str, int]) -> dict[str, int]:
        return context

    assert Handler(with_context).takes_context
    assert Handler(with_context).bind(b'{"a": 1}') == ((1,), {})
    assert bound(without, {"context": {"n": 1}}) == {"n": 1}


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "path", "expected", "got"),
    [
        ({"a": "1"}, "$.a", "int", "str"),
        ({"a": 1, "point": {"x": None}}, "$.point.x", "int", "null"),
        ({"a": 1, "sizes": [{"width": 1}, {"width": 1.5}]}, "$.sizes[1].width", "int", "float"),
        ([1], "$", "object", "array"),
        (None, "$", "object", "null"),
    ],
)
def test_an_error_tells_where_and_what(payload: Any, path: str, expected: str, got: str) -> None:
    def handler(a: int, point: Point | None = None, sizes: list[Size] | None = None) -> None: ...

    with pytest.raises(InvalidPayload) as caught:
        bound(handler, payload)

    assert caught.value.path == path
    assert expected in (caught.value.expected or "")
    assert got in (caught.value.got or "")
    assert path in str(caught.value)


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"\xff\xfe", b'{"a": 1', b'{"a": 1} trailing', b"[" * 100_000, b'{"a": "\xed\xa0\x80"}']
)
def test_broken_json_is_an_invalid_payload(payload: bytes) -> None:
    def handler(a: Any) -> None: ...

    with pytest.raises(InvalidPayload):
        Handler(handler).bind(payload)


def test_a_missing_field_is_named() -> None:
    def handler(a: int) -> None: ...

    with pytest.raises(InvalidPayload, match="`a`"):
        bound(handler, {})


def positions(*args: int) -> None: ...
def keywords(**kwargs: int) -> None: ...
def rest(a: int, *others: int) -> None: ...


@pytest.mark.parametrize("function", [positions, keywords, rest])
def test_a_signature_without_names_is_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="cannot be bound to a payload"):
        Handler(function)


def test_an_annotation_that_cannot_be_resolved_is_refused() -> None:
    def handler(a: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821 - the point of the test

    with pytest.raises(ConfigError, match="annotation cannot be resolved"):
        Handler(handler)


def test_where_a_handler_runs() -> None:
    async def coroutine() -> None: ...
    def plain() -> None: ...

    assert Handler(coroutine).executor == "async"
    assert Handler(plain).executor == "thread"
    assert Handler(plain, executor="process").executor == "process"
    for function, executor in ((coroutine, "thread"), (coroutine, "process"), (plain, "async")):
        wrong: Any = executor
        with pytest.raises(ConfigError, match="does not fit"):
            Handler(function, executor=wrong)


# -- enqueueing through the signature ---------------------------------------------------------------------------------


def test_arguments_become_the_payload_and_come_back() -> None:
    def handler(context: TaskContext, a: int, when: datetime, address: Address, b: str = "b") -> tuple[Any, ...]:
        return a, when, address, b

    when = datetime(2026, 1, 31, tzinfo=UTC)
    payload = Handler(handler).payload(1, when, address=Address(city="Bonn"))

    assert json.loads(payload) == {
        "a": 1,
        "when": "2026-01-31T00:00:00Z",
        "address": {"city": "Bonn", "zip_code": ""},
    }
    assert Handler(handler).bind(payload) == ((1, when, Address(city="Bonn"), "b"), {})


def test_arguments_that_do_not_fit_fail_before_anything_is_sent() -> None:
    def handler(a: int) -> None: ...

    with pytest.raises(TypeError):
        Handler(handler).payload()
    with pytest.raises(TypeError):
        Handler(handler).payload(1, b=2)
    with pytest.raises(InvalidPayload, match=r"\$\.a"):
        Handler(handler).payload("no")
    with pytest.raises(InvalidPayload, match="no JSON form"):
        Handler(handler).payload(object())


def test_the_whole_payload_as_an_argument() -> None:
    def point(payload: Point) -> None: ...
    def raw(payload: bytes) -> None: ...
    def optional(payload: int | None = None) -> None: ...

    assert json.loads(Handler(point).payload(Point(1, 2))) == {"x": 1, "y": 2}
    assert Handler(raw).payload(b"\xff") == b"\xff"
    assert Handler(optional).payload(payload=3) == b"3"


def test_the_default_of_the_whole_payload() -> None:
    def handler(payload: int = 5) -> int:
        return payload

    assert Handler(handler).payload() == b""
    assert bound(handler, b"") == 5
    assert bound(handler, b"7") == 7


# -- schema -----------------------------------------------------------------------------------------------------------


def test_the_schema_describes_the_fields() -> None:
    def handler(a: int, point: Point, kind: Literal["x", "y"] = "x") -> None: ...

    schema = Handler(handler).schema

    assert schema is not None
    assert schema["type"] == "object"
    assert schema["required"] == ["a", "point"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["a"] == {"type": "integer"}
    assert schema["properties"]["kind"] == {"enum": ["x", "y"], "default": "x"}
    assert schema["properties"]["point"] == {"$ref": "#/$defs/Point"}
    assert schema["$defs"]["Point"]["required"] == ["x"]


def test_the_schema_of_a_whole_payload() -> None:
    def point(payload: Point) -> None: ...
    def anything(payload: Any) -> None: ...
    def nothing() -> None: ...
    def model(payload: Address) -> None: ...

    assert Handler(point).schema == {
        "$ref": "#/$defs/Point",
        "$defs": Handler(point).schema["$defs"],  # type: ignore[index]
    }
    assert Handler(anything).schema == {}
    assert Handler(nothing).schema == {
        "title": "nothing",
        "type": "object",
        "properties": {},
        "required": [],
        "additionalProperties": False,
    }
    assert "city" in json.dumps(Handler(model).schema)
