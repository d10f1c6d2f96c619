"""Errors as answers: `{"error", "code", "details"}` with the right status, and never the text of an unexpected exception."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
import structlog
from litestar import Request
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)

from taskflow.api.answer import Answer
from taskflow.api.schemas.errors import ErrorBody
from taskflow.errors import BrokerUnavailable, TaskFlowError

INTERNAL = ErrorBody(
    "something went wrong in the server; its log tells more under the request id", "INTERNAL_ERROR", {}
)
UNAVAILABLE = ErrorBody("Redis does not answer or cannot write now; try again in a moment", "REDIS_UNAVAILABLE", {})
RETRY_AFTER = "1"
"""Seconds after which a client may try again when Redis does not answer."""

_LOG = structlog.get_logger("taskflow.api")
_CODES = {
    400: "INVALID_REQUEST",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
}


class UnsupportedMediaType(TaskFlowError):
    """The body is not said to be JSON."""

    status = 415
    code = "UNSUPPORTED_MEDIA_TYPE"

    def __init__(self, media_type: str) -> None:
        super().__init__(
            f"send JSON with the header 'Content-Type: application/json', not {media_type[:100] or 'none'!r}"
        )
        self.media_type = media_type

    @property
    def details(self) -> dict[str, object]:
        """What the request said it sends."""
        return {"content_type": self.media_type}


class BodyTooLarge(TaskFlowError):
    """The body has more bytes than the setting `server.http.body_limit` allows."""

    status = 413
    code = "PAYLOAD_TOO_LARGE"
    facts = ("limit",)

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body has more than {limit} bytes; send less at a time, or raise server.http.body_limit")
        self.limit = limit


class Unauthorized(TaskFlowError):
    """The request has no API key, or none that is known."""

    status = 401
    code = "UNAUTHORIZED"
    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": 'Bearer realm="taskflow"'}

    def __init__(self, *, given: bool = False) -> None:
        what = "the API key is not known" if given else "this needs an API key"
        super().__init__(f"{what}; send one with the header 'Authorization: Bearer KEY' or 'X-API-Key: KEY'")


class TooManyStreams(TaskFlowError):
    """So many event streams are open, of this client or in all, that there is no place for another one."""

    status = 429
    code = "TOO_MANY_STREAMS"
    facts = ("setting", "limit")
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "5"}

    def __init__(self, setting: str, limit: int) -> None:
        super().__init__(f"{limit} event streams are open already; close some, come back later, or raise {setting}")
        self.setting = setting
        self.limit = limit


class RateLimited(TaskFlowError):
    """The key or the address asks too often, or has tried too many wrong keys."""

    status = 429
    code = "RATE_LIMITED"

    def __init__(self, what: str, wait: float) -> None:
        self.seconds = math.ceil(wait)
        super().__init__(f"{what}; try again in {self.seconds} s")

    @property
    def headers(self) -> Mapping[str, str]:
        """When to try again."""
        return {"Retry-After": str(self.seconds)}

    @property
    def details(self) -> dict[str, object]:
        """When to try again, in seconds."""
        return {"retry_after_seconds": self.seconds}


class ForeignOrigin(TaskFlowError):
    """A page of another origin wants to change something."""

    status = 403
    code = "FORBIDDEN"

    def __init__(self) -> None:
        super().__init__(
            "pages of this origin may not change anything here; name it in api.cors.allow_origins to allow it"
        )


class ClientDisconnected(TaskFlowError):
    """The client left before it had sent its body; nobody reads the answer."""

    status = 400
    code = "INVALID_REQUEST"

    def __init__(self) -> None:
        super().__init__("the body did not arrive")


class MalformedPath(TaskFlowError):
    """The path of the URL cannot be that of anything here."""

    status = 400
    code = "INVALID_REQUEST"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the path of the URL {reason}")


class PreconditionFailed(TaskFlowError):
    """What is to be changed is no longer what the client has seen: the header `If-Match` names another `ETag`."""

    status = 412
    code = "PRECONDITION_FAILED"
    facts = ("etag",)

    def __init__(self, etag: str) -> None:
        super().__init__("it has changed since it was read; read it again, and send the new ETag as If-Match")
        self.etag = etag


def answer(error: Exception, *, method: str, path: str, request_id: str) -> tuple[int, ErrorBody, Mapping[str, str]]:
    """Return status, body and headers for an error; what the client is not told is logged."""
    if isinstance(error, BrokerUnavailable):
        _LOG.warning("redis unavailable", request_id=request_id, error=str(error))
        return error.status, UNAVAILABLE, {"Retry-After": RETRY_AFTER}
    if isinstance(error, TaskFlowError) and error.status < 500:  # noqa: PLR2004 - HTTP's own classes
        return error.status, body_of(error), getattr(error, "headers", {})
    if isinstance(error, HTTPException) and error.status_code in _CODES:
        return error.status_code, _http_body(error, method, path), _http_headers(error)
    _LOG.error("request failed", request_id=request_id, method=method, path=path, exc_info=error)
    return 500, INTERNAL, {}


def body_of(error: TaskFlowError) -> ErrorBody:
    """Return the body for one of TaskFlow's errors; of those that are not the client's fault it does not tell the text."""
    if isinstance(error, BrokerUnavailable):
        return UNAVAILABLE
    if error.status >= 500:  # noqa: PLR2004 - HTTP's own classes
        return INTERNAL
    return ErrorBody(str(error), error.code, error.details)


def handle(request: Request[Any, Any, Any], error: Exception) -> Answer[ErrorBody]:
    """Litestar's exception handler for everything."""
    scope = request.scope
    status, body, headers = answer(
        error, method=scope["method"], path=scope["path"], request_id=str(scope.get("taskflow.request_id", ""))
    )
    return Answer(body, status, headers)


def encoded(body: ErrorBody) -> bytes:
    """Return an error's body as it goes out."""
    return msgspec.json.encode(body)


def _http_body(error: HTTPException, method: str, path: str) -> ErrorBody:
    code = _CODES[error.status_code]
    details: dict[str, Any] = {}
    match error:
        case NotFoundException():
            text = f"there is nothing at {path[:200]!r}; /docs lists what there is"
        case MethodNotAllowedException():
            text = f"{method} cannot be used here; the header Allow names what can"
        case ValidationException():
            problems = error.extra if isinstance(error.extra, list) else []
            details = {"fields": [str(problem.get("key", "")) for problem in problems]}
            text = (
                "; ".join(f"{problem.get('key')}: {in_words(str(problem.get('message')))}" for problem in problems)
                or error.detail
            )
        case _:
            text = error.detail
    return ErrorBody(text, code, details)


def _http_headers(error: HTTPException) -> Mapping[str, str]:
    return error.headers or {}


def in_words(reason: str) -> str:
    """Turn msgspec's "Expected `str`, got `int`" into "must be str, not int"."""
    return reason[:200].replace("Expected", "must be").replace(", got", ", not").replace("`", "")
