"""The pages, for the tests that look at each of them: a name for its picture, and its address in the scene of `conftest`."""

from __future__ import annotations

PAGES = {
    "overview": "/",
    "servers": "/servers",
    "not-found": "/nowhere",
}
OPEN_PAGES = {"login": "/login"}
"""Those for who is not logged in."""
