"""Paths: what stands between two slashes of a URL is one segment, whatever is in it.

A server decodes the whole path before a router splits it, which makes two segments of the id `a/b`, sent as `a%2Fb`.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from taskflow.api.errors import MalformedPath, body_of
from taskflow.api.middleware import respond
from taskflow.api.protocol import ASGIApp, Receive, Scope, Send

ESCAPED = "taskflow.escaped"
"""Key of a scope: whether the parameters in its path are to be decoded once more."""
MAX_PATH = 4096
"""The longest path in characters: more than any resource has, and little enough for what the router remembers of paths."""


def whole_segments(app: ASGIApp) -> ASGIApp:
    """Show the router a path in which encoded slashes are still encoded; refuse one that cannot be of anything."""

    async def with_segments(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                _escape(scope)
            except MalformedPath as error:
                await respond(send, error.status, body_of(error))
                return
        await app(scope, receive, send)

    return with_segments


def _escape(scope: Scope) -> None:
    """Put the path with its slashes in place, if it has encoded ones. Raises `MalformedPath`."""
    raw: bytes = scope.get("raw_path") or b""
    if b"%" in raw:
        try:
            segments = [unquote_to_bytes(segment).decode() for segment in raw.split(b"/")]
        except UnicodeDecodeError:
            raise MalformedPath("must be UTF-8, encoded with %") from None
        whole = "/".join(segments)
        if whole.count("/") >= len(segments) and whole == scope["path"]:  # a server may have taken something away
            scope["path"] = "/".join(segment.replace("%", "%25").replace("/", "%2F") for segment in segments)
            scope[ESCAPED] = True
    if len(scope["path"]) > MAX_PATH:
        raise MalformedPath(f"must have at most {MAX_PATH} characters")
