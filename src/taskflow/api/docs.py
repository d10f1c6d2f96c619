"""The OpenAPI document, and a page that shows it. All the page needs comes from here, from no other host."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from litestar import Litestar, Response, Router, get
from litestar.openapi.config import OpenAPIConfig

from taskflow.api.middleware import CONTENT_POLICY
from taskflow.api.protocol import Scope
from taskflow.api.request import ApiRequest
from taskflow.api.schemas.errors import ErrorBody

_STATIC = Path(__file__).parent / "static"
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ERRORS = {
    "400": "Something in the request cannot be used; `code` and `details` say what.",
    "404": "There is no such thing.",
    "409": "It is not possible in the state the task is in.",
    "413": "The body or the payload is too large.",
    "415": "The body is not said to be JSON.",
    "503": "Redis does not answer; try again.",
}
_REF = "#/components/schemas/{name}"

OPENAPI = OpenAPIConfig(
    title="TaskFlow",
    version="1",
    description="A distributed task queue on Redis that speaks asynq's format. Every error is an object of error (what to do), code and details.",
    use_handler_docstrings=True,
    path="/litestar-schema",
    render_plugins=[],
)


def document(app: Litestar) -> dict[str, Any]:
    """Return the OpenAPI document: Litestar's, with our request bodies and errors, which are read by our own code."""
    found: dict[str, Any] = app.openapi_schema.to_schema()
    bodies = {
        handler.operation_id: handler.opt["body"]
        for route in app.routes
        for handler in getattr(route, "route_handlers", ())
        if "body" in handler.opt
    }
    names = list(bodies)
    schemas, components = msgspec.json.schema_components([*bodies.values(), ErrorBody], ref_template=_REF)
    found.setdefault("components", {}).setdefault("schemas", {}).update(components)
    error = {"application/json": {"schema": schemas[-1]}}
    for path, item in found["paths"].items():
        for operation in item.values():
            _complete(
                operation,
                path,
                error,
                schemas[names.index(name)] if (name := operation["operationId"]) in names else None,
            )
    return found


def _complete(operation: dict[str, Any], path: str, error: dict[str, Any], body: dict[str, Any] | None) -> None:
    """Add to an operation what Litestar does not know of it."""
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    if path.startswith("/api/"):
        for status, text in _ERRORS.items():
            if body is not None or status not in {"413", "415"}:
                operation["responses"][status] = {"description": text, "content": error}


@get("/openapi.json", include_in_schema=False)
async def openapi(request: ApiRequest) -> Response[bytes]:
    """Return the OpenAPI document."""
    state = request.app.state
    if "openapi_json" not in state:
        state.openapi_json = msgspec.json.encode(document(request.app))
    return Response(state.openapi_json, media_type="application/json")


@get("/docs", include_in_schema=False)
async def page(request: ApiRequest) -> Response[bytes]:
    """Return the page."""
    return _file(request, "docs.html", "text/html")


@get("/docs/docs.js", include_in_schema=False)
async def script(request: ApiRequest) -> Response[bytes]:
    """Return the page's script."""
    return _file(request, "docs.js", "text/javascript")


@get("/docs/docs.css", include_in_schema=False)
async def style(request: ApiRequest) -> Response[bytes]:
    """Return the page's style."""
    return _file(request, "docs.css", "text/css")


def _file(request: ApiRequest, name: str, media_type: str) -> Response[bytes]:
    scope: Scope = request.scope  # type: ignore[assignment]  # our ASGI types are looser
    scope[CONTENT_POLICY] = _POLICY
    return Response(_read(name), media_type=media_type)


@cache
def _read(name: str) -> bytes:
    return (_STATIC / name).read_bytes()


ROUTER = Router("/", route_handlers=[openapi, page, script, style])
