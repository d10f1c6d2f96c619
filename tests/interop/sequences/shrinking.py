"""Shrinking: which of a failed sequence's steps are needed for it to fail."""

from __future__ import annotations

import time
from dataclasses import replace

from interop.sequences.lane import Broken, Lane
from interop.sequences.steps import Sequence

_AGAIN = 30
"""How often the whole sequence is played, alone, until it fails again."""
_TRIES = 3
"""How often a shorter form is played before it counts as passing: what goes on at the same time differs from time to time."""
_SECONDS = 60
"""How long to look for a shorter form."""


async def shortest(failed: Sequence, lane: Lane) -> str:
    """Return the story of the shortest form that was found to fail, or that it did not fail again."""
    best = await _story(failed, lane, tries=_AGAIN)
    if best is None:
        return f"It failed once, and not in {_AGAIN} further tries alone."
    until, size = time.monotonic() + _SECONDS, len(failed.steps) // 2
    while size:
        first = 0
        while first < len(failed.steps) and time.monotonic() < until:
            shorter = replace(failed, steps=failed.steps[:first] + failed.steps[first + size :])
            story = await _story(shorter, lane, tries=_TRIES)
            if story is None:
                first += size
            else:
                failed, best = shorter, story
        size //= 2
    return f"The shortest form found: {best}"


async def _story(sequence: Sequence, lane: Lane, *, tries: int) -> str | None:
    """Play a sequence some times; return what is wrong with it, None if nothing is."""
    for _ in range(tries):
        try:
            await lane.play(sequence)
        except Broken as broken:
            return str(broken)
    return None
