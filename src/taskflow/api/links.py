"""Links: the headers that lead from one part of a list to the next (RFC 8288), relative to the URL that was asked for."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode


def pages(query: bytes, page: int, size: int, total: int) -> dict[str, str]:
    """Return the header `Link` for the query of a page (from 0) of a list: first, prev, next and last, where there are any."""
    last = max(0, (total - 1) // size)
    numbers = {"first": 0, "prev": page - 1, "next": page + 1, "last": last}
    known = {name: number for name, number in numbers.items() if 0 <= number <= last}
    return {"Link": ", ".join(_link(query, name, "page", str(number)) for name, number in known.items())}


def cursor(query: bytes, text: str | None) -> dict[str, str]:
    """Return the headers that lead to what lies behind a cursor; none at the end. `query` is the request's."""
    return {} if text is None else {"X-Next-Cursor": text, "Link": _link(query, "next", "cursor", text)}


def _link(query: bytes, name: str, parameter: str, value: str) -> str:
    """Return a link to the same list with another parameter."""
    given = parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="surrogateescape")
    changed = [*((key, text) for key, text in given if key != parameter), (parameter, value)]
    return f'<?{urlencode(changed, errors="surrogateescape")}>; rel="{name}"'
