"""Markup: what stands on a page, read from its HTML: rows of tables, facts, times and links."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

_VOID = frozenset({"br", "hr", "img", "input", "link", "meta", "path", "line"})


class Element:
    """An element of a page."""

    def __init__(self, tag: str, attributes: dict[str, str], parent: Element | None = None) -> None:
        self.tag = tag
        self.attributes = attributes
        self.parent = parent
        self.children: list[Element | str] = []

    def __iter__(self) -> Iterator[Element]:
        """All elements within it, in the order of the page."""
        for child in self.children:
            if isinstance(child, Element):
                yield child
                yield from child

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """The elements of a tag within it that have all these attributes (`class_name` one of the classes)."""
        return [each for each in self if each.tag == tag and each.fits(attributes)]

    def one(self, tag: str, **attributes: str) -> Element:
        """The only such element."""
        (found,) = self.all(tag, **attributes)
        return found

    def fits(self, attributes: dict[str, str]) -> bool:
        """Whether it has all these attributes."""
        return all(
            value in self.attributes.get("class", "").split()
            if name == "class_name"
            else self.attributes.get(name.replace("_", "-")) == value
            for name, value in attributes.items()
        )

    @property
    def exact_text(self) -> str:
        """All text within it, as it stands there."""
        return "".join(child if isinstance(child, str) else child.exact_text for child in self.children)

    @property
    def text(self) -> str:
        """The same, with single spaces."""
        return " ".join(self.exact_text.split())

    @property
    def times(self) -> list[datetime]:
        """The moments that it shows."""
        return [datetime.fromisoformat(each.attributes["datetime"]) for each in self.all("time")]

    @property
    def queries(self) -> list[dict[str, str]]:
        """What its links name, by the names in their queries."""
        found = [parse_qs(urlsplit(each.attributes["href"]).query) for each in self.all("a")]
        return [{name: values[0] for name, values in query.items()} for query in found]

    @property
    def rows(self) -> list[dict[str, Element]]:
        """The rows of its tables: cells by their labels."""
        return [
            {cell.attributes["data-label"]: cell for cell in row.all("td") if "data-label" in cell.attributes}
            for row in self.all("tr")
            if "data-row" in row.attributes
        ]

    @property
    def facts(self) -> dict[str, Element]:
        """What its lists of facts say, by the words before it."""
        return {
            term.text: fact
            for facts in self.all("dl")
            for term, fact in zip(facts.all("dt"), facts.all("dd"), strict=True)
        }


def read_markup(text: str) -> Element:
    """Return a page."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    return reader.root


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = self._at = Element("", {})

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs}, self._at)
        self._at.children.append(element)
        if tag not in _VOID:
            self._at = element

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._at.children.append(Element(tag, {name: value or "" for name, value in attrs}, self._at))

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self._at.tag == tag, f"</{tag}> within <{self._at.tag}>"
            assert self._at.parent is not None
            self._at = self._at.parent

    def handle_data(self, data: str) -> None:
        self._at.children.append(data)
