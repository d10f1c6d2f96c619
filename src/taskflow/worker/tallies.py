"""Tallies: how attempts ended and how long they took, counted by type in memory and handed to Redis now and then."""

from __future__ import annotations

import random

from taskflow.broker.delivery import Archive, Complete, Delivery, Done, Outcome, Retry
from taskflow.broker.type_stats import FAILED, SUCCEEDED, Counts, TypeTallies, bucket, new_counts
from taskflow.worker.registry import Registry

FLUSH = 10.0
"""How often (s) what was counted is handed over."""


EXACT = 1000
"""How many attempts of such a time are all counted; of further ones about every 64th, for itself and those before it."""
_STRIDES = 127
"""Strides are from 1 to this, drawn anew each time: types that come in turn are all met."""


class Tallies:
    """Counts what a worker does, by the types that its registry serves.

    Args:
        registry: Names the types; those of a prefix are counted together.
        store: Takes what was counted.

    """

    __slots__ = ("_counts", "_exact", "_registry", "_routes", "_store", "_weight", "skip")

    def __init__(self, registry: Registry, store: TypeTallies) -> None:
        self._registry = registry
        self._store = store
        self._counts: dict[str, Counts] = {}
        """By the types that tasks have; those that one route serves share their counters."""
        self._routes: dict[str, Counts] = {}
        self._exact = EXACT
        self._weight = 1
        self.skip = 0
        """How many attempts to pass over before the next that is counted: whoever passes one over takes 1 off."""

    def add(self, delivery: Delivery, outcome: Outcome, now: float) -> None:
        """Count an attempt that ended now (Unix s). What was put back, cancelled or does not count is no attempt."""
        weight = self._weight
        if self._exact > 0:
            self._exact -= 1
        else:
            self._weight = stride = 1 + int(random.random() * _STRIDES)  # noqa: S311 - statistics
            self.skip = stride - 1
        kind = _KINDS.get(type(outcome))
        message, started_at = delivery.message, delivery.started_at
        if kind is None or message is None or not started_at or (kind == FAILED and _is_no_failure(outcome)):
            return
        counts = self._counts.get(message.type)
        if counts is None:
            counts = self._of(message.type)
        counts[kind] += weight
        counts[bucket(now - started_at)] += weight

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
        self._exact, self._weight, self.skip = EXACT, 1, 0
        if routes:
            await self._store.add(routes)


_KINDS = {Done: SUCCEEDED, Complete: SUCCEEDED, Retry: FAILED, Archive: FAILED}


def _is_no_failure(outcome: Outcome) -> bool:
    return (isinstance(outcome, Archive) and outcome.cancelled) or (isinstance(outcome, Retry) and not outcome.counts)
