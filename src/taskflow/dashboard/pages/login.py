"""Login with an API key, and its end."""

from __future__ import annotations

from datetime import UTC, datetime

from litestar import Response, get, post

from taskflow.api.errors import RateLimited
from taskflow.api.protocol import address_of
from taskflow.dashboard.links import is_own
from taskflow.dashboard.request import PageRequest
from taskflow.dashboard.visitor import login

_WRONG = "No API key is like this one. Whoever runs this system makes keys with: taskflow keys new"
_MAY_NOT_READ = "This key may not read, so it cannot be used here; make one with the scope read."


@get("/login", opt={"public": True})
async def show(request: PageRequest) -> Response[bytes]:
    """Show the form, unless there is nothing to log in for."""
    to = _wanted(request.frame.query.get("to", ""))
    if request.frame.visitor.welcome:
        return request.redirect(to)
    return request.page("login.html", to=to, problem="")


@post("/login", opt={"public": True})
async def enter(request: PageRequest) -> Response[bytes]:
    """Log in."""
    keys, failures = request.around.keys, request.around.failures
    to, address = _wanted(request.fields.get("to", "")), address_of(request.scope)
    if keys is None:
        return request.redirect(to)
    if failures is not None and (wait := failures.wait(address)):
        raise RateLimited("too many wrong keys came from this address", wait)
    record = keys.find(request.fields.get("key", "").strip().encode())
    if record is None:
        if failures is not None:
            failures.take(address)
        request.audit("login failed")
        return request.page("login.html", status=403, to=to, problem=_WRONG)
    if not record.may("read"):
        return request.page("login.html", status=403, to=to, problem=_MAY_NOT_READ)
    request.audit("logged in", name=record.name)
    value = login(record, request.around, datetime.now(UTC))
    return request.redirect(to, [request.frame.session_cookie(value)])


@post("/logout", opt={"scope": "read", "limited": True})
async def leave(request: PageRequest) -> Response[bytes]:
    """Log out: this browser forgets the login."""
    request.audit("logged out")
    return request.redirect("/login", [request.frame.session_cookie("")])


def _wanted(to: str) -> str:
    """Return the page that a visitor wanted to see before he had to log in."""
    return to if is_own(to) and not to.startswith("/login") else "/"


HANDLERS = [show, enter, leave]
