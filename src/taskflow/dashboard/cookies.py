"""Cookies: reading those of a request, writing those of an answer."""

from __future__ import annotations

from typing import Literal

from taskflow.api.protocol import Scope, header


def read_cookies(scope: Scope) -> dict[str, str]:
    """Return the cookies of a request; those that cannot be read are as if they were not there."""
    text = (header(scope, b"cookie") or b"").decode("latin-1")
    found: dict[str, str] = {}
    for part in text.split(";"):
        name, _, value = part.strip().partition("=")
        found.setdefault(name, value)
    return found


def cookie(
    name: str,
    value: str,
    *,
    path: str,
    secure: bool,
    seconds: int | None = None,
    same_site: Literal["Strict", "Lax"] = "Strict",
) -> bytes:
    """Return the value of a header `Set-Cookie`; no script can read the cookie.

    Args:
        name: Its name.
        value: Letters, digits and `._-~`.
        path: Where the application is mounted; '' is the whole host.
        secure: Send it by https alone.
        seconds: How long it lasts: 0 removes it, None is until the browser ends.
        same_site: Whether it is sent along when a link on another site is followed (`Lax`).

    """
    parts = [f"{name}={value}", f"Path={path}/", "HttpOnly", f"SameSite={same_site}"]
    if seconds is not None:
        parts.append(f"Max-Age={seconds}")
    if secure:
        parts.append("Secure")
    return "; ".join(parts).encode()
