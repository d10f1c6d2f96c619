"""Sampler: takes the samples of the queues when their time comes; any number of them share the work."""

from __future__ import annotations

import asyncio
import random

import structlog

from taskflow.broker.queue import Broker
from taskflow.broker.samples import STEP, Samples
from taskflow.errors import BrokerUnavailable, TaskFlowError

_LOG = structlog.get_logger("taskflow.samples")
_SPREAD = 1.0
"""Within how many seconds from the beginning of a step the samplers of a system come, so that not all come at once."""


class Sampler:
    """Samples all queues of a broker's Redis server, once in each step of time, whichever process comes first."""

    def __init__(self, broker: Broker) -> None:
        self._clock = broker.clock
        self._samples = Samples(broker)

    async def run(self) -> None:
        """Sample again and again. What cannot be sampled is a gap; others tell of an outage."""
        while True:
            try:
                await self._samples.take()
            except BrokerUnavailable:
                pass
            except TaskFlowError:
                _LOG.exception("Redis refused to keep samples")
            await asyncio.sleep(STEP - self._clock.now() % STEP + random.uniform(0, _SPREAD))  # noqa: S311 - jitter
