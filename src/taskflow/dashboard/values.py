"""Values as pages show them: times in full, and payloads as text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

MOST_BYTES = 64 * 1024
"""How much of a payload is shown at once."""
_HEX_BYTES = 4096
_HEX_COLUMNS = 16
_PREVIEW_CHARACTERS = 120
_UNPRINTABLE = re.compile("[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


class Shown(Struct, frozen=True):
    """Bytes as a page shows them.

    Attributes:
        kind: `json`, `text`, `binary` or `empty`.
        text: What is shown; JSON indented, binary as a hex dump.
        size: How many bytes there are.
        cut: Whether there is more than is shown.

    """

    kind: str
    text: str
    size: int
    cut: bool = False


def absolute(moment: datetime) -> str:
    """Return a time in full, in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def machine_time(moment: datetime) -> str:
    """Return a time for the attribute `datetime` of an element `time`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def browser_time(text: str) -> str:
    """Return a time that was written into a form as a browser's field for times has it, in UTC; '' if it is none."""
    try:
        moment = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        return ""
    utc = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return utc.strftime("%Y-%m-%dT%H:%M:%S")


def of_milliseconds(unix: int) -> datetime | None:
    """Return the time of Unix milliseconds; None if it is not set, or is none that a calendar has."""
    try:
        return datetime.fromtimestamp(unix / 1000, UTC) if unix > 0 else None
    except (ValueError, OverflowError, OSError):
        return None


def shown(data: bytes, *, most: int = MOST_BYTES) -> Shown:
    """Return bytes as a page shows them: JSON indented, other text as it is, all else as a hex dump; at most so many bytes."""
    if not data:
        return Shown("empty", "", 0)
    cut = len(data) > most
    try:
        if not cut:
            return Shown("json", msgspec.json.format(data, indent=2).decode(), len(data))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return Shown("text", _whole_characters(data[:most]).decode() if cut else data.decode(), len(data), cut)
    except UnicodeDecodeError:
        return Shown("binary", _hex_dump(data[:_HEX_BYTES]), len(data), len(data) > _HEX_BYTES)


def texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Return values by name as text: text as it is, all else as JSON."""
    return {
        name: value if isinstance(value, str) else msgspec.json.encode(value).decode() for name, value in values.items()
    }


def visible_json(text: str) -> str:
    """Return the same JSON without characters that are invisible, or turn the direction of what stands behind them."""
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def preview(content: bytes | str | None, length: int = _PREVIEW_CHARACTERS) -> str:
    """Return the beginning of a payload or a text on one line, for tables; '' for None."""
    data = content.encode(errors="replace") if isinstance(content, str) else content or b""
    text = " ".join(data[: length * 4].decode(errors="replace").split())
    return text if len(text) <= length and len(data) <= length * 4 else f"{text[:length]}…"


def _whole_characters(data: bytes) -> bytes:
    """Return data without the beginning of a character at its end, if it was cut within one."""
    for back in range(1, 4):
        if back <= len(data) and data[-back] >= 0xC0:  # noqa: PLR2004 - where UTF-8's characters of several bytes begin
            return data[:-back]
    return data


def _hex_dump(data: bytes) -> str:
    lines = []
    for first in range(0, len(data), _HEX_COLUMNS):
        row = data[first : first + _HEX_COLUMNS]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)  # noqa: PLR2004 - printable ASCII
        lines.append(f"{first:08x}  {row.hex(' '):<{_HEX_COLUMNS * 3}} {text}")
    return "\n".join(lines)
