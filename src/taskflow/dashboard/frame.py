"""Frame: what every page knows of its request; templates have it as `page`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, cast
from urllib.parse import parse_qsl

from taskflow.api.protocol import header, route_path
from taskflow.api.request import Surroundings
from taskflow.config.keys import Scope as KeyScope
from taskflow.dashboard.assets import asset_path
from taskflow.dashboard.cookies import cookie, read_cookies
from taskflow.dashboard.links import link, root_of
from taskflow.dashboard.messages import MESSAGE_COOKIE, Message, opened, sealed
from taskflow.dashboard.messages import SECONDS as MESSAGE_SECONDS
from taskflow.dashboard.navigation import ENTRIES, Entry
from taskflow.dashboard.visitor import SESSION_COOKIE, VISIT_COOKIE, VISITOR, Visitor, login, needs_renewal, visitor_of

LIVE = b"x-taskflow-live"
"""Header of the script's requests for the live parts of a page."""


class Frame:
    """What a page knows of its request.

    Args:
        scope: The request.
        around: What all requests share.

    """

    def __init__(self, scope: Mapping[str, Any], around: Surroundings) -> None:
        self._scope = cast("dict[str, Any]", scope)
        self._around = around
        self.visitor: Visitor = scope.get(VISITOR) or visitor_of(self._scope, around)
        self.root = root_of(scope, around.settings)
        self.now = datetime.now(UTC)
        self.path = route_path(scope)
        self.query = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True))

    # -- for templates ------------------------------------------------------------------------------------------------

    def url(self, path: str, **query: object) -> str:
        """Return the address of a page of the dashboard; parts of the query that are None or '' are left out."""
        return link(self.root, path, query)

    def same(self, **query: object) -> str:
        """Return the address of this page with other values in its query."""
        return link(self.root, self.path, {**self.query, **query})

    def static(self, name: str) -> str:
        """Return the address of a file in `static`."""
        return self.root + asset_path(name)

    def may(self, scope: KeyScope) -> bool:
        """Whether the visitor may do what needs a scope."""
        return self.visitor.may(scope)

    @property
    def sees_payloads(self) -> bool:
        """Whether payloads and results may be shown."""
        return self.visitor.may(self._around.settings.dashboard.payloads)

    @property
    def here(self) -> str:
        """This page, to come back to it: its path within the application, with the query."""
        return link("", self.path, self.query)

    @property
    def navigation(self) -> list[Entry]:
        """The pages that the visitor is offered."""
        if not self.visitor.welcome:
            return []
        return [each for each in ENTRIES if self.visitor.may(each.scope) and (each.limited or not self.visitor.limited)]

    @property
    def installation(self) -> Mapping[str, str]:
        """The name and the environment of this installation, as far as they are set."""
        return self._around.settings.app.labels

    @property
    def request_id(self) -> str:
        """The request id, as logs have it."""
        return str(self._scope.get("taskflow.request_id", ""))

    @cached_property
    def messages(self) -> list[Message]:
        """What is to be said on this page."""
        if self.live:
            return []
        value = read_cookies(self._scope).get(MESSAGE_COOKIE, "")
        message = opened(value, self.visitor) if value else None
        return [message] if message else []

    # -- for answers --------------------------------------------------------------------------------------------------

    @property
    def live(self) -> bool:
        """Whether the script asks, for the live parts of a page that is shown."""
        return header(self._scope, LIVE) is not None

    def cookies(self) -> list[bytes]:
        """Return the cookies that go with the page."""
        visitor, found = self.visitor, []
        if visitor.record is not None and needs_renewal(visitor, self._around.settings.dashboard.session, self.now):
            found.append(self.session_cookie(login(visitor.record, self._around, self.now, visitor.nonce)))
        if visitor.new:
            found.append(self._cookie(VISIT_COOKIE, visitor.nonce, same_site="Lax"))
        if self.messages:
            found.append(self._cookie(MESSAGE_COOKIE, "", seconds=0))
        return found

    def session_cookie(self, value: str) -> bytes:
        """Return the cookie of a login; '' ends it."""
        seconds = int(self._around.settings.dashboard.session.total_seconds()) if value else 0
        return self._cookie(SESSION_COOKIE, value, seconds=seconds)

    def message_cookie(self, message: Message) -> bytes:
        """Return the cookie that carries a message to the next page."""
        return self._cookie(MESSAGE_COOKIE, sealed(message, self.visitor), seconds=MESSAGE_SECONDS)

    def _cookie(self, name: str, value: str, **more: Any) -> bytes:
        return cookie(name, value, path=self.root, secure=self._scope.get("scheme") == "https", **more)
