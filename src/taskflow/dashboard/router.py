"""The dashboard as routes and middleware, to stand beside the API in one application."""

from __future__ import annotations

from typing import Annotated, Any, cast

from litestar import Request, Response, Router, get
from litestar.connection import ASGIConnection
from litestar.exceptions import NotFoundException
from litestar.handlers.base import BaseRouteHandler
from litestar.params import PathParameter

from taskflow.api import errors as api_errors
from taskflow.api.access import SERVICE, scope_of
from taskflow.api.answer import matches
from taskflow.api.app import Beside
from taskflow.api.errors import RateLimited, Unauthorized
from taskflow.api.protocol import header
from taskflow.application.limited import LimitedService
from taskflow.dashboard import changes
from taskflow.dashboard.assets import assets
from taskflow.dashboard.errors import error_pages
from taskflow.dashboard.pages import (
    groups,
    history,
    login,
    new_task,
    overview,
    queue,
    queue_tasks,
    queues,
    redis,
    schedule_edit,
    schedules,
    servers,
    task,
    task_actions,
    task_edit,
    types,
)
from taskflow.dashboard.request import FORM, PageRequest
from taskflow.dashboard.visitor import visitors
from taskflow.errors import Forbidden, TaskFlowError

_FOREVER = "public, max-age=31536000, immutable"
_SERVER_ERRORS = 500
_PAGES = (
    changes,
    groups,
    history,
    login,
    new_task,
    overview,
    queue,
    queue_tasks,
    queues,
    redis,
    schedule_edit,
    schedules,
    servers,
    task,
    task_actions,
    task_edit,
    types,
)
"""Each has its `HANDLERS`."""


async def admit(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Let a visitor through if he may see the page or do what the form says (a guard of Litestar).

    A route says in its `opt` what it needs as those of the API do (`scope`, `limited`); `public` ones need no login.

    Raises:
        Unauthorized: He is not logged in.
        Forbidden: His key has not the scope, or is limited to some queues where the page knows no limits.
        ForeignForm, StaleForm: The form is not his.

    """
    request = cast("PageRequest", connection)
    visitor = request.frame.visitor
    if not handler.opt.get("public"):
        if not visitor.welcome:
            raise Unauthorized
        needed = scope_of(handler.opt, request.method)
        if not visitor.may(needed):
            raise Forbidden(f"the key {visitor.name!r} has not the scope {needed!r}, which this needs", scope=needed)
        if visitor.record is not None and visitor.limited:
            if not handler.opt.get("limited"):
                raise Forbidden(f"the key {visitor.name!r} is limited to some queues, and this is about all of them")
            request.scope[SERVICE] = LimitedService(request.around.service, visitor.record.reaches)  # type: ignore[literal-required]  # our own key
    if request.method == "POST":
        await request.check_form()


def refused(request: Request[Any, Any, Any], error: TaskFlowError) -> Response[Any]:
    """Say on the page that a form was on why what it asks cannot be done; other errors get a page of their own."""
    form: PageRequest | None = request.scope.get(FORM)  # type: ignore[assignment]  # our own key
    if form is not None and form.back and error.status < _SERVER_ERRORS and not isinstance(error, RateLimited):
        return form.done(str(error), failed=True)
    return api_errors.handle(request, error)


@get("/static/{version:str}/{name:str}")
async def static(
    request: PageRequest, version: Annotated[str, PathParameter()], name: Annotated[str, PathParameter()]
) -> Response[bytes]:
    """Return a file; an old version's address leads to the file as it is now, but not for ever."""
    asset = assets().get(name)
    if asset is None:
        raise NotFoundException
    headers = {"ETag": asset.tag, "Cache-Control": _FOREVER if version == asset.version else "no-cache"}
    if matches(header(request.scope, b"if-none-match"), asset.tag):
        return Response(b"", status_code=304, headers=headers)
    return Response(asset.content, media_type=asset.media_type, headers=headers)


@get("/dashboard")
async def old_habit(request: PageRequest) -> Response[bytes]:
    """Lead whoever looks for the dashboard under its name to where it is."""
    return request.redirect("/")


def dashboard() -> Beside:
    """Return the dashboard."""
    pages = [handler for page in _PAGES for handler in page.HANDLERS]
    return Beside(
        routes=[
            Router(
                "/",
                route_handlers=pages,
                guards=[admit],
                request_class=PageRequest,
                exception_handlers={TaskFlowError: refused},
                include_in_schema=False,
            ),
            Router("/", route_handlers=[static, old_habit], request_class=PageRequest, include_in_schema=False),
        ],
        identify=visitors,
        show_errors=error_pages,
    )
