"""Where settings come from: reads the file, the environment and the options, and says what cannot be used."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel, ByteSize, SecretStr, ValidationError

from taskflow.config.keys import KeyRecord
from taskflow.config.section import Section
from taskflow.config.settings import MASK, Settings, mask_url
from taskflow.durations import format_duration
from taskflow.errors import ConfigError

DEFAULT_FILE = Path("taskflow.yaml")
ENV_PREFIX = "TASKFLOW_"

_NOT_SETTINGS = frozenset({"TASKFLOW_CONFIG", "TASKFLOW_REDIS_SERVER"})
_TEST_PREFIX = "TASKFLOW_TEST_"
_WORDS = {
    "Input should be": "must be",
    "Extra inputs are not permitted": "is not a setting",
    "Field required": "is missing",
}
"""Words of pydantic's and ours."""
_SECRET_NAMES = frozenset(
    {"redis.password", "redis.url", "api.auth.keys", "dashboard.secret", "webhooks.secret", "http_targets"}
)
# Kubernetes and Docker set such variables for every service, so also for one that is called taskflow or taskflow-redis.
_SERVICE_LINK = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://")
_Found = dict[str, tuple[str, object]]
"""Dotted name -> (source, value)."""


class Setting(NamedTuple):
    """One setting as text. `source` is `default`, the file's path, the environment variable, or `option`."""

    name: str
    value: str
    source: str


def load_settings(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Settings:
    """Read all sources and check them.

    Args:
        path: The YAML file, which must exist. Default: `TASKFLOW_CONFIG`, else `taskflow.yaml` if there is one.
        environ: The environment. Default: the process's own. An empty variable counts as not set.
        overrides: Dotted names to values, stronger than all else; a value of None counts as not given.

    Raises:
        ConfigError: Something cannot be used; the message has a line for each problem.
    """
    environ = os.environ if environ is None else environ
    problems: list[str] = []
    found = _from_file(path, environ, problems)
    found |= _from_environ(environ, problems)
    found |= _from_overrides(overrides or {}, problems)
    settings = _build(found, problems)
    if settings is None or problems:
        raise ConfigError("\n  ".join(["the settings cannot be used:", *problems]))
    settings._sources.update({name: source for name, (source, _) in found.items()})  # noqa: SLF001 - the maker's own note
    return settings


def describe(settings: Settings) -> list[Setting]:
    """Every setting with its value, secrets masked, and the source it came from."""
    sources = settings._sources  # noqa: SLF001 - written by load_settings, above
    return [
        Setting(name, _as_text(_value_of(settings, name)), sources.get(name, "default")) for name in setting_names()
    ]


@cache
def setting_names() -> tuple[str, ...]:
    """The dotted names of all settings, in the order of the file."""
    return tuple(_names_in(Settings, ""))


def environment_name(name: str) -> str:
    """The environment variable of a setting: `TASKFLOW_SERVER_HTTP_PORT` for `server.http.port`."""
    return ENV_PREFIX + name.replace(".", "_").upper()


def _names_in(section: type[BaseModel], prefix: str) -> Iterator[str]:
    for key in section.model_fields:
        inner = _section_at(section, key)
        if inner is None:
            yield prefix + key
        else:
            yield from _names_in(inner, f"{prefix}{key}.")


def _section_at(section: type[BaseModel], key: str) -> type[BaseModel] | None:
    annotation = section.model_fields[key].annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def _from_file(path: Path | None, environ: Mapping[str, str], problems: list[str]) -> _Found:
    named = path or environ.get("TASKFLOW_CONFIG")
    file = Path(named or DEFAULT_FILE)
    if not named and not file.exists():
        return {}
    try:
        with file.open(encoding="utf-8") as stream:
            content = yaml.safe_load(stream)
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}")
        return {}
    except yaml.YAMLError as error:
        problems.append(f"{file}: is not YAML: {' '.join(str(error).split())}")
        return {}
    return {name: (str(file), value) for name, value in _flatten(Settings, content, "", f"{file}: ", problems)}


def _flatten(
    section: type[BaseModel], values: object, prefix: str, where: str, problems: list[str]
) -> Iterator[tuple[str, object]]:
    """Yield (dotted name, value) for each setting in the nested values; a key without a value counts as not given."""
    if values is None:
        return
    if not isinstance(values, dict):
        problems.append(
            f"{where}{prefix.rstrip('.') or 'the file'} must hold settings: {', '.join(section.model_fields)}"
        )
        return
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key not in section.model_fields:
            problems.append(f"{where}{name} is not a setting{_suggest(name, _with_sections(), by_leaf=True)}")
        elif inner := _section_at(section, key):
            yield from _flatten(inner, value, f"{name}.", where, problems)
        elif value is not None:
            yield name, value


def _from_environ(environ: Mapping[str, str], problems: list[str]) -> _Found:
    names = {environment_name(name): name for name in setting_names()}
    found: _Found = {}
    for variable, value in environ.items():
        if not variable.startswith(ENV_PREFIX) or not value or _is_no_setting(variable, value):
            continue
        name = names.get(variable.replace("__", "_"))
        if name is None:
            problems.append(f"{variable} is not a setting{_suggest(variable, names, by_leaf=False)}")
        else:
            found[name] = (variable, value)
    return found


def _is_no_setting(variable: str, value: str) -> bool:
    if variable in _NOT_SETTINGS or variable.startswith(_TEST_PREFIX):
        return True
    return bool(_SERVICE_LINK.fullmatch(variable) or (variable.endswith("_PORT") and _SERVICE_ADDRESS.match(value)))


def _from_overrides(overrides: Mapping[str, object], problems: list[str]) -> _Found:
    found: _Found = {}
    for name, value in overrides.items():
        if name not in setting_names():
            problems.append(f"option {name} is not a setting{_suggest(name, setting_names(), by_leaf=True)}")
        elif value is not None:
            found[name] = ("option", value)
    return found


def _with_sections() -> list[str]:
    names: dict[str, None] = {}
    for name in setting_names():
        parts = name.split(".")
        names.update(dict.fromkeys(".".join(parts[:length]) for length in range(1, len(parts) + 1)))
    return list(names)


def _suggest(name: str, known: Iterable[str], *, by_leaf: bool) -> str:
    """Name the nearest known name, if any; `concurrency` means `server.worker.concurrency`."""
    leaf = name.rpartition(".")[2]
    same_leaf = [other for other in known if by_leaf and other.rpartition(".")[2] == leaf]
    close = difflib.get_close_matches(name, same_leaf or known, n=1, cutoff=0 if same_leaf else 0.6)
    return f"; did you mean {close[0]}?" if close else ""


def _build(found: _Found, problems: list[str]) -> Settings | None:
    nested: dict[str, Any] = {}
    for name, (_, value) in found.items():
        *sections, leaf = name.split(".")
        target = nested
        for section in sections:
            target = target.setdefault(section, {})
        target[leaf] = value
    try:
        return Settings(**nested)
    except ValidationError as error:
        problems.extend(_problem(found, detail["loc"], detail["msg"], detail["input"]) for detail in error.errors())
        return None


def _problem(found: _Found, location: tuple[int | str, ...], message: str, value: object) -> str:
    """One line for one thing that pydantic refused: where it was written, what is wrong, and what was found."""
    dotted = ".".join(map(str, location))
    name = next((known for known in found if dotted == known or dotted.startswith(f"{known}.")), None)
    text = message.removeprefix("Value error, ")
    for words, ours in _WORDS.items():
        text = text.replace(words, ours)
    if name is None:  # a combination of settings in a section
        return f"{dotted}: {text}"
    source = found[name][0]
    where = source if source.startswith(ENV_PREFIX) else f"{source}: {dotted}"
    got = "" if name in _SECRET_NAMES else f" (got {_shorten(value)})"
    return f"{where}: {text}{got}"


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"  # noqa: PLR2004 - fits a line


def _value_of(settings: Settings, name: str) -> object:
    value: object = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _as_text(value: object) -> str:
    if isinstance(value, SecretStr):
        return MASK if value.get_secret_value() else ""
    if isinstance(value, Mapping):
        return ",".join(key if isinstance(item, Section) else f"{key}={item}" for key, item in value.items())
    if isinstance(value, tuple):
        return ",".join(item.name if isinstance(item, KeyRecord) else str(item) for item in value)
    return _scalar_as_text(value)


def _scalar_as_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, ByteSize):
        return _size_as_text(value)
    return mask_url(str(value))


def _size_as_text(size: int) -> str:
    for unit, factor in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)
