"""Signatures: how the dashboard knows again what it has given to a browser."""

from __future__ import annotations

import base64
import hmac
import secrets

_NONCE_BYTES = 16


def new_nonce() -> str:
    """Return text that nobody can guess."""
    return secrets.token_urlsafe(_NONCE_BYTES)


def signature(secret: bytes, purpose: str, text: str) -> str:
    """Return a signature (HMAC-SHA-256); one for another purpose is another one."""
    digest = hmac.digest(secret, f"{purpose}\0{text}".encode(), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def is_signed(secret: bytes, purpose: str, text: str, given: str) -> bool:
    """Whether a signature is right; it takes the same time for every wrong one."""
    return hmac.compare_digest(signature(secret, purpose, text).encode(), given.encode(errors="replace"))
