"""The OpenAPI document, and a page that shows it. All the page needs comes from here, from no other host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec
from litestar import Litestar, Response, Router, get
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import Tag

from taskflow.api import followups, samples
from taskflow.api.access import scope_of
from taskflow.api.errors import (
    BodyTooLarge,
    ForeignOrigin,
    MalformedPath,
    RateLimited,
    Unauthorized,
    UnsupportedMediaType,
)
from taskflow.api.request import ApiRequest
from taskflow.api.schemas.errors import ErrorBody
from taskflow.errors import BrokerUnavailable, Forbidden, InvalidOption, TaskFlowError

_STATIC = Path(__file__).parent / "static"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_OF_HTTP = {status.description for status in HTTPStatus}
_REF = "#/components/schemas/{name}"

OPENAPI = OpenAPIConfig(
    title="TaskFlow",
    version="1",
    description="A distributed task queue on Redis that speaks asynq's format. Every error is an object of error (what to do), code and details.",
    tags=[
        Tag("tasks", description="Create tasks, look at them, steer them."),
        Tag("progress", description="How far a task has come, read once or followed."),
        Tag("queues", description="Queues: their state, what changes in them, and all tasks of one at once."),
        Tag("schedules", description="Periodic tasks, also those of programs and of schedulers in Go."),
        Tag("task types", description="What the workers serve."),
        Tag("servers", description="The workers' servers."),
        Tag("health", description="At the root, for load balancers, orchestrators and Prometheus."),
    ],
    use_handler_docstrings=True,
    path="/litestar-schema",
    render_plugins=[],
)


def document(app: Litestar) -> dict[str, Any]:
    """Return the OpenAPI document: Litestar's, with what our own code does: request bodies, entity tags, errors.

    A handler says in its `opt` what its `body` is, which `headers` it reads by itself, which it `sends`, which `errors` it can
    answer with, which `values` a parameter has, whether it has an `etag`, and whether a viewer can be told that it has had all (`done`).
    """
    found: dict[str, Any] = app.openapi_schema.to_schema()
    notes = {
        str(handler.operation_id): dict(handler.opt)
        for route in app.routes
        for handler in getattr(route, "route_handlers", ())
    }
    bodies = {name: opt["body"] for name, opt in notes.items() if "body" in opt}
    schemas, components = msgspec.json.schema_components([*bodies.values(), ErrorBody], ref_template=_REF)
    found.setdefault("components", {}).setdefault("schemas", {}).update(components)
    body_schemas = dict(zip(bodies, schemas, strict=False))
    for path, item in found["paths"].items():
        for method, operation in item.items():
            if path == "/metrics":
                _describe_errors(operation, (Unauthorized, Forbidden, RateLimited), schemas[-1])
            if not path.startswith("/api/"):
                continue
            opt = notes[operation["operationId"]]
            errors = [*_always(method), *([MalformedPath] if "{" in path else []), *opt.get("errors", ())]
            if (body := body_schemas.get(operation["operationId"])) is not None:
                operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
                errors += (InvalidOption, BodyTooLarge, UnsupportedMediaType)
            if "etag" in opt:
                _describe_tag(operation)
            if "done" in opt:
                operation["responses"]["204"] = {"description": "The entry of `Last-Event-ID` was the last one."}
            _describe_headers(operation, opt.get("headers", {}))
            _describe_sent(operation, opt.get("sends", {}))
            _simplify(operation)
            _describe_values(operation, opt.get("values", {}))
            _describe_errors(operation, errors, schemas[-1])
    if root := app.state.around.settings.server.http.root_path:
        found["servers"] = [{"url": root}]
    if app.state.around.guarded:
        _describe_access(found, notes)
    samples.add_to(found)
    followups.add_to(found)
    _describe_answers(found)
    return found


def _always(method: str) -> list[type[TaskFlowError]]:
    """Return the errors of every operation."""
    always: list[type[TaskFlowError]] = [BrokerUnavailable, Unauthorized, Forbidden, RateLimited]
    return always if method == "get" else [*always, ForeignOrigin]


def _simplify(operation: dict[str, Any]) -> None:
    """Take away what is Litestar's and not ours: null as the value of a parameter, its own body of errors."""
    for parameter in operation.get("parameters", ()):
        if (options := parameter["schema"].pop("oneOf", None)) is not None:
            parameter["schema"] |= options[0]
    operation["responses"].pop("400", None)


def _describe_values(operation: dict[str, Any], values: Mapping[str, Sequence[str]]) -> None:
    """Name the values that a parameter may have in this operation."""
    for parameter in operation.get("parameters", ()):
        if parameter["name"] in values:
            parameter["schema"]["enum"] = values[parameter["name"]]


def _describe_answers(found: dict[str, Any]) -> None:
    """Say what is answered, where a handler does not: what its schema is; Litestar says what HTTP's status means."""
    for item in found["paths"].values():
        for operation in item.values():
            for status, response in operation["responses"].items():
                if response["description"] in _OF_HTTP:
                    schema = next(iter(response["content"].values()))["schema"]
                    response["description"] = _about(found, schema) or f"{operation['summary']}: status {status}."


def _about(found: dict[str, Any], schema: dict[str, Any]) -> str:
    """Return the first paragraph of what a schema, or that of a list's items, says; '' if it says nothing."""
    name = schema.get("items", schema).get("$ref", "").rpartition("/")[2]
    text: str = found["components"]["schemas"].get(name, {}).get("description", "")
    return ("A list. " if "items" in schema else "") + text.split("\n\n", maxsplit=1)[0]


def _describe_access(found: dict[str, Any], notes: dict[str, dict[str, Any]]) -> None:
    """Say which scope of an API key each operation needs."""
    found["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`"},
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    for path, item in found["paths"].items():
        for method, operation in item.items():
            if path.startswith("/api/") or path == "/metrics":
                scope = scope_of(notes[operation["operationId"]], method)
                operation["security"] = [{"bearer": [scope]}, {"key": [scope]}]


def _describe_tag(operation: dict[str, Any]) -> None:
    """Say that an operation sends an entity tag, and 304 to who has it already."""
    _describe_sent(operation, {"ETag": "Changes when the answer does."})
    operation["responses"]["304"] = {"description": "It is as it was: the ETag is the one of `If-None-Match`."}
    _describe_headers(operation, {"If-None-Match": "ETags of answers that the client has."})


def _describe_sent(operation: dict[str, Any], headers: Mapping[str, str]) -> None:
    """Name headers of the answers that carry what was asked for."""
    known = {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()}
    for status, response in operation["responses"].items():
        if status in {"200", "201"}:
            response.setdefault("headers", {}).update(known)


def _describe_headers(operation: dict[str, Any], headers: Mapping[str, str]) -> None:
    """Name headers that our own code reads."""
    for name, text in headers.items():
        operation.setdefault("parameters", []).append(
            {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": "string"}}
        )


def _describe_errors(operation: dict[str, Any], errors: Iterable[type[TaskFlowError]], schema: dict[str, Any]) -> None:
    """Describe what an operation answers when it fails: a response a status, with an example a code."""
    examples: dict[str, dict[str, Any]] = {}
    for error in errors:
        summary = _in_short(error)
        value = {"error": summary, "code": error.code, "details": {}}
        examples.setdefault(str(error.status), {}).setdefault(error.code, {"summary": summary, "value": value})
    for status, known in sorted(examples.items()):
        text = " ".join(f"`{code}`: {example['summary']}" for code, example in known.items())
        content = {"application/json": {"schema": schema, "examples": known}}
        operation["responses"][status] = {"description": text, "content": content}


def _in_short(error: type[TaskFlowError]) -> str:
    return " ".join((error.__doc__ or "").split("\n\n")[0].split())


@get("/openapi.json", include_in_schema=False)
async def openapi(request: ApiRequest) -> Response[bytes]:
    """Return the OpenAPI document."""
    state = request.app.state
    if "openapi_json" not in state:
        state.openapi_json = msgspec.json.encode(document(request.app))
    return Response(state.openapi_json, media_type="application/json")


@get("/docs", include_in_schema=False)
async def page() -> Response[bytes]:
    """Return the page."""
    return _file("docs.html", "text/html")


@get("/docs/docs.js", include_in_schema=False)
async def script() -> Response[bytes]:
    """Return the page's script."""
    return _file("docs.js", "text/javascript")


@get("/docs/docs.css", include_in_schema=False)
async def style() -> Response[bytes]:
    """Return the page's style."""
    return _file("docs.css", "text/css")


def _file(name: str, media_type: str) -> Response[bytes]:
    return Response(_read(name), media_type=media_type, headers={"Content-Security-Policy": _POLICY})


@cache
def _read(name: str) -> bytes:
    return (_STATIC / name).read_bytes()


ROUTER = Router("/", route_handlers=[openapi, page, script, style])
