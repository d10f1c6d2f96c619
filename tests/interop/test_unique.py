"""Unique locks of a mixed fleet: asynq's own, and TaskFlow's with other keys, ends and answers to a clash."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from interop.features import Direction, shows
from interop.go_peer import GoPeer
from support.store import Store
from support.tasks import take
from support.waiting import wait_until
from taskflow import Client, DuplicateTask, Inspector, Unique
from taskflow.broker.delivery import Done
from taskflow.unique import Until
from taskflow.wire.keys import queue_keys

pytestmark = [pytest.mark.go, pytest.mark.usefixtures("invariants_hold")]

AREA = "Mixed fleet"
KEPT_BY_GO = "asynq does not know `lock_until`: a Go worker frees that lock when the task is done"
HOUR = timedelta(hours=1)
KEY = "asynq:{default}:unique:sleep:key=k"
FOREVER = b"600000"


@shows(AREA, "TaskFlow replaces or returns the holder of a lock that Go took", Direction.GO_PYTHON)
@pytest.mark.parametrize("place", [{}, {"process_in": "1h"}, {"group": "g"}])
async def test_a_task_of_gos_that_waits_is_returned_and_replaced(
    go: GoPeer, client: Client, store: Store, place: dict[str, Any]
) -> None:
    await go.enqueue("once", b"x", unique="1h", task_id="gos", **place)

    there = await client.enqueue("once", b"x", unique=Unique(HOUR, on_conflict="return"))
    ours = await client.enqueue("once", b"x", unique=Unique(HOUR, on_conflict="replace"))

    assert (there.id, there.existing, ours.replaced) == ("gos", True, "gos")
    assert store.hash("gos") == {}
    assert [task["id"] for task in await go.inspect("list", queue="default", state="pending")] == [ours.id]
    assert await go.enqueue("once", b"x", unique="1h") == {"error": "duplicate"}


@shows(AREA, "TaskFlow replaces or returns the holder of a lock that Go took", Direction.GO_PYTHON)
async def test_a_task_that_go_runs_is_not_replaced(go: GoPeer, client: Client) -> None:
    server = await go.work()
    await go.enqueue("sleep", FOREVER, unique="1h", task_id="gos")
    await server.event("start", "gos")

    with pytest.raises(DuplicateTask, match=r"'gos' .* is running"):
        await client.enqueue("sleep", FOREVER, unique=Unique(HOUR, on_conflict="replace"))


@shows(AREA, "Go meets TaskFlow's locks, whatever ends them", Direction.PYTHON_GO)
@pytest.mark.parametrize("until", ["done", "started", "expired"])
async def test_gos_client_meets_our_locks(go: GoPeer, client: Client, fixed_locks: set[str], until: Until) -> None:
    fixed_locks.add(queue_keys("default").unique("once", b"x"))
    info = await client.enqueue("once", b"x", unique=Unique(HOUR, until=until, on_conflict="replace"))

    assert await go.enqueue("once", b"x", unique="1h") == {"error": "duplicate"}
    assert (await go.enqueue("once", b"y", unique="1h"))["state"] == "pending"
    assert (await go.task(info.id))["state"] == "pending"


@shows(AREA, "a Go worker frees TaskFlow's locks, of a key or of fields", Direction.PYTHON_GO, note=KEPT_BY_GO)
@pytest.mark.parametrize(
    "unique",
    [
        Unique(HOUR, key="k"),
        Unique(HOUR, fields=("n",)),
        Unique(HOUR, key="k", until="started"),
        Unique(HOUR, fields=("n",), until="started"),
    ],
)
async def test_a_go_worker_frees_our_lock_when_the_task_is_done(
    go: GoPeer, client: Client, store: Store, unique: Unique
) -> None:
    await client.enqueue("echo", {"n": 1}, unique=unique, task_id="a")
    (key,) = store.client.keys("*:unique:*")

    server = await go.work()

    await server.event("end", "a")
    await wait_until(lambda: not store.client.exists(key, store.key("t:a")))


@shows(AREA, "a Go worker frees TaskFlow's locks, of a key or of fields", Direction.PYTHON_GO)
async def test_a_lock_until_the_start_is_kept_while_a_go_worker_runs_the_task(
    go: GoPeer, client: Client, store: Store
) -> None:
    unique = Unique(HOUR, key="k", until="started")
    server = await go.work()
    await client.enqueue("sleep", FOREVER, unique=unique, task_id="a")
    await server.event("start", "a")

    with pytest.raises(DuplicateTask):
        await client.enqueue("sleep", unique=unique)
    await server.stop()  # it puts the task back

    (delivery,) = await take(client.broker)
    assert not store.client.exists(KEY)
    await client.enqueue("sleep", unique=unique, task_id="b")
    await client.broker.settle([(delivery, Done())])
    assert store.client.get(KEY) == b"b"


@shows(AREA, "TaskFlow's lock for a fixed time outlasts a task that Go runs", Direction.PYTHON_GO)
async def test_a_fixed_lock_outlasts_its_task(go: GoPeer, client: Client, store: Store, fixed_locks: set[str]) -> None:
    fixed_locks.add(KEY)
    await client.enqueue("sleep", b"0", unique=Unique(HOUR, key="k", until="expired"), task_id="a")

    server = await go.work()

    await server.event("end", "a")
    await wait_until(lambda: not store.client.exists(store.key("t:a")))
    assert store.client.get(KEY) == b"a"


@shows(
    AREA,
    "TaskFlow frees the locks of asynq's tasks in groups that it cancels, archives or deletes",
    Direction.GO_PYTHON,
)
@pytest.mark.parametrize("steer", ["cancel", "archive", "delete"])
async def test_the_lock_of_gos_task_in_a_group_goes_with_it(go: GoPeer, inspector: Inspector, steer: str) -> None:
    """Asynq names that lock in the message alone."""
    await go.enqueue("once", b"x", unique="1h", task_id="a", group="g")

    await getattr(inspector, steer)("a", "default")

    assert (await go.enqueue("once", b"x", unique="1h"))["state"] == "pending"


@shows(AREA, "asynq's inspector frees TaskFlow's locks of tasks that it deletes", Direction.PYTHON_GO)
async def test_gos_inspector_frees_our_locks(go: GoPeer, client: Client, store: Store) -> None:
    await client.enqueue("a", unique=Unique(HOUR, key="k"), task_id="one")
    fields = Unique(HOUR, fields=("n",), until="started")
    await client.enqueue("b", {"n": 1}, unique=fields, process_at=datetime(2100, 1, 1, tzinfo=UTC))

    await go.inspect("delete_task", queue="default", id="one")
    await go.inspect("delete_all", queue="default", state="scheduled")

    assert store.client.keys("*:unique:*") == []
