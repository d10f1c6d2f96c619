"""The kinds of values that settings hold: how each is read from a file, the environment and the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field

from taskflow.durations import parse_duration
from taskflow.errors import InvalidQueue
from taskflow.task import check_queue


def queue_name(name: str) -> str:
    """Return the name. Raises `ValueError` if no queue can be called so."""
    try:
        check_queue(name)
    except InvalidQueue as error:
        raise ValueError(error.reason) from error
    return name


def _read_duration(value: object) -> timedelta:
    if isinstance(value, str):
        return parse_duration(value)
    if not isinstance(value, timedelta):
        raise ValueError('must be a duration with its unit, such as "30s"')  # noqa: TRY004 - pydantic collects ValueError
    if value < timedelta(0):
        raise ValueError("must not be negative")
    return value


def _more_than_zero(duration: timedelta) -> timedelta:
    if not duration:
        raise ValueError("must be more than 0s")
    return duration


def read_names(value: object) -> object:
    """Return the names in a text with commas between them, or of a JSON list; any other value is as it is."""
    if isinstance(value, str):
        text = value.strip()
        return json.loads(text) if text.startswith("[") else [part.strip() for part in text.split(",") if part.strip()]
    return value


def _read_weights(value: object) -> object:
    if isinstance(value, str) and value.strip().startswith("{"):
        return json.loads(value)
    if isinstance(value, (str, list)):
        pairs = [str(part).partition("=") for part in _iterate(read_names(value))]
        return {name.strip(): weight.strip() if equals else 1 for name, equals, weight in pairs}
    return value


def read_json(value: object) -> object:
    """Return what JSON text says; any other value is as it is."""
    return json.loads(value) if isinstance(value, str) else value


def _iterate(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _read_level(value: object) -> object:
    if isinstance(value, str):
        level = value.lower()
        return {"warn": "warning", "fatal": "critical"}.get(level, level)
    return value


Duration = Annotated[timedelta, BeforeValidator(_read_duration)]
PositiveDuration = Annotated[Duration, AfterValidator(_more_than_zero)]
Names = Annotated[tuple[str, ...], BeforeValidator(read_names)]
Weights = Annotated[Mapping[str, Annotated[int, Field(ge=1)]], BeforeValidator(_read_weights), Field(min_length=1)]
Size = Annotated[ByteSize, Field(gt=0)]
Port = Annotated[int, Field(ge=0, le=65535)]
LogLevel = Annotated[Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(_read_level)]
Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
LogFormat = Literal["json", "console", "auto"]
Rate = Annotated[str, Field(pattern=r"^([1-9][0-9]{0,6}/[smh])?$")]
"""How many in a second, minute or hour, such as `100/s`; '': any number."""
