"""The reference in docs/http-api.md, made from the OpenAPI document: `make docs` writes it.

The page has two places for it: a table of all endpoints, and a section for each.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from taskflow.api.samples.sample import pretty
from taskflow.asgi import create_app
from taskflow.config import load_settings

PAGE = Path(__file__).parents[2] / "docs" / "http-api.md"
_GENERATED = re.compile(r"(<!-- (?P<name>\w+): begin -->\n).*?(<!-- (?P=name): end -->)", re.DOTALL)
_KEY = '[{"name": "any", "digest": "sha256:' + "0" * 64 + '", "scopes": ["admin"]}]'
_FEW = 6
"""How many fields of an answer are shown that an earlier endpoint has shown in full."""
_TYPES = {"string": "text", "boolean": "`true` or `false`", "array": "list", "integer": "number"}

Document = dict[str, Any]
Operation = dict[str, Any]


def document() -> Document:
    """Return the OpenAPI document of an API with keys, which names the scopes too."""
    settings = load_settings(environ={"TASKFLOW_API_AUTH_KEYS": _KEY, "TASKFLOW_SERVER_HTTP_REQUEST_LOG": "false"})
    app = create_app(settings, redis_url="redis://127.0.0.1:1/0")

    async def read() -> Document:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1") as client:
            found: Document = (await client.get("/openapi.json")).json()
        return found

    return asyncio.run(read())


def operations(found: Document) -> Iterator[tuple[str, str, Operation]]:
    """Yield path, method and operation, in the order of the page."""
    for path, item in found["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def answer_of(operation: Operation) -> tuple[str, dict[str, Any]]:
    """Return the status and the response that the sample shows."""
    for status, response in operation["responses"].items():
        for media in response.get("content", {}).values():
            if status < "300" and "example" in media:
                return status, media
    raise LookupError(operation["operationId"])


def with_reference(page: str, found: Document) -> str:
    """Return the page with its generated parts as the document has them."""
    parts = {"endpoints": _table(found), "errors": _error_table(found), "reference": _reference(found)}
    return _GENERATED.sub(lambda match: f"{match[1]}{parts[match['name']]}\n{match[3]}", page)


def _table(found: Document) -> str:
    lines = ["| | | scope |", "|---|---|---|"]
    for path, method, operation in operations(found):
        text = operation["summary"]
        lines.append(f"| `{method.upper()} {path}` | [{text}](#{anchor(text)}) | {_scope(operation)} |")
    return "\n".join(lines)


def _error_table(found: Document) -> str:
    known: dict[tuple[str, str], dict[str, None]] = {}
    for _, _, operation in operations(found):
        for status, code, meaning in _examples_of_errors(operation):
            known.setdefault((status, code), {})[meaning] = None
    lines = ["| status | code | meaning |", "|---|---|---|"]
    lines += [f"| {status} | `{code}` | {' '.join(meanings)} |" for (status, code), meanings in sorted(known.items())]
    return "\n".join(lines)


def _reference(found: Document) -> str:
    always = _errors_of_all(found)
    seen: set[str] = set()
    tag = ""
    parts = [_common(always)]
    for path, method, operation in operations(found):
        if operation["tags"][0] != tag:
            tag = operation["tags"][0]
            about = next((each["description"] for each in found.get("tags", ()) if each["name"] == tag), "")
            parts += [f"### {tag.capitalize()}", *([about] if about else [])]
        parts += _section(found, path, method, operation, always, seen)
    return "\n\n".join(parts)


def _common(always: set[tuple[str, str]]) -> str:
    return f"Every request below `/api/v1` can also be answered {_codes(sorted(always))}."


def _section(
    found: Document, path: str, method: str, operation: Operation, always: set[tuple[str, str]], seen: set[str]
) -> Iterator[str]:
    scope = _scope(operation)
    yield f"#### {operation['summary']}"
    yield f"`{method.upper()} {path}`" + (f" · scope {scope}" if scope else "")
    yield operation["description"]
    if parameters := list(_parameters(operation)):
        yield "Parameters:"
        yield "\n".join(parameters)
    if "requestBody" in operation:
        yield "Body:"
        yield "\n".join(_fields(found, operation["requestBody"]["content"]["application/json"]["schema"]))
    yield f"```sh\n{operation['x-codeSamples'][0]['source']}\n```"
    yield from _answers(operation, seen)
    if errors := sorted(_errors(operation) - always):
        yield f"Errors: {_codes(errors)}."


def _parameters(operation: Operation) -> Iterator[str]:
    for each in operation.get("parameters", ()):
        place = "" if each["in"] == "query" else each["in"]
        yield _item(each["name"], each["schema"], each.get("description", ""), place, each["required"])


def _fields(found: Document, schema: dict[str, Any]) -> Iterator[str]:
    body = _resolved(found, schema)
    for name, field in body["properties"].items():
        yield _item(name, field, field.get("description", ""), "", name in body["required"])


def _item(name: str, schema: dict[str, Any], text: str, place: str, required: bool) -> str:
    facts = [place, "required" if required and place != "path" else "", _type(schema)]
    default = schema.get("default")
    if default is not None and default != "":
        facts.append(f"default `{default if isinstance(default, str) else pretty(default)}`")
    if examples := _examples(schema):
        facts.append("such as " + ", ".join(f"`{each}`" for each in examples))
    return f"- `{name}` ({', '.join(filter(None, facts))})" + (f": {text}" if text else "")


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " or ".join(f"`{value}`" if value else "empty" for value in schema["enum"])
    if "$ref" in schema:
        return "object"
    options = [option for option in schema.get("anyOf", ()) if option.get("type") != "null"]
    if options:
        return " or ".join(dict.fromkeys(_type(option) for option in options))
    kind: str = schema.get("type", "any JSON")
    return _TYPES.get(kind, kind)


def _examples(schema: dict[str, Any]) -> list[Any]:
    options = schema.get("anyOf", [])
    return schema.get("examples") or next((option["examples"] for option in options if "examples" in option), [])


def _answers(operation: Operation, seen: set[str]) -> Iterator[str]:
    status, media = answer_of(operation)
    example, shown = media["example"], media["schema"]
    name = pretty(shown)
    if isinstance(example, str):
        yield f"{status}:"
        yield f"```\n{example.strip()}\n```"
    elif name in seen:
        yield f"{status}:"
        yield f"```json\n{_shortened(example)}\n```"
    else:
        yield f"{status}: {operation['responses'][status]['description']}"
        yield f"```json\n{pretty(example)}\n```"
    seen |= {name, pretty({"items": shown, "type": "array"})}
    for other, response in operation["responses"].items():
        if other < "400" and other != status:
            yield f"{other}: {response['description']}"
    if headers := operation["responses"][status].get("headers"):
        yield "Headers: " + " ".join(f"`{each}`: {header['description']}" for each, header in headers.items())


def _shortened(value: Any) -> str:
    if isinstance(value, list):
        return f"[{_shortened(value[0])}]"
    if len(value) <= _FEW:
        return pretty(value)
    few = dict(list(value.items())[:_FEW])
    return pretty(few)[:-1].rstrip() + ", …}"


def _errors(operation: Operation) -> set[tuple[str, str]]:
    return {(status, code) for status, code, _ in _examples_of_errors(operation)}


def _examples_of_errors(operation: Operation) -> Iterator[tuple[str, str, str]]:
    for status, response in operation["responses"].items():
        for media in response.get("content", {}).values():
            for code, example in media.get("examples", {}).items():
                yield status, code, example["summary"]


def _errors_of_all(found: Document) -> set[tuple[str, str]]:
    each = [_errors(operation) for path, _, operation in operations(found) if path.startswith("/api/")]
    return set.intersection(*each)


def _codes(errors: list[tuple[str, str]]) -> str:
    statuses: dict[str, list[str]] = {}
    for status, code in errors:
        statuses.setdefault(status, []).append(f"`{code}`")
    return ", ".join(f"{status} {' '.join(codes)}" for status, codes in statuses.items())


def _scope(operation: Operation) -> str:
    for needed in operation.get("security", ()):
        for scopes in needed.values():
            return str(scopes[0])
    return ""


def _resolved(found: Document, schema: dict[str, Any]) -> dict[str, Any]:
    known: dict[str, Any] = found["components"]["schemas"]
    return known[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def anchor(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


if __name__ == "__main__":
    PAGE.write_text(with_reference(PAGE.read_text(), document()))
