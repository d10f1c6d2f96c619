"""Lane: a queue on which one sequence after the other is played, by both sides of a fleet that all lanes share."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from interop import agreement
from interop.go_peer import GoServer, Reply
from interop.sequences.ledger import Ledger
from interop.sequences.steps import HOUR, Sequence, Step
from interop.sides import Refused, Side
from support import image as images
from support.image import Image
from support.invariants import misplaced
from support.tasks import placement
from taskflow import Broker
from taskflow.broker.delivery import Archive, Delivery, Outcome, Requeue, Retry, Settled
from taskflow.broker.groups import GroupPolicy, Groups
from taskflow.worker import outcome as policy

TIMEOUT = 20.0
"""How long (s) a queue may take to come to rest, and asynq's events to be read."""
_POLL = 0.01
_SOON = 2
"""A task that falls due within so many seconds is waited for."""
_CLEAR = """
for _, pattern in ipairs(ARGV) do
  for _, key in ipairs(redis.call('KEYS', pattern)) do redis.call('DEL', key) end
end
redis.call('SADD', 'asynq:queues', KEYS[1])
"""


class Broken(AssertionError):
    """A sequence has left something wrong."""


@dataclass
class Fleet:
    """What all lanes share: one store, both libraries, a running asynq server and perhaps a worker of ours."""

    sides: Mapping[str, Side]
    broker: Broker
    redis: Any
    server: GoServer
    books: dict[str, Ledger] = field(default_factory=dict)
    _read: int = 0
    _events: dict[str, list[Reply]] = field(default_factory=lambda: defaultdict(list))

    def events_of(self, queue: str) -> list[Reply]:
        """Return the new ends of attempts that the asynq server has told of, in a queue."""
        for event in self.server.events[self._read :]:
            if event["event"] == "end":
                self._events[event["queue"]].append(event)
        self._read = len(self.server.events)
        return self._events.pop(queue, [])

    def settled(self, delivery: Delivery, outcome: Outcome) -> None:
        """Enter what became of an attempt of our worker's."""
        self.books[delivery.queue].settled(delivery.id, outcome)


class Lane:
    """One queue; one sequence at a time."""

    def __init__(self, queue: str, fleet: Fleet) -> None:
        self.queue = queue
        self._fleet = fleet
        self._broker = fleet.broker
        self._held: list[Delivery] = []
        self._books = Ledger(queue)
        self._log: list[str] = []

    async def play(self, sequence: Sequence, *, step_by_step: bool = False) -> None:
        """Play a sequence, wait until the queue is at rest, and audit it; with `step_by_step`, also after each step.

        Raises:
            Broken: Something is wrong; the text has the whole story.

        """
        await self._clear()
        try:
            await self._play(sequence, step_by_step=step_by_step)
            await self._come_to_rest()
            await self._audit(await self.image(), self._books.complaints)
            await agreement.on_queue(self._fleet.sides, self.queue)
            if sequence.removal is not None:
                await self._remove(sequence.removal)
        except (Refused, AssertionError) as error:
            story = "\n".join([str(sequence), *self._log, f"in queue {self.queue!r}:", str(error)])
            raise Broken(story) from error

    async def image(self) -> Image:
        """Read the queue."""
        key = f"asynq:{{{self.queue}}}:pending"
        return images.parse(
            self.queue, await self._fleet.redis.eval(images.SCRIPT, 1, key, *images.patterns(self.queue))
        )

    async def _clear(self) -> None:
        self._held, self._log = [], []
        self._books = self._fleet.books[self.queue] = Ledger(self.queue)
        await self._fleet.redis.eval(_CLEAR, 1, self.queue, *images.patterns(self.queue))
        self._fleet.events_of(self.queue)

    # -- steps --------------------------------------------------------------------------------------------------------

    async def _play(self, sequence: Sequence, *, step_by_step: bool) -> None:
        waiting: list[Step] = []
        for step in (*sequence.steps, None):
            if waiting and (step is None or not step.beside or step_by_step):
                await asyncio.gather(*(self._do(one, alone=len(waiting) == 1) for one in waiting))
                waiting = []
                if step_by_step:
                    await self._audit(await self.image(), self._books.complaints_midway)
            if step is not None:
                waiting.append(step)

    async def _do(self, step: Step, *, alone: bool) -> None:
        try:
            value = await self._carry_out(step)
        except Refused as refused:
            if refused.word == "unknown":
                raise
            self._books.refused(step, refused.word)
            self._log.append(f"{step}  refused: {refused.word}")
        else:
            self._books.answered(step, value, alone=alone)
            self._log.append(f"{step}  -> {value}")

    async def _carry_out(self, step: Step) -> Any:
        by_hand: dict[str, Callable[..., Any]] = {
            "take": self._take,
            "settle": self._settle,
            "extend": self._extend,
            "forward": self._forward,
            "aggregate": self._aggregate,
        }
        if step.op in by_hand:
            return await by_hand[step.op](**step.arguments)
        side = self._fleet.sides[step.side]
        call = getattr(side, step.op)
        return await (call(**step.arguments) if step.op == "cancel" else call(**step.arguments, queue=self.queue))

    async def _take(self, count: int) -> list[str]:
        taken = await self._broker.dequeue({self.queue: count}, owner="lane:1")
        self._held += taken
        return [delivery.id for delivery in taken]

    async def _settle(self, which: int, outcome: str, delay: float) -> str:
        if not self._held:
            return "nothing is held"
        delivery = self._held.pop(which % len(self._held))
        assert delivery.message is not None
        at = round(self._broker.clock.now() + delay, 6)
        outcomes: dict[str, Outcome] = {
            "succeed": policy.succeeded(delivery.message, b"done"),
            "fail": Retry(at, "no"),
            "excuse": Retry(at, "not now", counts=False),
            "archive": Archive("no"),
            "requeue": Requeue(),
        }
        return await self._settled(delivery, outcomes[outcome])

    async def _settled(self, delivery: Delivery, outcome: Outcome) -> str:
        (answer,) = await self._broker.settle([(delivery, outcome)])
        if answer is Settled.CANCELLED_MEANWHILE:
            outcome = Archive("cancelled", cancelled=True)
            (answer,) = await self._broker.settle([(delivery, outcome)])
        if answer is not Settled.SETTLED:
            raise Broken(f"the lease of {delivery.id!r} was lost")
        self._books.settled(delivery.id, outcome)
        return f"{delivery.id}: {outcome}"

    async def _extend(self) -> list[bool]:
        return await self._broker.extend(self._held)

    async def _forward(self) -> None:
        await self._broker.forward([self.queue])

    async def _aggregate(self, task_id: str, size: int, end: str) -> str:
        groups = Groups(self._broker, set_seconds=-1 if end == "abandon" else 60)
        for closed in await groups.close(self.queue, GroupPolicy(max_size=size, grace=HOUR), most=1):
            members = await groups.members(closed)
            if end == "reopen":
                return f"{await groups.reopen(closed)} members are back"
            if end == "abandon" or not members:
                return "left alone"
            answer = await groups.settle(closed, placement(task_id, queue=self.queue, payload=b"joined"))
            if answer.done:
                self._books.aggregated(len(members))
            return f"{[member.id for member in members]}: {answer.name}"
        return "no group is due"

    # -- the end ------------------------------------------------------------------------------------------------------

    async def _come_to_rest(self) -> None:
        while self._held:
            self._log.append(f"at the end: {await self._settled(self._held.pop(), Requeue())}")
        until = time.monotonic() + TIMEOUT
        while not await self._at_rest():
            if time.monotonic() > until:
                raise Broken(f"the queue does not come to rest: {await self.image()}")
            await asyncio.sleep(_POLL)

    async def _at_rest(self) -> bool:
        prefix, soon = f"asynq:{{{self.queue}}}:", int(time.time()) + _SOON
        pipe = self._fleet.redis.pipeline(transaction=True)
        pipe.llen(prefix + "active").llen(prefix + "pending").exists(prefix + "paused")
        pipe.zcount(prefix + "scheduled", "-inf", soon).zcount(prefix + "retry", "-inf", soon)
        active, pending, paused, *due = await pipe.execute()
        return not active and not any(due) and (bool(paused) or not pending)

    async def _remove(self, step: Step) -> None:
        """Remove the queue: as the side does it, what may stay stays whole, and all else is gone.

        A group that asynq does not name when it puts a due task into it is not seen by either.
        """
        before = await self.image()
        nameless = {task_id for name, ids in before.groups.items() if name not in before.named for task_id in ids}
        kept = {"completed", "aggregating"} if step.side == "go" else set()  # asynq does not look at those
        in_the_way = {state for task_id, state in before.places if task_id not in nameless} - kept
        refused = False
        try:
            await self._carry_out(step)
        except Refused as error:
            refused = error.word == "queue not empty"
        if refused != bool(in_the_way and not step.arguments["force"]):
            raise Broken(f"{step}: refused: {refused}, though there were tasks that are {in_the_way or 'none'}")
        after = await self.image()
        expected = {place for place in before.places if refused or place[1] in kept or place[0] in nameless}
        self._complain(misplaced(after))
        if set(after.places) != expected:
            raise Broken(f"{step}: {after.places} are left of {before.places}")

    async def _audit(self, image: Image, complaints_of: Callable[[Image], list[str]]) -> None:
        """Fail if something is wrong; asynq's events, which say what it did, may come a moment later than its deeds."""
        until = time.monotonic() + TIMEOUT / 10
        while True:
            for event in self._fleet.events_of(self.queue):
                self._books.go_ended(event)
                self._log.append(f"    go ended {event['id']} ({event['type']}): {event['error']}")
            complaints = complaints_of(image)
            if not complaints or time.monotonic() > until:
                return self._complain(complaints)
            await asyncio.sleep(_POLL)

    def _complain(self, complaints: list[str]) -> None:
        if complaints:
            raise Broken("\n".join(complaints))
