"""Stage: a store that both sides look at, one of which makes what the other acts on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from interop import agreement
from interop.features import Direction
from interop.go_peer import TIMEOUT, Reply
from interop.runners import Runner, Workers
from interop.sides import DEFAULT, Refused, Side, refusal
from support.store import Store
from support.waiting import wait_until

FOREVER = b"600000"
"""The payload of a task that sleeps until it is stopped."""
_WAITING = ("pending", "scheduled", "aggregating")
"""States in which a task comes to rest without a worker."""
_MAKING: dict[str, tuple[str, bytes, Reply]] = {
    "pending": ("anything", b"x", {}),
    "scheduled": ("anything", b"x", {"process_in": 3600}),
    "aggregating": ("anything", b"x", {"group": "g"}),
    "completed": ("echo", b"result", {"retention": 3600}),
    "archived": ("skip", b"bad address", {}),
    "retry": ("fail", b"not yet", {}),
    "active": ("sleep", FOREVER, {}),
}
"""Type, payload and options of a task that ends up in a state."""


class Stage:
    """What a case of the conformance suite works with.

    Attributes:
        maker: The side that makes things.
        actor: The side that acts on them.
        both: Go's side and ours.
        store: The queue `default`, key by key.

    """

    def __init__(
        self,
        direction: Direction,
        sides: Mapping[str, Side],
        workers: Mapping[str, Workers],
        store: Store,
    ) -> None:
        maker, actor = direction.value.split("-")
        self.maker, self.actor = sides[maker], sides[actor]
        self.both = tuple(sides.values())
        self._sides = sides
        self._workers = workers
        self.store = store

    async def works(self, side: Side, **options: Any) -> Runner:
        """Start a worker of a side; see `Workers.start`."""
        return await self._workers[side.name].start(**options)

    async def made(self, state: str, *ids: str, queue: str = DEFAULT, **options: Any) -> Reply:
        """Let the maker's client and worker bring tasks (default: `a`) into a state; return what both say of the first.

        The worker of active tasks stays, with all its slots taken.
        """
        names = ids or ("a",)
        task_type, payload, wanted = _MAKING[state]
        for task_id in names:
            await self.maker.enqueue(task_type, payload, **{"task_id": task_id, "queue": queue, **wanted, **options})
        if state not in _WAITING:
            runner = await self.works(self.maker, queues={queue: 1}, concurrency=len(names))
            for task_id in names:
                await self.reach(state, task_id, queue)
            if state != "active":
                await runner.stop()
        return await self.reach(state, names[0], queue)

    async def go_cancels(self, task_id: str) -> None:
        """Let asynq's inspector stop a running task."""
        await self._sides["go"].cancel(task_id)

    def make_due(self, state: str, task_id: str) -> None:
        """Do what waiting would do to a scheduled task or one in retry."""
        client = self.store.client
        assert client.zadd(self.store.key(state), {task_id: int(time.time()) - 1}, xx=True, ch=True) == 1
        client.zrem(f"taskflow:{{{self.store.queue}}}:due", task_id)

    # -- what both say ------------------------------------------------------------------------------------------------

    async def task(self, task_id: str = "a", queue: str = DEFAULT) -> Reply:
        """Return what both inspectors say of a task; they must agree."""
        return await agreement.on_task(self._sides, task_id, queue)

    async def reach(self, state: str, task_id: str = "a", queue: str = DEFAULT) -> Reply:
        """Wait until a task is in a state; return what both say of it then."""
        go = self._sides["go"]

        async def reached() -> bool:
            try:
                return bool((await go.task(task_id, queue))["state"] == state)
            except Refused:
                return False

        await wait_until(reached, TIMEOUT)
        return await self.task(task_id, queue)

    async def gone(self, task_id: str = "a", queue: str = DEFAULT) -> None:
        """Wait until neither knows a task any more."""
        go = self._sides["go"]

        async def missing() -> bool:
            try:
                await go.task(task_id, queue)
            except Refused as refused:
                return refused.word == "task not found"
            return False

        await wait_until(missing, TIMEOUT)
        for side in self._sides.values():
            assert await refusal(side.task(task_id, queue)) == "task not found"

    async def no_locks(self, queue: str = DEFAULT) -> None:
        """Wait until no unique lock of a queue is held."""
        store = Store(self.store.client, queue)
        await wait_until(lambda: not store.client.keys(store.key("unique:*")))

    async def agree(self, queue: str = DEFAULT) -> Reply:
        """Let both inspectors list everything a queue holds: they must agree, field by field. Return the queue's numbers."""
        assert await self._sides["python"].queues() == await self._sides["go"].queues()
        return await agreement.on_queue(self._sides, queue)


def said(state: str) -> str:
    """Return a state as one says it of a task."""
    return "in retry" if state == "retry" else state
