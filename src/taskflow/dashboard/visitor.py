"""Visitor: who looks at a page, and what he may do.

A login is a cookie that names an API key and a time, signed with a secret that is made of the key's digest. So every API
process can check it, before and after a restart, and nothing is stored; it ends when the key is removed or changed. The key
itself is not in it. Where there are no keys there is no login, and the visitor may do everything.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from taskflow.api.access import PRINCIPAL
from taskflow.api.protocol import ASGIApp, Receive, Scope, Send, route_path
from taskflow.api.request import Surroundings
from taskflow.config.keys import KeyRecord
from taskflow.config.keys import Scope as KeyScope
from taskflow.dashboard.cookies import read_cookies
from taskflow.dashboard.signing import is_signed, new_nonce, signature

VISITOR = "taskflow.visitor"
"""Key of a scope: the visitor."""
SESSION_COOKIE = "taskflow_session"
VISIT_COOKIE = "taskflow_visit"
"""Tells a browser that is not logged in from others, so that its forms can be signed."""
_SEPARATOR = "~"
_ROLES: Mapping[KeyScope, str] = {"admin": "admin", "write": "operator", "read": "viewer"}


class Visitor(Struct, frozen=True, kw_only=True):
    """Who looks at a page.

    Attributes:
        guarded: Whether keys are asked for.
        record: His key; None if he is not logged in, or need not be.
        nonce: What tells his login, or his browser, from all others.
        secret: Signs what belongs to him.
        since: When the login began, or was renewed.
        new: Whether the browser has to be given its nonce.

    """

    guarded: bool
    record: KeyRecord | None = None
    nonce: str
    secret: bytes
    since: datetime | None = None
    new: bool = False

    @property
    def welcome(self) -> bool:
        """Whether he may look at all."""
        return self.record is not None or not self.guarded

    @property
    def name(self) -> str:
        """What his key is called; '' without one."""
        return self.record.name if self.record else ""

    @property
    def limited(self) -> bool:
        """Whether he may see only some queues."""
        return bool(self.record and self.record.queues)

    @property
    def role(self) -> str:
        """What he may do, in one word: viewer, operator or admin; '' for nothing."""
        return next((role for scope, role in _ROLES.items() if self.may(scope)), "")

    def may(self, scope: KeyScope) -> bool:
        """Whether he may do what needs a scope."""
        return self.record.may(scope) if self.record else not self.guarded

    @property
    def token(self) -> str:
        """What his forms carry, so that nobody else's are taken for his."""
        return signature(self.secret, "form", self.nonce)

    def owns(self, token: str) -> bool:
        """Whether a form is his."""
        return is_signed(self.secret, "form", self.nonce, token)


def visitors(app: ASGIApp, around: Surroundings) -> ASGIApp:
    """Tell who looks at each page. The API itself takes no cookies."""

    async def with_visitor(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not route_path(scope).startswith("/api/"):
            visitor = scope[VISITOR] = visitor_of(scope, around)
            if visitor.name:
                scope[PRINCIPAL] = visitor.name
        await app(scope, receive, send)

    return with_visitor


def visitor_of(
    scope: Scope, around: Surroundings, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Visitor:
    """Return who makes a request, by its cookies."""
    cookies = read_cookies(scope)
    found = _logged_in(cookies.get(SESSION_COOKIE, ""), around, clock())
    if found is not None:
        return found
    nonce = cookies.get(VISIT_COOKIE, "")
    return Visitor(
        guarded=around.guarded,
        nonce=nonce or new_nonce(),
        secret=_secret(around, b""),
        new=not nonce,
    )


def login(record: KeyRecord, around: Surroundings, now: datetime, nonce: str = "") -> str:
    """Return the value of the cookie of a login; with `nonce` it is the same login, from now on."""
    said = _SEPARATOR.join((record.name, f"{now.timestamp():.0f}", nonce or new_nonce()))
    return said + _SEPARATOR + signature(_secret(around, record.digest_bytes), "login", said)


def needs_renewal(visitor: Visitor, session: timedelta, now: datetime) -> bool:
    """Whether so much of a login's time has passed that it should begin anew; so it holds while the page is looked at."""
    return visitor.since is not None and now - visitor.since > session / 2


def _logged_in(value: str, around: Surroundings, now: datetime) -> Visitor | None:
    said, _, given = value.rpartition(_SEPARATOR)
    name, _, rest = said.partition(_SEPARATOR)
    seconds, _, nonce = rest.partition(_SEPARATOR)
    record = around.keys.named(name) if around.keys and nonce else None
    if record is None:
        return None
    secret = _secret(around, record.digest_bytes)
    if not is_signed(secret, "login", said, given):
        return None
    since = datetime.fromtimestamp(int(seconds), UTC)
    if now - since > around.settings.dashboard.session or not record.may("read"):
        return None
    return Visitor(guarded=True, record=record, nonce=nonce, secret=secret, since=since)


def _secret(around: Surroundings, digest: bytes) -> bytes:
    """Return the secret that signs for a key: who has only its digest, or only the setting, cannot make it."""
    settled = around.settings.dashboard.secret.get_secret_value().encode()
    return hmac.digest(b"taskflow dashboard\0" + settled, digest, "sha256")
