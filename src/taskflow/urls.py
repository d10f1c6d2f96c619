"""HttpUrl: an address that requests are sent to. Whoever names one is a stranger, so only its plainest form is taken."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from msgspec import Struct

MAX_URL_CHARACTERS = 2048
_PORTS = {"http": 80, "https": 443}
_HIGHEST_PORT = 65_535
_FORM = re.compile(
    r"(https?)://(?:\[([0-9a-f:.]+)\]|([a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?)\.?)(?::([0-9]{1,5}))?((?:[/?][!-~]*)?)",
    re.IGNORECASE | re.ASCII,
)


class HttpUrl(Struct, frozen=True):
    """The parts of a URL: `scheme` (http, https), `host` (lower case, IPv6 without brackets), `port`, and `target`, the rest."""

    scheme: str
    host: str
    port: int
    target: str

    @classmethod
    def parse(cls, text: object) -> HttpUrl:
        """Return the parts of a URL.

        Raises:
            ValueError: It is none, or has what no request may carry: a user name, a password, a fragment, characters beyond ASCII.

        """
        if not isinstance(text, str) or len(text) > MAX_URL_CHARACTERS:
            raise ValueError(f"must be a URL of at most {MAX_URL_CHARACTERS} characters")
        found = _FORM.fullmatch(text)
        if found is None or "#" in text or "\\" in text:
            raise ValueError(
                "must be an http or https URL in ASCII such as https://hooks.example.org/done, "
                "without user name, password or fragment"
            )
        scheme = found[1].lower()
        port = int(found[4] or _PORTS[scheme])
        if not 0 < port <= _HIGHEST_PORT:
            raise ValueError(f"must name a port from 1 to {_HIGHEST_PORT}, not {port}")
        target = found[5] if found[5].startswith("/") else f"/{found[5]}"
        return cls(scheme, (found[2] or found[3]).lower(), port, target)

    def is_at(self, hosts: Iterable[str]) -> bool:
        """Whether its host is one of those that globs mean, such as `hooks.example.org` or `*.example.org`."""
        return any(fnmatchcase(self.host, glob.lower()) for glob in hosts)
