"""Log lines: JSON for machines, colours for terminals; structlog's and the standard library's go the same way.

Code logs with `structlog.get_logger()`; until `configure_logging` is called, structlog's own defaults hold.
"""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import traceback
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Protocol, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, ExcInfo, Processor

from taskflow.config import LogFormat, LogLevel, mask_url
from taskflow.worker.context import RUNNING

MASK = "***"
"""What stands in place of a secret."""

_SECRET_WORDS = re.compile(r"(^|[_.-])(password|passwd|secret|token|authorization|cookie|api[_-]?key)($|[_.-])")
_MAX_DEPTH = 6
"""How deep secrets are looked for in nested values; deeper ones are replaced as a whole."""
_RECORD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}
_CONTROLS |= {code: f"\\u{code:04x}" for code in (0x2028, 0x2029, *range(0xD800, 0xE000))}
_UNESCAPED = re.compile(rb"\x7f|\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]")
"""What JSON lets stand although a terminal obeys it or a reader of lines takes it for the end of one."""
_FOREIGN_LOGGERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi", "litestar", "redis")


def configure_logging(
    level: LogLevel = "info",
    format: LogFormat = "auto",  # noqa: A002 - the setting's own name
    stream: TextIO | None = None,
    *,
    labels: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Send all log lines of this process to one stream.

    Lines below the level cost next to nothing: their methods do nothing. Values of keys such as `password`, `token` or
    `api_key`, and passwords in URLs, are written as `***`. Call it once, before the first line: loggers that were used keep
    what they were set up with. Servers that set up logging themselves must be told not to (uvicorn: `log_config=None`).

    Args:
        level: The lowest level that is written. Default `info`.
        format: `json`: one object per line, in UTF-8. `console`: for people. `auto` (default): `console` if the stream is a
            terminal.
        stream: Where lines go. Default: standard error.
        labels: Fields that stand in each line of JSON.
    """
    stream = stream or sys.stderr
    as_json = format == "json" or (format == "auto" and not stream.isatty())
    number = logging.getLevelNamesMapping()[level.upper()]
    as_bytes = as_json and hasattr(stream, "buffer")
    sink = _BytesSink(stream) if as_bytes else structlog.WriteLogger(stream)
    chain = _json_chain(labels, as_bytes=as_bytes) if as_json else _console_chain(colors=stream.isatty())
    structlog.configure(
        processors=chain,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: sink,
        cache_logger_on_first_use=True,
    )
    _route_standard_logging(number, _Handler(chain, sink))


def mask_secrets(_logger: object, _method: str, event: EventDict) -> EventDict:
    """A structlog processor that replaces the values of secret keys, at any depth, and passwords in URLs."""
    for key, value in event.items():
        event[key] = _masked(key, value, _MAX_DEPTH)
    return event


def add_task(_logger: object, _method: str, event: EventDict) -> EventDict:
    """A structlog processor that says which task a line belongs to, unless the line does."""
    if "task_id" not in event and (context := RUNNING.get()) is not None:
        task = {"task_id": context.id, "type": context.type, "queue": context.queue, "retried": context.retried}
        return {**task, **event}
    return event


class Labels:
    """A structlog processor that says which installation a line is of."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        self.labels = dict(labels)

    def __call__(self, _logger: object, _method: str, event: EventDict) -> EventDict:
        """Return the line with the labels that it does not have."""
        return {**self.labels, **event}


class _Sink(Protocol):
    """Writes one line."""

    def msg(self, message: Any) -> object: ...


class _BytesSink(structlog.BytesLogger):
    """Writes to the buffer under a text stream, and keeps the stream, with whose end the buffer would be closed."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream.buffer)
        self.stream = stream


class _Handler(logging.Handler):
    """Takes the standard library's records through structlog's processors to the same sink."""

    def __init__(self, chain: list[Processor], sink: _Sink) -> None:
        super().__init__()
        self._chain = chain
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        try:
            event: Any = {"event": record.getMessage(), "logger": record.name}
            event |= {key: value for key, value in vars(record).items() if key not in _RECORD_ATTRIBUTES}
            if record.exc_info:
                event["exc_info"] = record.exc_info
            for processor in self._chain:
                event = processor(None, record.levelname.lower(), event)
            self._sink.msg(event)
        except Exception:  # noqa: BLE001 - logging's own rule: a line that cannot be written must not stop the program
            self.handleError(record)


def _json_chain(labels: Mapping[str, str], *, as_bytes: bool) -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        *([Labels(labels)] if labels else []),
        add_task,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        mask_secrets,
        render_json if as_bytes else _render_json_text,
    ]


def _console_chain(*, colors: bool) -> list[Processor]:
    # Not structlog's default tracebacks: those show local variables, and with them whatever secrets these hold.
    renderer = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=_write_traceback)
    return [
        structlog.contextvars.merge_contextvars,
        add_task,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=False),
        mask_secrets,
        _escape_controls,
        renderer,
    ]


_encode = msgspec.json.Encoder(enc_hook=repr).encode
_FIRST = ("timestamp", "level", "event")


def render_json(_logger: object, _method: str, event: EventDict) -> bytes:
    """The last structlog processor: the event as one line of JSON. It takes any value; what JSON lacks is its `repr`."""
    ordered = {**{key: event.pop(key, None) for key in _FIRST}, **event}
    try:
        return escaped(_encode(ordered))
    except (TypeError, ValueError, RecursionError):
        # Lone surrogates, keys that are no text, cycles.
        return json.dumps({str(key): repr(value) for key, value in ordered.items()}).encode()


def escaped(line: bytes) -> bytes:
    """Return a line of JSON without bytes that do something to a terminal, or to a reader of lines."""
    if line.isascii() and b"\x7f" not in line:
        return line
    return _UNESCAPED.sub(lambda found: f"\\u{ord(found[0].decode()):04x}".encode(), line)


def _render_json_text(logger: object, method: str, event: EventDict) -> str:
    return render_json(logger, method, event).decode()


def _escape_controls(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Texts of strangers must not move the cursor or change colours of the terminal that shows them."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[key] = value.translate(_CONTROLS)
    return event


def _masked(key: object, value: Any, depth: int) -> Any:
    if isinstance(key, str) and _is_secret(key):
        return MASK
    if isinstance(value, str):
        return mask_url(value)
    if isinstance(value, (Mapping, list, tuple)):
        return _masked_inside(value, depth - 1)
    return value


def _masked_inside(value: Mapping[Any, Any] | list[Any] | tuple[Any, ...], depth: int) -> Any:
    if depth == 0:
        return "…"
    if isinstance(value, Mapping):
        return {key: _masked(key, item, depth) for key, item in value.items()}
    return [_masked(None, item, depth) for item in value]


@lru_cache(maxsize=1024)
def _is_secret(key: str) -> bool:
    return _SECRET_WORDS.search(key.lower()) is not None


def _write_traceback(output: TextIO, exc_info: ExcInfo) -> None:
    text = io.StringIO()
    traceback.print_exception(*exc_info, file=text)
    output.write("\n" + mask_url(text.getvalue()).translate(_CONTROLS).rstrip("\n"))


def _route_standard_logging(level: int, handler: logging.Handler) -> None:
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _Handler) or type(each) is logging.StreamHandler]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    for name in _FOREIGN_LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
