"""Tallies: how attempts ended and how long they took, counted by type in memory and handed to Redis now and then."""

from __future__ import annotations

from taskflow.broker.delivery import Archive, Complete, Done, Outcome, Retry
from taskflow.broker.type_stats import FAILED, SUCCEEDED, Counts, TypeTallies, bucket, new_counts
from taskflow.worker.registry import Registry

FLUSH = 10.0
"""How often (s) what was counted is handed over."""


class Tallies:
    """Counts what a worker does, by the types that its registry serves.

    Args:
        registry: Names the types; those of a prefix are counted together.
        store: Takes what was counted.

    """

    def __init__(self, registry: Registry, store: TypeTallies) -> None:
        self._registry = registry
        self._store = store
        self._counts: dict[str, Counts] = {}
        """By the types that tasks have; those that one route serves share their counters."""
        self._routes: dict[str, Counts] = {}

    def add(self, task_type: str, outcome: Outcome, seconds: float) -> None:
        """Count an attempt that ended after so long. What was put back, cancelled or does not count is no attempt."""
        kind = _KINDS.get(type(outcome))
        if kind is None or (kind == FAILED and _is_no_failure(outcome)):
            return
        counts = self._counts.get(task_type)
        if counts is None:
            counts = self._of(task_type)
        counts[kind] += 1
        counts[bucket(seconds)] += 1

    def _of(self, task_type: str) -> Counts:
        route = self._registry.find(task_type)
        if route is None:
            return new_counts()  # a type that nobody serves: its name is a stranger's text
        name = route.type + "*" * route.prefix
        self._counts[task_type] = counts = self._routes.setdefault(name, new_counts())
        return counts

    async def flush(self) -> None:
        """Hand over what was counted; while Redis does not take it, it is lost."""
        routes, self._routes = self._routes, {}
        self._counts.clear()
        if routes:
            await self._store.add(routes)


_KINDS = {Done: SUCCEEDED, Complete: SUCCEEDED, Retry: FAILED, Archive: FAILED}


def _is_no_failure(outcome: Outcome) -> bool:
    return (isinstance(outcome, Archive) and outcome.cancelled) or (isinstance(outcome, Retry) and not outcome.counts)
