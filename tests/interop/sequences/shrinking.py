"""Shrinking: which of a failed sequence's steps are needed for it to fail."""

from __future__ import annotations

from dataclasses import replace

from interop.sequences.lane import Broken, Lane
from interop.sequences.steps import Sequence

_TRIES = 3
"""How often a shorter form is played before it counts as passing: what goes on at the same time differs from time to time."""
_MOST = 150
"""How many are played at most."""


async def shortest(failed: Sequence, lane: Lane) -> str:
    """Return the story of the shortest form that was found to fail, or that it did not fail again."""
    best = await _story(failed, lane, tries=10 * _TRIES)
    if best is None:
        return f"It failed once, and not in {10 * _TRIES} further tries alone."
    played, size = 0, len(failed.steps) // 2
    while size and played < _MOST:
        first = 0
        while first < len(failed.steps) and played < _MOST:
            shorter = replace(failed, steps=failed.steps[:first] + failed.steps[first + size :])
            story = await _story(shorter, lane, tries=_TRIES)
            played += 1
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
