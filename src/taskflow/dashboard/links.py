"""Links: every address within the dashboard is made here, since only this knows where the application is mounted.

What a link names (a queue, a task) stands in the query: ids and names may hold slashes and dots, which browsers and proxies
change in a path.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from taskflow.config import Settings


def root_of(scope: Mapping[str, Any], settings: Settings) -> str:
    """Return the path under which a browser finds the application: '' or such as `/queue`."""
    return settings.server.http.root_path or str(scope.get("root_path", "")).rstrip("/")


def link(root: str, path: str, query: Mapping[str, object]) -> str:
    """Return an address; parts of the query that are None or '' are left out, `True` is `yes`."""
    known = {name: "yes" if value is True else str(value) for name, value in query.items() if value not in {None, ""}}
    text = root + quote(path, safe="/")
    return f"{text}?{urlencode(known, errors='replace')}" if known else text


def is_own(address: str) -> bool:
    """Whether an address from a request is a path of this application, and nothing that leads elsewhere."""
    return address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
