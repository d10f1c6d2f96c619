"""Completer: gathers outcomes until the next round trip takes them, and keeps each until Redis has answered for it.

asynq calls it syncer. Settling is fenced by the lease, so trying again is always safe.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import structlog

from taskflow.broker.delivery import Archive, Delivery, Outcome, Settled
from taskflow.broker.steering import CANCELLED

_LOG = structlog.get_logger("taskflow.worker")


Taken = tuple[Delivery, Outcome, str]
"""An outcome that a round trip has taken, with the lease tokens that are sent with it."""


class Completer:
    """The outcomes that Redis has not taken yet.

    Args:
        leases: The deliveries whose lease the heartbeat keeps; one leaves when it is settled.
        news: Called when there is something to settle.
        settled: Called for each delivery that was settled, with its outcome.

    """

    def __init__(
        self,
        leases: set[Delivery],
        *,
        news: Callable[[], None],
        settled: Callable[[Delivery, Outcome], None],
    ) -> None:
        self._leases = leases
        self._news = news
        self._settled = settled
        self._waiting: deque[tuple[Delivery, Outcome]] = deque()
        self._under_way = 0

    @property
    def owed(self) -> int:
        """How many outcomes Redis has not taken yet."""
        return len(self._waiting) + self._under_way

    @property
    def waiting(self) -> bool:
        """Whether outcomes wait for a round trip."""
        return bool(self._waiting)

    def add(self, delivery: Delivery, outcome: Outcome) -> None:
        """Take an outcome."""
        self._waiting.append((delivery, outcome))
        self._news()

    def take(self, most: int) -> list[Taken]:
        """Hand outcomes to a round trip, each with the lease tokens that are sent with it."""
        waiting = self._waiting
        taken = []
        for _ in range(min(most, len(waiting))):
            delivery, outcome = waiting.popleft()
            taken.append((delivery, outcome, delivery.tokens))
        self._under_way += len(taken)
        return taken

    def put_back(self, taken: Sequence[Taken]) -> None:
        """Take back what a failed round trip may or may not have settled."""
        self._under_way -= len(taken)
        self._waiting.extendleft((delivery, outcome) for delivery, outcome, _ in reversed(taken))
        self._news()

    def confirm(self, taken: Sequence[Taken], answers: Sequence[Settled]) -> None:
        """Note Redis's answers for what a round trip took."""
        self._under_way -= len(taken)
        for (delivery, outcome, tokens), answer in zip(taken, answers, strict=True):
            if answer is Settled.SETTLED:
                self._leases.discard(delivery)
                self._settled(delivery, outcome)
            elif answer is Settled.CANCELLED_MEANWHILE:
                self.add(delivery, Archive(CANCELLED, cancelled=True, attempt=getattr(outcome, "attempt", None)))
            elif delivery.moved_since(tokens):
                self.add(delivery, outcome)
            else:
                self._leases.discard(delivery)
                self._log_refusal(delivery, outcome)

    @staticmethod
    def _log_refusal(delivery: Delivery, outcome: Outcome) -> None:
        _LOG.warning(
            "not settled: it was settled already, or its lease is another worker's by now",
            task_id=delivery.id,
            queue=delivery.queue,
            outcome=type(outcome).__name__,
        )
