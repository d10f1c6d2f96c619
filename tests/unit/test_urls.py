"""HttpUrl: only the plainest form of a URL is taken."""

from __future__ import annotations

import pytest

from taskflow.urls import HttpUrl


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("https://hooks.example.org/done?id=1", HttpUrl("https", "hooks.example.org", 443, "/done?id=1")),
        ("http://Example.ORG", HttpUrl("http", "example.org", 80, "/")),
        ("http://example.org.:8080?x", HttpUrl("http", "example.org", 8080, "/?x")),
        ("https://[2001:DB8::1]:8443/a", HttpUrl("https", "2001:db8::1", 8443, "/a")),
        ("http://svc_1/", HttpUrl("http", "svc_1", 80, "/")),
    ],
)
def test_a_plain_url_has_parts(text: str, parts: HttpUrl) -> None:
    assert HttpUrl.parse(text) == parts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.org/done",
        "ftp://example.org/",
        "file:///etc/passwd",
        "http:///path",
        "https://user@example.org/",
        "https://user:word@example.org/",
        "https://example.org\\@127.0.0.1/",
        "https://example.org/#part",
        "https://example.org/a b",
        "https://example.org/\r\nX: 1",
        "https://example.org/\x00",
        "https://exämple.org/",
        "https://example.org:0/",
        "https://example.org:65536/",
        "https://-example.org/",
        "https://example.org/" + "a" * 2048,
        None,
        5,
    ],
)
def test_what_is_no_plain_url_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="must "):
        HttpUrl.parse(text)
