"""Question: what is asked before something grave is done, in the same words by the script's dialog and by a page of its own."""

from __future__ import annotations

from msgspec import Struct

FINAL = "This cannot be undone."


class Question(Struct, frozen=True, kw_only=True):
    """A question with its answer.

    Attributes:
        text: What will happen, with its number: "Delete 1,204 archived tasks?"
        yes: What the button says that does it: another one beside it says Cancel.
        detail: What else is to be known; '' for nothing.

    """

    text: str
    yes: str
    detail: str = ""
