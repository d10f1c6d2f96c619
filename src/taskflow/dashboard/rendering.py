"""Rendering: templates -> pages. All text is escaped, and no character of it turns the direction of what stands behind it."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from taskflow import wording
from taskflow.dashboard import values
from taskflow.dashboard.frame import Frame

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


def render(template: str, frame: Frame, **values: Any) -> bytes:
    """Return a page as it goes out.

    Args:
        template: Its name.
        frame: What it knows of its request, as `page`.
        values: What else it shows.

    """
    return _environment().get_template(template).render(page=frame, **values).encode(errors="replace")


def render_part(template: str, macro: str, frame: Frame, *values: Any) -> Markup:
    """Return a part of a page, to be made once for many: it must hold nothing that is one visitor's own.

    Args:
        template: The template that has the macro.
        macro: What makes the part.
        frame: What the part knows of a request, as `page`.
        values: What it shows.

    """
    module = _environment().get_template(template).make_module({"page": frame})
    found: Markup = getattr(module, macro)(*values)
    return found


def exact(text: str) -> Markup:
    """Return text as it is, for the fields of forms: what is sent back must be what was there."""
    return escape(text)


@cache
def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("taskflow.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_harmless,
    )
    found.filters |= {
        "number": wording.number,
        "short_number": wording.short_number,
        "size": wording.size,
        "percent": wording.percent,
        "rate": wording.rate,
        "span": wording.span,
        "exact": exact,
        "browser_time": values.browser_time,
    }
    found.globals |= {
        "relative": wording.relative,
        "absolute": values.absolute,
        "machine_time": values.machine_time,
    }
    return found


def _harmless(value: object) -> object:
    return wording.plain(value) if type(value) is str else value
