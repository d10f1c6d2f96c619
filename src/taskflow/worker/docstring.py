"""Docstring: what a handler's docstring says of its parameters, and the examples of payloads in it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

_KEYWORD = re.compile(r"[A-Za-z_]\w*=(?!=)")
"""How the keyword form begins: `to="ada@example.org"`; what has a space before its `=` is code."""


class BadExample(Struct, frozen=True):
    """An example that could not be read, and why."""

    text: str
    reason: str


class Docstring(Struct, frozen=True):
    """What a docstring says, in Google's style, NumPy's or Sphinx's.

    Attributes:
        summary: Its first paragraph.
        parameters: Parameters with what is said of them.
        examples: The text of its sections called Example or Examples.

    """

    summary: str
    parameters: dict[str, str]
    examples: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str) -> Docstring:
        """Return what a docstring says (`inspect.getdoc`)."""
        summary, _, rest = text.partition("\n\n")
        if not rest and ":param" not in text:
            return cls(summary, {})
        import docstring_parser  # noqa: PLC0415 - most programs that import handlers never ask for this

        try:
            found = docstring_parser.parse(text)
        except docstring_parser.ParseError:
            return cls(summary, {})
        parameters = {
            parameter.arg_name: " ".join(parameter.description.split())
            for parameter in found.params
            if parameter.description
        }
        examples = (f"{one.snippet or ''}\n{one.description or ''}" for one in found.examples)
        return cls(summary, parameters, tuple(examples))


def read_examples(text: str, *, fields: bool) -> Iterator[Any]:
    """Return the payloads that stand in a section of examples, with a `BadExample` where one cannot be read.

    A payload is JSON that begins a line, or, with `fields`, keywords as in a call: `to="ada@example.org", count=2`. Each may go
    on over several lines. Other lines are prose.

    Args:
        text: The section.
        fields: Whether payloads are objects; otherwise they may be any JSON.

    """
    lines = text.splitlines()
    while lines:
        line = lines[0].strip()
        if line.startswith("{") or (not fields and _is_json(line)):
            found, used = _json_at(lines)
        elif fields and _KEYWORD.match(line):
            found, used = _keywords_at(lines)
        else:
            del lines[0]
            continue
        yield found
        del lines[:used]


def _is_json(line: str) -> bool:
    try:
        json.loads(line, parse_constant=_no_json)
    except (ValueError, RecursionError):
        return line.startswith(("[{", '["'))
    return True


def _json_at(lines: list[str]) -> tuple[Any, int]:
    """Return the JSON that begins the first line, and over how many lines it goes."""
    block = "\n".join(_paragraph(lines)).lstrip()
    try:
        value, end = json.JSONDecoder(parse_constant=_no_json).raw_decode(block)
    except (ValueError, RecursionError) as error:
        return BadExample(block, f"it is no JSON: {error}"), len(_paragraph(lines))
    rest = block[end:].partition("\n")[0].strip()
    used = block[:end].count("\n") + 1
    return (BadExample(block, f"something follows the JSON: {rest}") if rest.strip(",") else value), used


def _keywords_at(lines: list[str]) -> tuple[Any, int]:
    """Return the object of the keywords that begin the first line, and over how many lines they go."""
    paragraph = _paragraph(lines)
    for used in range(1, len(paragraph) + 1):
        if used < len(paragraph) and paragraph[used - 1].rstrip().endswith(","):
            continue
        try:
            call = ast.parse(f"_({' '.join(paragraph[:used])})", mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        return _object(call, "\n".join(paragraph[:used])), used
    return BadExample("\n".join(paragraph), "the keywords cannot be read"), len(paragraph)


def _object(call: ast.expr, text: str) -> Any:
    if not isinstance(call, ast.Call) or call.args or any(keyword.arg is None for keyword in call.keywords):
        return BadExample(text, "it must be keywords with values, and commas between")
    try:
        found = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
        return json.loads(json.dumps(found, allow_nan=False))
    except (ValueError, TypeError, RecursionError, MemoryError) as error:
        return BadExample(text, f"a value is no literal that JSON has: {error}")


def _paragraph(lines: list[str]) -> list[str]:
    """Return the lines up to the first empty one."""
    end = next((number for number, line in enumerate(lines) if not line.strip()), len(lines))
    return lines[:end]


def _no_json(text: str) -> Any:
    raise ValueError(f"JSON has no {text}")
