"""What can be wrong with a form, and how errors look to people: a page instead of JSON."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from taskflow.api.protocol import ASGIApp, Headers, Message, Receive, Scope, Send, header, route_path
from taskflow.api.request import Surroundings
from taskflow.api.schemas.errors import ErrorBody
from taskflow.dashboard.frame import Frame
from taskflow.dashboard.rendering import CONTENT_POLICY, render
from taskflow.errors import TaskFlowError

PAGE_HEADERS: Headers = [
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", CONTENT_POLICY.encode()),
    # Without it browsers say of a form that it comes from nowhere ("Origin: null").
    (b"referrer-policy", b"same-origin"),
]
_ERRORS_FROM = 400
_UNAUTHORIZED = 401


class ForeignForm(TaskFlowError):
    """A form was sent from a page of another site."""

    status = 403
    code = "FORBIDDEN"

    def __init__(self) -> None:
        super().__init__(
            "this form was not sent from a page of this dashboard. If it was, a proxy in between may hide the host: "
            "let it pass the header Host on, or name it in server.http.trusted_proxies"
        )


class StaleForm(TaskFlowError):
    """A form does not belong to the login that the browser has now."""

    status = 403
    code = "STALE_FORM"

    def __init__(self) -> None:
        super().__init__(
            "this form is out of date, for example because you have logged in again; go back and reload the page"
        )


def error_pages(app: ASGIApp, around: Surroundings) -> ASGIApp:
    """Show errors as pages to browsers that want a page, and lead to the login whoever is not logged in."""

    async def with_pages(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and wants_page(scope):
            send = _Shown(scope, around, send)
        await app(scope, receive, send)

    return with_pages


def wants_page(scope: Scope) -> bool:
    """Whether a request comes from somebody who looks at pages."""
    return b"text/html" in (header(scope, b"accept") or b"") and not route_path(scope).startswith("/api/")


class _Shown:
    """Sends an answer; an error of the API's form is gathered, and sent as a page."""

    def __init__(self, scope: Scope, around: Surroundings, send: Send) -> None:
        self._scope = scope
        self._around = around
        self._send = send
        self._start: Message | None = None
        self._chunks: list[bytes] = []

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_error(message):
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._chunks.append(message.get("body", b""))
            if not message.get("more_body", False):
                await self._show(self._start, msgspec.json.decode(b"".join(self._chunks), type=ErrorBody))

    async def _show(self, start: Message, error: ErrorBody) -> None:
        frame = Frame(self._scope, self._around)
        status, headers = start["status"], [each for each in start["headers"] if not each[0].startswith(b"content-")]
        if status != _UNAUTHORIZED:
            body = render("error.html", frame, status=status, title=_title(status), error=error)
        elif header(self._scope, b"sec-fetch-site") == b"cross-site" and self._scope["method"] == "GET":
            # The browser comes from another site, so it has not sent the cookie, which it may well have.
            status, body = 200, render("again.html", frame)
        else:
            to = frame.url("/login", to=frame.here if self._scope["method"] == "GET" else None)
            status, body = 303, b""
            headers = [(b"location", to.encode())]
        headers = [*headers, *PAGE_HEADERS, (b"content-length", str(len(body)).encode())]
        headers += [(b"set-cookie", value) for value in frame.cookies()]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _is_error(message: Message) -> bool:
    return message["status"] >= _ERRORS_FROM and (b"content-type", b"application/json") in message["headers"]


def _title(status: int) -> str:
    if status == HTTPStatus.NOT_FOUND:
        return "There is no such page"
    if status == HTTPStatus.FORBIDDEN:
        return "You may not do this"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "Too many requests"
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return "Redis does not answer"
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return "Something went wrong"
    return "This cannot be done"
