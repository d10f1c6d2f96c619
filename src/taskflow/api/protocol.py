"""ASGI's types, as loose as we need them, and how to read a header."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


def header(scope: Mapping[str, Any], name: bytes) -> bytes | None:
    """Return the value of a header (its name in lower case)."""
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return None


def route_path(scope: Mapping[str, Any]) -> str:
    """Return the path within the application, wherever it is mounted."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(root + "/") else path


def address_of(scope: Mapping[str, Any]) -> str:
    """Return the address of whoever asks; '' if the server does not tell."""
    client = scope.get("client")
    return str(client[0]) if client else ""
