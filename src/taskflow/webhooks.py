"""Webhooks, as whoever receives them sees them: is a request ours, is it fresh, and what does it say.

`TaskFlow-Signature: t=1767225600,v1=5257a8…` has the time of sending (Unix s) and, for each secret in use, an HMAC-SHA256 over
that time, a dot and the body. Receivers in other languages check it in the same few lines; docs/webhooks.md shows them.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import msgspec

from taskflow.errors import InvalidSignature

SIGNATURE_HEADER = "TaskFlow-Signature"
DELIVERY_HEADER = "TaskFlow-Delivery"
"""The delivery's id, the same each time it is tried: what has been seen before is a repeat."""
TOLERANCE = timedelta(minutes=5)


def sign(body: bytes, secrets: str | Iterable[str], *, at: float) -> str:
    """Return the signature header of a body sent at a time (Unix s), with a signature by each secret."""
    second = int(at)
    parts = [f"t={second}", *(f"v1={_mac(body, secret, str(second)).decode()}" for secret in _each(secrets))]
    return ",".join(parts)


def verify(
    body: bytes,
    signature: str | None,
    secrets: str | Iterable[str],
    *,
    tolerance: timedelta = TOLERANCE,
    now: float | None = None,
) -> dict[str, Any]:
    """Check that a webhook is ours and fresh, and return what it says.

    Args:
        body: The request's body, byte for byte as it came.
        signature: Its header `TaskFlow-Signature`; None if there is none.
        secrets: The secret, or several while it is being replaced: one that fits is enough.
        tolerance: How far the time of sending may be from now, either way. Default 5 minutes.
        now: The time (Unix s). Default: the system's.

    Returns:
        The event: `id`, `type`, `timestamp` and `task`.

    Raises:
        InvalidSignature: It is not ours, or too old; answer with 400.

    """
    sent_at, macs = _read(signature or "")
    expected = [_mac(body, secret, sent_at) for secret in _each(secrets)]
    # All are compared, so that the time this takes does not tell which fits.
    if not any([hmac.compare_digest(mac, one) for mac in macs for one in expected]):  # noqa: C419
        raise InvalidSignature("no signature fits the body and the secret")
    if abs((time.time() if now is None else now) - int(sent_at)) > tolerance.total_seconds():
        raise InvalidSignature("it was sent too long ago, or the clocks differ; it may be a repeat by a stranger")
    event: dict[str, Any] = msgspec.json.decode(body)
    return event


def _each(secrets: str | Iterable[str]) -> list[str]:
    return [secrets] if isinstance(secrets, str) else list(secrets)


def _mac(body: bytes, secret: str, sent_at: str) -> bytes:
    digest = hmac.new(secret.encode(), sent_at.encode() + b"." + body, hashlib.sha256)
    return digest.hexdigest().encode()


def _read(signature: str) -> tuple[str, list[bytes]]:
    """Return the time and the signatures of a header. Raises `InvalidSignature`."""
    pairs = [part.strip().partition("=") for part in signature.split(",")]
    times = [value for name, _, value in pairs if name == "t"]
    macs = [value.encode() for name, _, value in pairs if name == "v1"]
    if len(times) != 1 or not (times[0].isascii() and times[0].isdigit() and len(times[0]) < 13) or not macs:  # noqa: PLR2004
        raise InvalidSignature(f"the header {SIGNATURE_HEADER} is missing, or is not t=…,v1=…")
    return times[0], macs
