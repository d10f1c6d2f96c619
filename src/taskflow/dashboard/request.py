"""PageRequest: a request for a page or of a form, and what it is answered with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from litestar import Response
from litestar.response.base import ASGIResponse

from taskflow.api.bodies import receive_body
from taskflow.api.protocol import header
from taskflow.api.request import ApiRequest
from taskflow.dashboard.errors import PAGE_HEADERS, ForeignForm, StaleForm
from taskflow.dashboard.frame import Frame
from taskflow.dashboard.glances import Glances
from taskflow.dashboard.links import is_own, link
from taskflow.dashboard.messages import Message, Undo
from taskflow.dashboard.question import Question
from taskflow.dashboard.rendering import render
from taskflow.errors import InvalidOption

T = TypeVar("T")
TOKEN = "token"  # noqa: S105 - the name of a form's field
BACK = "back"
CONFIRMED = "confirmed"
FORM = "taskflow.form"
"""Key of a scope: the request, once its form was checked; Litestar gives handlers of exceptions another one."""
_OWN_FIELDS = frozenset({TOKEN, BACK, CONFIRMED})


class PageRequest(ApiRequest):
    """A request of the dashboard.

    Attributes:
        fields: The fields of the form, once it was checked; of several with one name, the last.
        lists: The same, with all values of each name.

    """

    fields: Mapping[str, str]
    lists: Mapping[str, list[str]]

    @cached_property
    def frame(self) -> Frame:
        """What the page knows of the request."""
        return Frame(self.scope, self.around)

    # -- what is asked ------------------------------------------------------------------------------------------------

    def asked(self, name: str, default: str | None = None) -> str:
        """Return a value from the query. Raises `InvalidOption` if it is not there and has no default."""
        value: str | None = self.frame.query.get(name, default)
        if value is None:
            raise InvalidOption(name, "is missing in the address of the page")
        return value

    def asked_number(self, name: str, default: int = 0) -> int:
        """Return a whole number from the query; the default if it is none, or is below 0."""
        value = self.frame.query.get(name, "")
        return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else default  # noqa: PLR2004

    @property
    def confirmed(self) -> bool:
        """Whether the form was confirmed, in the dialog or on the page of `ask`."""
        return self.fields.get(CONFIRMED) == "yes"

    @property
    def back(self) -> str:
        """The page that the form was on, within the application; '' if it does not say."""
        to = self.fields.get(BACK, "")
        return to if is_own(to) else ""

    async def check_form(self) -> None:
        """Read the form, and make sure that it was sent from a page of this dashboard, by this visitor.

        Raises:
            ForeignForm: Another site's page has sent it.
            StaleForm: It was made for another login.
            BodyTooLarge: It is larger than `server.http.body_limit`.

        """
        site, origin = header(self.scope, b"sec-fetch-site"), header(self.scope, b"origin")
        host = (header(self.scope, b"host") or b"").decode("latin-1")
        if site not in {None, b"same-origin"} or (origin and urlsplit(origin.decode("latin-1")).netloc != host):
            raise ForeignForm
        text = (await receive_body(self)).decode(errors="replace")
        lists: dict[str, list[str]] = {}
        for name, value in parse_qsl(text, keep_blank_values=True, errors="replace"):
            lists.setdefault(name, []).append(value)
        self.lists = lists
        self.fields = {name: values[-1] for name, values in lists.items()}
        if not self.frame.visitor.owns(self.fields.get(TOKEN, "")):
            raise StaleForm
        self.scope[FORM] = self  # type: ignore[literal-required]  # our own key

    async def glance(self, what: Hashable, seconds: float, read: Callable[[], Awaitable[T]]) -> T:
        """Return what many look at: read at most so many seconds ago, for this visitor, or for all who are not limited.

        Args:
            what: What it is: its name, and all that it depends on. Whoever gives the same reads the same.
            seconds: How old it may be.
            read: Reads it.

        """
        visitor = self.frame.visitor
        return await self._glances.get((what, visitor.name if visitor.limited else ""), seconds, read)

    async def live_glance(self, what: Hashable, seconds: float, read: Callable[[], Awaitable[T]]) -> T:
        """Return what `glance` does for the live parts of a page; whoever opens the page is shown what is read now."""
        return await (self.glance(what, seconds, read) if self.frame.live else read())

    @property
    def _glances(self) -> Glances:
        state = self.app.state
        if "glances" not in state:
            state.glances = Glances()
        found: Glances = state.glances
        return found

    # -- answers ------------------------------------------------------------------------------------------------------

    def page(self, template: str, *, status: int = 200, **values: Any) -> Response[bytes]:
        """Return a page.

        Args:
            template: The template's name.
            status: The HTTP status.
            values: What it shows, beside `page`.

        """
        return PageResponse(render(template, self.frame, **values), status, self.frame.cookies())

    def done(self, text: str, *, to: str = "", undo: Undo | None = None, failed: bool = False) -> Response[bytes]:
        """Return to a page of this dashboard, which then says what was done.

        Args:
            text: What was done.
            to: Path and query within the application, made with `to_page`; default: the page that the form was on.
            undo: How it can be taken back.
            failed: It is bad news.

        """
        self._glances.forget()
        message = self.frame.message_cookie(Message(text=text, failed=failed, undo=undo))
        return self.redirect(to or self.back or "/", [message])

    def ask(self, question: Question, *, more: Mapping[str, str] | None = None) -> Response[bytes]:
        """Ask on a page of its own whether the form is meant; the same form is sent again, `confirmed`, if it is.

        Args:
            question: The question.
            more: Fields that are sent with it then, whether the form had them or not.

        """
        more = more or {}
        left_out = _OWN_FIELDS | more.keys()
        fields = [(name, value) for name, values in self.lists.items() if name not in left_out for value in values]
        fields += more.items()
        return self.page(
            "confirm.html",
            question=question,
            action=self.frame.same(),
            fields=fields,
            back=self.back or "/",
        )

    @staticmethod
    def to_page(path: str, **query: object) -> str:
        """Return the path and query of a page within the application, for `done` and `redirect`."""
        return link("", path, query)

    def redirect(self, to: str, cookies: list[bytes] | None = None) -> Response[bytes]:
        """Send the browser to a page of this dashboard.

        Args:
            to: Path and query within the application.
            cookies: Cookies that go with it.

        """
        # Under `server.http.root_path`, what stands around the application completes the header.
        root = "" if self.around.settings.server.http.root_path else self.frame.root
        return PageResponse(b"", 303, cookies or [], [(b"location", (root + to).encode())])


class PageResponse(Response[bytes]):
    """A page, or where to find it."""

    def __init__(
        self, body: bytes, status: int, cookies: list[bytes], more: list[tuple[bytes, bytes]] | None = None
    ) -> None:
        self.content = body
        self.status_code = status
        self._headers = [
            *PAGE_HEADERS,
            (b"content-length", str(len(body)).encode()),
            *((b"set-cookie", value) for value in cookies),
            *(more or []),
        ]

    def to_asgi_response(self, *_: Any, **__: Any) -> ASGIResponse:
        """Return what sends the page; Litestar only calls it."""
        return self._respond  # type: ignore[return-value]  # an ASGI application as well

    async def _respond(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002 - an ASGI application
        await send({"type": "http.response.start", "status": self.status_code, "headers": self._headers})
        await send({"type": "http.response.body", "body": self.content})
