"""Groups of a mixed fleet: whoever enqueues and whoever aggregates, each member ends in exactly one aggregate task."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from interop.features import ACROSS, Direction, shows
from interop.go_peer import GoPeer, GoServer
from support.clock import MovableClock
from support.store import Store
from support.tasks import enqueue, placement
from support.waiting import wait_until
from taskflow import Broker, Client, Inspector, Task, TaskFlow, TaskOptions
from taskflow.broker.groups import GroupPolicy, Groups

if TYPE_CHECKING:
    from conftest import StartWorker

pytestmark = [pytest.mark.go, pytest.mark.usefixtures("invariants_hold")]

AREA = "Groups"
AGGREGATED = "a group that one side fills is aggregated by the other"
ABANDONED = "what an aggregation was abandoned with goes back into its group"
FORGOTTEN = "asynq forgets the group's name meanwhile; TaskFlow names it again"
AGGREGATE = ("--aggregate", "--group-max-size=3", "--group-grace=1s")


@pytest.fixture
def aggregated(app: TaskFlow) -> list[bytes]:
    """The payloads of the aggregate tasks that our worker ran; it makes them as the Go server does."""
    got: list[bytes] = []

    @app.aggregate
    def join(group: str, tasks: list[Task]) -> Task:
        return Task("aggregated", b"\n".join(task.payload for task in tasks))

    @app.task("aggregated")
    async def run(payload: bytes) -> None:
        got.append(payload)

    return got


def members(payloads: list[bytes]) -> list[bytes]:
    return sorted(line for payload in payloads for line in payload.split(b"\n"))


def payloads_of(server: GoServer) -> list[bytes]:
    """The payloads of the aggregate tasks that a Go server ran."""
    ended = [event for event in server.about("end") if event["type"] == "aggregated"]
    return [base64.b64decode(event["payload"]) for event in ended]


@shows(AREA, AGGREGATED, Direction.GO_PYTHON)
async def test_go_enqueues_and_we_aggregate(
    go: GoPeer, app: TaskFlow, start_worker: StartWorker, aggregated: list[bytes]
) -> None:
    for number in range(6):
        await go.enqueue("notify", b"%d" % number, group="user:42", headers={"n": f"{number}"}, unique="1h")
    await go.enqueue("notify", b"later", group="user:42", process_in="1h", task_id="later")
    assert await go.inspect("groups", queue="default") == [{"group": "user:42", "size": 6}]

    await start_worker(app, group_max_size=3)
    await wait_until(lambda: len(aggregated) == 2)

    assert members(aggregated) == [b"%d" % number for number in range(6)]
    assert await go.inspect("groups", queue="default") == []
    info = await go.inspect("queue_info", queue="default")
    assert (info["aggregating"], info["groups"], info["scheduled"]) == (0, 0, 1)
    assert (await go.enqueue("notify", b"0", unique="1h"))["state"] == "pending", "the members' locks are free"


@shows(AREA, AGGREGATED, Direction.PYTHON_GO)
async def test_we_enqueue_and_go_aggregates(go: GoPeer, client: Client, inspector: Inspector, store: Store) -> None:
    await client.enqueue_many([Task("notify", b"%d" % n, TaskOptions(group="größe:42")) for n in range(7)])
    assert await go.inspect("groups", queue="default") == [{"group": "größe:42", "size": 7}]
    listed = await go.inspect("list", queue="default", state="aggregating", group="größe:42")
    assert {task["group"] for task in listed} == {"größe:42"}

    server = await go.work(*AGGREGATE)
    await wait_until(lambda: len(members(payloads_of(server))) == 7, 15)

    assert members(payloads_of(server)) == [b"%d" % number for number in range(7)]
    assert await inspector.groups("default") == []
    await wait_until(lambda: store.list("active") == [])


@shows(AREA, "both aggregate the same groups: each member once", *ACROSS)
async def test_both_aggregate_the_same_groups(
    go: GoPeer, app: TaskFlow, client: Client, start_worker: StartWorker, aggregated: list[bytes], store: Store
) -> None:
    server = await go.work(*AGGREGATE)
    await start_worker(app, group_max_size=3, group_grace=1)
    for first in range(0, 60, 10):
        tasks = [Task("notify", b"%02d" % n, TaskOptions(group=f"g{n % 4}")) for n in range(first, first + 10)]
        await client.enqueue_many(tasks)
        await go.enqueue("notify", b"go %02d" % first, group=f"g{first % 3}")

    await wait_until(lambda: len(members(aggregated + payloads_of(server))) >= 66, 15)

    expected = [b"%02d" % n for n in range(60)] + [b"go %02d" % n for n in range(0, 60, 10)]
    assert members(aggregated + payloads_of(server)) == sorted(expected)
    await wait_until(lambda: store.list("active") == [])


@shows(AREA, ABANDONED, Direction.GO_PYTHON, note=FORGOTTEN)
async def test_gos_abandoned_set_is_reclaimed_by_us(go: GoPeer, broker: Broker, store: Store) -> None:
    """What a Go server leaves that dies between closing a group and deleting the set."""
    await go.enqueue("notify", b"1", task_id="a", group="g")
    key = store.key("g:g:5c0a4a6e-8f59-4f7e-9f2c-0f9d35a5f1d3")
    store.client.rename(store.key("g:g"), key)
    store.client.srem(store.key("groups"), "g")
    store.client.zadd(store.key("aggregation_sets"), {key: int(broker.clock.now()) - 1})

    assert await Groups(broker).reclaim(["default"]) == 1

    assert await go.inspect("groups", queue="default") == [{"group": "g", "size": 1}]
    listed = await go.inspect("list", queue="default", state="aggregating", group="g")
    assert [task["id"] for task in listed] == ["a"]


@shows(AREA, ABANDONED, Direction.PYTHON_GO, note=FORGOTTEN)
async def test_our_abandoned_set_is_reclaimed_by_go_and_the_group_is_named_again(
    go: GoPeer, broker: Broker, clock: MovableClock, store: Store
) -> None:
    """Go puts the members back but not the group's name, without which nobody would ever look at it."""
    await enqueue(broker, placement("a", group="g"), placement("b", group="g"))
    groups = Groups(broker, set_seconds=-5)
    await groups.close("default", GroupPolicy(max_size=2))
    clock.advance(-60)
    assert await groups.reclaim(["default"]) == 0, "it is not abandoned yet"

    await go.work()
    await wait_until(lambda: len(store.scores("g:g")) == 2, 15)
    assert await go.inspect("groups", queue="default") == []
    await groups.reclaim(["default"])

    assert await go.inspect("groups", queue="default") == [{"group": "g", "size": 2}]
