"""For tasks in every state, asynq's inspector and ours say the same of tasks, lists and queues; neither writes an unknown key.

One queue was worked on by Go, the other by us, and both clients have put tasks into each.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import redis

from interop.go_peer import GoPeer
from interop.stage import Stage
from interop.two_queues import GROUP, QUEUES
from taskflow import Client, Inspector, TaskState
from taskflow.wire.keys import (
    ALL_QUEUES,
    ALL_SERVERS,
    ALL_WORKERS,
    ORDERS,
    SAMPLES_TURN,
    SERVED_TYPES,
    TALLIES,
    TASK_TYPES,
    day_name,
    queue_keys,
)

pytestmark = pytest.mark.go

# -- do they agree? ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("filled", "invariants_hold")
async def test_both_inspectors_say_the_same(both: Stage, raw: redis.Redis) -> None:
    for queue in QUEUES:
        numbers = await both.agree(queue)
        assert {state: numbers[state] for state in TaskState} == dict.fromkeys(TaskState, 2)
        assert (numbers["processed"], numbers["failed"], numbers["groups"]) == (7, 4, 1)
        for task_id in (f"{state}-{client}" for state in TaskState for client in ("go", "py")):
            assert (await both.task(task_id, queue))["state"] == task_id.partition("-")[0]
    every_key_is_known(raw)


def every_key_is_known(raw: Any) -> None:
    """Neither side has written a key that `wire.keys` does not name."""
    known = {ALL_QUEUES, ALL_SERVERS, ALL_WORKERS, TASK_TYPES, SAMPLES_TURN}
    prefixes: list[str] = [ALL_SERVERS + ":{", ALL_WORKERS + ":{", TALLIES, SERVED_TYPES, ORDERS]
    day = day_name(datetime.now(UTC).timestamp())
    for queue in QUEUES:
        keys = queue_keys(queue)
        known |= {keys.pending, keys.active, keys.lease, keys.scheduled, keys.retry, keys.archived, keys.completed}
        known |= {keys.processed, keys.failed, keys.processed_on(day), keys.failed_on(day)}
        known |= {keys.groups, keys.group(GROUP), keys.due}
        known |= {keys.unique("fail:later", b"not yet"), keys.unique("later", None)}
        prefixes += [keys.task_prefix, keys.samples_prefix]

    found = {key.decode() for key in raw.scan_iter(count=1000)}

    assert {key for key in found if not key.startswith(tuple(prefixes))} - known == set()
    for queue in QUEUES:
        keys = queue_keys(queue)
        assert {keys.unique("fail:later", b"not yet"), keys.unique("later", None), keys.due} <= found


async def test_a_task_that_lost_its_worker_is_orphaned_for_both(
    go: GoPeer, client: Client, inspector: Inspector, both: Stage, raw: redis.Redis
) -> None:
    """Asynq tells so in its list of active tasks alone."""
    server = await go.work()
    await client.enqueue("sleep", b"600000", task_id="a")
    await server.event("start", "a")
    await server.kill()
    assert not (await inspector.task("a")).orphaned
    raw.zadd(queue_keys("default").lease, {"a": 1})

    assert (await inspector.task("a")).orphaned
    await both.agree()
