"""webhooks.verify: what receivers believe."""

from __future__ import annotations

import hashlib
import hmac
from datetime import timedelta

import pytest

from taskflow.errors import InvalidSignature
from taskflow.webhooks import sign, verify

BODY = b'{"id": "a"}'
NOW = 1767225600.0


def test_a_signature_is_the_hmac_of_time_and_body() -> None:
    mac = hmac.new(b"secret", b"1767225600." + BODY, hashlib.sha256).hexdigest()

    assert sign(BODY, "secret", at=NOW + 0.9) == f"t=1767225600,v1={mac}"


def test_what_is_signed_is_believed() -> None:
    assert verify(BODY, sign(BODY, "secret", at=NOW), "secret", now=NOW + 299) == {"id": "a"}


@pytest.mark.parametrize(("signing", "checking"), [(["new", "old"], ["old"]), (["old"], ["new", "old"])])
def test_secrets_can_be_replaced_on_either_side_first(signing: list[str], checking: list[str]) -> None:
    assert verify(BODY, sign(BODY, signing, at=NOW), checking, now=NOW)


@pytest.mark.parametrize("seconds", [301, -301])
def test_what_was_sent_at_another_time_is_not(seconds: int) -> None:
    signature = sign(BODY, "secret", at=NOW)

    with pytest.raises(InvalidSignature, match="too long ago"):
        verify(BODY, signature, "secret", now=NOW + seconds)
    assert verify(BODY, signature, "secret", now=NOW + seconds, tolerance=timedelta(seconds=301))


def test_a_changed_body_time_or_secret_is_found_out() -> None:
    signature = sign(BODY, "secret", at=NOW)

    for body, header, secret in (
        (BODY + b" ", signature, "secret"),
        (BODY, signature.replace("t=1767225600", "t=1767225601"), "secret"),
        (BODY, signature, "Secret"),
        (BODY, signature[:-1] + "g", "secret"),
    ):
        with pytest.raises(InvalidSignature, match="no signature fits"):
            verify(body, header, secret, now=NOW)


@pytest.mark.parametrize(
    "header", [None, "", "t=1,t=2,v1=a", "t=1", "v1=a", "t=x,v1=a", "t=-1,v1=a", "t=¹,v1=a", "t=" + "9" * 400 + ",v1=a"]
)
def test_what_is_no_signature_is_refused(header: str | None) -> None:
    with pytest.raises(InvalidSignature):
        verify(BODY, header, "secret", now=NOW)
