"""Sample: one request to an operation and its answer, as the OpenAPI document shows them, and as a line for curl."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from msgspec import UNSET, Struct

DEV = "http://127.0.0.1:8080"
"""Where `taskflow dev` serves the API, unless its port is taken."""
_WIDTH = 100
_SECONDS = 2
"""How long a stream without an end is looked at."""


class Sample(Struct, frozen=True, kw_only=True):
    """A request and its answer.

    Attributes:
        parameters: The parameters of path, query and headers by name; others are left out.
        found: Of parameters of the path that nobody can know before, the commands of a shell that find their values.
        body: What is sent as JSON. Default: nothing.
        status: The status of the answer.
        answer: Its body: what the contract in `schemas` allows, or the text of one that is no JSON.
        endless: Whether it is a stream that does not end by itself.

    """

    parameters: Mapping[str, str | int | bool] = {}
    found: Mapping[str, str] = {}
    body: Any = UNSET
    status: int = 200
    answer: Any
    endless: bool = False

    def describe(self, path: str, method: str, operation: dict[str, Any], components: dict[str, Any]) -> None:
        """Write the sample into an operation: examples of its parameters, body and answer, and the line for curl.

        Args:
            path: The operation's path, behind that of the server.
            method: Its method, in small letters.
            operation: The operation.
            components: The document's schemas; that of the body gets the body as its example.

        """
        for parameter in operation.get("parameters", ()):
            if parameter["name"] in self.parameters:
                parameter["example"] = self.parameters[parameter["name"]]
        if self.body is not UNSET:
            reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            components[reference.rpartition("/")[2]]["examples"] = [self.body]
        (media,) = operation["responses"][str(self.status)]["content"].values()
        media["example"] = msgspec.to_builtins(self.answer)
        operation["x-codeSamples"] = [{"lang": "Shell", "label": "curl", "source": self.curl(path, method, operation)}]

    def curl(self, path: str, method: str, operation: dict[str, Any]) -> str:
        """Return the request as a line for curl, folded if it is long, below those that find what it needs."""
        words = ["curl -sN" if "text/event-stream" in str(operation["responses"]) else "curl -s"]
        if self.endless:
            words.append(f"--max-time {_SECONDS}")
        if method != ("get" if self.body is UNSET else "post"):
            words.append(f"-X {method.upper()}")
        words.append(self._url(path, operation))
        for name, value in self._of(operation, "header").items():
            words.append(f"-H {_quoted(f'{name}: {value}')}")
        if self.body is not UNSET:
            words += ["-H 'Content-Type: application/json'", f"-d {_quoted(pretty(self.body, _WIDTH, 2))}"]
        return "".join(f"{name.upper()}=$({command})\n" for name, command in self.found.items()) + _folded(words)

    def _url(self, path: str, operation: dict[str, Any]) -> str:
        for name, value in self._of(operation, "path").items():
            text = f"${name.upper()}" if name in self.found else quote(str(value), safe="")
            path = path.replace(f"{{{name}}}", text)
        query = {name: _text(value) for name, value in self._of(operation, "query").items()}
        url = f"{DEV}{path}?{urlencode(query, safe=':,')}" if query else DEV + path
        return _quoted(url) if query else url

    def _of(self, operation: dict[str, Any], place: str) -> dict[str, str | int | bool]:
        """The parameters that stand in the path, the query or the headers."""
        names = [each["name"] for each in operation.get("parameters", ()) if each["in"] == place]
        return {name: self.parameters[name] for name in names if name in self.parameters}


def pretty(value: Any, width: int = _WIDTH, indent: int = 0) -> str:
    """Return JSON for people: on one line if it fits into `width` characters, else as many fields on each as fit."""
    line = json.dumps(value, ensure_ascii=False)
    if len(line) + indent <= width or not value or not isinstance(value, dict | list):
        return line
    inner = indent + 2
    if isinstance(value, dict):
        parts = [f"{json.dumps(name)}: {pretty(each, width, inner)}" for name, each in value.items()]
        lines = _filled(parts, width - inner)
    else:
        lines = [pretty(each, width, inner) for each in value]
    text = f",\n{' ' * inner}".join(lines)
    return f"{line[0]}\n{' ' * inner}{text}\n{' ' * indent}{line[-1]}"


def _filled(parts: list[str], width: int) -> list[str]:
    """Return lines with as many of the parts as fit; one of several lines stands alone."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(part) < width and "\n" not in lines[-1] + part:
            lines[-1] += f", {part}"
        else:
            lines.append(part)
    return lines


def _text(value: str | int | bool) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _quoted(text: str) -> str:
    """Return text as one word for a shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def _folded(words: list[str]) -> str:
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) < _WIDTH:
            lines[-1] += f" {word}"
        else:
            lines.append(f"  {word}")
    return " \\\n".join(lines)
