"""A row of abuses: all kinds of the table in turn, each in a form and delivered in a way that a seed chooses."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Literal, NamedTuple

from support.abuse import framing, protocols, sizes, texts
from support.abuse.table import TABLE

Delivery = Literal["whole", "pieces", "half-close", "reset", "cut"]
DELIVERIES: tuple[Delivery, ...] = (
    *("whole",) * 10,
    *("pieces",) * 5,
    *("half-close",) * 2,
    *("reset",) * 2,
    "cut",
)
KINDS = tuple(TABLE)
MODULES = (framing, sizes, texts, protocols)
"""Where the kinds are made: to import them puts them into the table."""


class Abuse(NamedTuple):
    """One abuse: what is sent, and how.

    Attributes:
        number: Its place in the row.
        kind: The row of the table that it is of.
        data: What is sent.
        delivery: `whole`; in `pieces`; then a `half-close`, or a `reset`; or `cut` off in the middle, and left so.
        answers: The most answers that there may be.

    """

    number: int
    kind: str
    data: bytes
    delivery: Delivery
    answers: int


def abuses(count: int, seed: int) -> Iterator[Abuse]:
    """Make so many abuses, all kinds in turn; the same ones for the same seed."""
    for number in range(count):
        random = Random(f"{seed} {number}")
        kind = KINDS[number % len(KINDS)]
        make, answers = TABLE[kind]
        yield Abuse(number, kind, make(random), random.choice(DELIVERIES), answers)
