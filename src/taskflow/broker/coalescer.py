"""Coalescer: sends placements, all that have gathered at once, one round trip at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from taskflow.broker.placement import Placed, Placement
from taskflow.broker.queue import Broker
from taskflow.errors import BrokerUnavailable

BATCH = 1000
"""The most placements of one round trip."""
PAUSE_BEFORE_REPEAT = 0.05
"""How long (s) to wait before what got no answer is sent again."""
Sent = tuple[Placed, bool]
"""What became of a placement, and whether it had to be repeated."""


class Coalescer:
    """Sends placements, all that have gathered at once, one round trip at a time."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._waiting: list[tuple[Placement, asyncio.Future[Sent]]] = []
        self._busy = False
        self._flusher: asyncio.Task[None] | None = None

    async def place(self, placement: Placement) -> Sent:
        """Return what became of a placement, and whether it had to be repeated. Raises `BrokerUnavailable`."""
        if self._busy:
            future: asyncio.Future[Sent] = asyncio.get_running_loop().create_future()
            self._waiting.append((placement, future))
            return await future
        self._busy = True
        try:
            return all_sent(await self.send([placement]))[0]
        finally:
            if self._waiting:
                self._flusher = asyncio.create_task(self._flush())
            else:
                self._busy = False

    async def send(self, placements: Sequence[Placement]) -> list[Sent | BrokerUnavailable]:
        """Enqueue, and once again what got no answer: the ids are ours, so a repeat does no harm."""
        answers = await self._try(placements, repeated=False)
        lost = [i for i, answer in enumerate(answers) if isinstance(answer, BrokerUnavailable)]
        if lost:
            await asyncio.sleep(PAUSE_BEFORE_REPEAT)
            again = await self._try([placements[i] for i in lost], repeated=True)
            for i, answer in zip(lost, again, strict=True):
                answers[i] = answer
        return answers

    async def _try(self, placements: Sequence[Placement], *, repeated: bool) -> list[Sent | BrokerUnavailable]:
        try:
            answers = await self._broker.enqueue_each(placements)
        except BrokerUnavailable as error:
            return [error] * len(placements)
        return [answer if isinstance(answer, BrokerUnavailable) else (answer, repeated) for answer in answers]

    async def _flush(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                await self._send_batch(batch)
        finally:
            self._busy = False

    async def _send_batch(self, batch: Sequence[tuple[Placement, asyncio.Future[Sent]]]) -> None:
        try:
            answers = await self.send([placement for placement, _ in batch])
        except Exception as error:  # noqa: BLE001 - it is handed to those who wait
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, BrokerUnavailable):
                future.set_exception(answer)
            else:
                future.set_result(answer)


def all_sent(answers: Sequence[Sent | BrokerUnavailable]) -> list[Sent]:
    """Return the answers; raises the first that is an error."""
    sent = []
    for answer in answers:
        if isinstance(answer, BrokerUnavailable):
            raise answer
        sent.append(answer)
    return sent
