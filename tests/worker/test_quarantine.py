"""Tasks that two workers have died with: each is run alone, and only a death while it runs counts."""

from __future__ import annotations

import asyncio
import time

import pytest

from conftest import StartWorker, WaitUntil
from support.store import Store
from support.tasks import enqueue, placement, take
from taskflow import Broker, Client, Inspector, Task, TaskContext, TaskFlow
from taskflow.worker import quarantine
from taskflow.worker.maintenance import Maintenance

pytestmark = pytest.mark.usefixtures("invariants_hold")


def mark(store: Store, *ids: str, deaths: int = 2) -> None:
    """Let as many workers have died with tasks."""
    for task_id in ids:
        store.client.hset(store.key(f"t:{task_id}"), "deaths", deaths)


class Watch:
    """Handlers that tell what runs beside what."""

    def __init__(self, app: TaskFlow, *, seconds: float = 0.02) -> None:
        self.running: set[str] = set()
        self.beside: dict[str, set[str]] = {}
        self.order: list[str] = []
        self.blocked = asyncio.Event()
        self.go_on = asyncio.Event()

        @app.task("t")
        async def run(context: TaskContext) -> None:
            self._begin(context.id)
            await asyncio.sleep(seconds)
            self.running.discard(context.id)

        @app.task("blocks")
        async def block(context: TaskContext) -> None:
            self._begin(context.id)
            self.blocked.set()
            await self.go_on.wait()
            self.running.discard(context.id)

        @app.task("fails")
        async def fail(context: TaskContext) -> None:
            raise ValueError("no luck")

    def _begin(self, task_id: str) -> None:
        self.order.append(task_id)
        self.running.add(task_id)
        for one in self.running:
            self.beside[one] = self.beside.get(one, set()) | self.running - {one}

    def alone(self, *ids: str) -> bool:
        return not any(self.beside[task_id] for task_id in ids)


async def test_suspects_run_alone_and_all_tasks_are_done(
    app: TaskFlow, broker: Broker, store: Store, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    watch = Watch(app)
    suspects = [f"s{n}" for n in range(8)]
    for n in range(8):
        await enqueue(broker, placement(f"a{n}"), placement(f"s{n}"), placement(f"b{n}"))
    mark(store, *suspects)

    await start_worker(app, concurrency=10)
    await wait_until(lambda: store.number("processed") == 24, 15)

    assert watch.alone(*suspects)
    assert any(watch.beside[f"a{n}"] for n in range(8))
    assert store.number("failed") == 0


async def test_one_death_makes_no_suspect(
    app: TaskFlow, broker: Broker, store: Store, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    watch = Watch(app)
    await enqueue(broker, *(placement(f"a{n}") for n in range(5)))
    mark(store, *(f"a{n}" for n in range(5)), deaths=1)

    await start_worker(app)
    await wait_until(lambda: store.number("processed") == 5)

    assert not watch.alone(*(f"a{n}" for n in range(5)))


async def test_what_runs_already_is_waited_for_and_nothing_new_is_taken(
    app: TaskFlow,
    broker: Broker,
    inspector: Inspector,
    store: Store,
    start_worker: StartWorker,
    wait_until: WaitUntil,
) -> None:
    watch = Watch(app)
    await enqueue(broker, placement("long", task_type="blocks"))
    worker = await start_worker(app)
    await watch.blocked.wait()
    await inspector.pause("default")
    await enqueue(broker, placement("s"))
    mark(store, "s")
    await inspector.resume("default")
    await wait_until(lambda: worker._fetcher._held and not worker._fetcher.fetching)
    await enqueue(broker, placement("next"))

    assert store.state("s") == "active"
    assert "started_at" not in store.hash("s")
    watch.go_on.set()
    await wait_until(lambda: store.number("processed") == 3)
    assert watch.order == ["long", "s", "next"]


async def test_tasks_that_never_end_are_not_waited_for(
    app: TaskFlow,
    broker: Broker,
    inspector: Inspector,
    store: Store,
    start_worker: StartWorker,
    wait_until: WaitUntil,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that is no suspect, and one that is: suspects run beside them, but one at a time, and others run too."""
    monkeypatch.setattr(quarantine, "PATIENCE", 0.2)
    watch = Watch(app)
    await enqueue(broker, placement("long", task_type="blocks"))
    await start_worker(app)
    await watch.blocked.wait()
    await inspector.pause("default")
    await enqueue(broker, placement("s long", task_type="blocks"), placement("s1"), placement("s2"))
    mark(store, "s long", "s1", "s2")
    await inspector.resume("default")
    await wait_until(lambda: store.number("processed") == 2)
    await enqueue(broker, placement("other"))
    await wait_until(lambda: store.number("processed") == 3)

    assert watch.beside["s1"] <= {"long", "s long"}
    assert watch.beside["s2"] <= {"long", "s long"}
    assert watch.running == {"long", "s long"}
    watch.go_on.set()
    await wait_until(lambda: store.number("processed") == 5)


async def test_other_tasks_have_their_turn_between_suspects(
    app: TaskFlow,
    broker: Broker,
    store: Store,
    start_worker: StartWorker,
    wait_until: WaitUntil,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quarantine, "TURN", 0.0)
    monkeypatch.setattr(quarantine, "LEAST_PAUSE", 0.3)
    watch = Watch(app)
    suspects = [f"s{n}" for n in range(3)]
    await enqueue(broker, *(placement(task_id) for task_id in suspects))
    mark(store, *suspects)
    await enqueue(broker, *(placement(f"a{n}") for n in range(3)))

    await start_worker(app, concurrency=4)
    await wait_until(lambda: store.number("processed") == 6, 15)

    assert watch.alone(*suspects)
    assert watch.order.index("a2") < watch.order.index("s2")


async def test_a_suspect_that_only_fails_is_a_suspect_no_longer(
    app: TaskFlow, broker: Broker, store: Store, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    Watch(app)
    await enqueue(broker, placement("a", task_type="fails"))
    mark(store, "a")

    await start_worker(app)
    await wait_until(lambda: store.state("a") == "retry")

    assert "deaths" not in store.hash("a")


async def test_a_worker_that_stops_puts_back_what_it_has_not_begun(
    app: TaskFlow, broker: Broker, store: Store, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    watch = Watch(app)
    await enqueue(broker, placement("s1", task_type="blocks"), placement("s2"), placement("s3"))
    mark(store, "s1", "s2", "s3")
    worker = await start_worker(app, shutdown_timeout=5)
    await watch.blocked.wait()
    worker.stop()
    watch.go_on.set()
    await wait_until(lambda: worker.describe().status == "closed", 10)

    assert watch.order == ["s1"]
    assert sorted(store.list("pending")) == ["s2", "s3"]
    assert store.hash("s2")["deaths"] == b"2"


async def test_a_suspect_that_is_cancelled_while_it_waits_is_not_run(
    app: TaskFlow,
    broker: Broker,
    inspector: Inspector,
    store: Store,
    start_worker: StartWorker,
    wait_until: WaitUntil,
) -> None:
    watch = Watch(app)
    await enqueue(broker, placement("s1", task_type="blocks"), placement("s2"))
    mark(store, "s1", "s2")
    await start_worker(app)
    await watch.blocked.wait()
    await wait_until(lambda: store.state("s2") == "active")
    await inspector.cancel("s2")
    watch.go_on.set()
    await wait_until(lambda: store.state("s2") == "archived")

    assert watch.order == ["s1"]
    assert (await inspector.task("s2")).cancelled


async def test_a_suspect_whose_lease_is_lost_while_it_waits_is_not_run(
    app: TaskFlow, broker: Broker, store: Store, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    watch = Watch(app)
    await enqueue(broker, placement("s1", task_type="blocks"), placement("s2"), placement("s3"))
    mark(store, "s1", "s2", "s3")
    await start_worker(app, heartbeat=5)
    await watch.blocked.wait()
    await wait_until(lambda: store.state("s2") == "active")
    store.client.zadd(store.key("lease"), {"s2": int(time.time()) + 600})
    watch.go_on.set()
    await wait_until(lambda: store.number("processed") == 2)

    assert watch.order == ["s1", "s3"]
    assert store.list("active") == ["s2"]


# -- whose death it is --------------------------------------------------------------------------------------------------


async def test_a_death_counts_only_for_what_was_begun(broker: Broker, store: Store) -> None:
    """The worker died with a suspect that waited, one that it had begun, and a task that is none."""
    await enqueue(broker, placement("waits"), placement("runs"), placement("plain"))
    mark(store, "waits", "runs")
    held = {delivery.id: delivery for delivery in await take(broker, owner="gone:1")}
    assert {task_id: delivery.suspect for task_id, delivery in held.items()} == {
        "waits": True,
        "runs": True,
        "plain": False,
    }
    await broker.begin(held["runs"])
    for task_id in held:
        store.client.zadd(store.key("lease"), {task_id: time.time() - 60.5})

    await Maintenance(broker, ["default"], worker="w:1").recover()

    assert sorted(store.list("pending")) == ["plain", "waits"]
    assert store.hash("waits")["deaths"] == b"2"
    assert store.hash("plain")["deaths"] == b"1"
    assert store.state("runs") == "archived"


async def test_deaths_that_are_no_number_harm_nobody(
    app: TaskFlow, client: Client, store: Store, start_worker: StartWorker, wait_until: WaitUntil
) -> None:
    Watch(app)
    info, *_ = await client.enqueue_many([Task("t")] * 3)
    store.client.hset(store.key(f"t:{info.id}"), "deaths", "many")  # type: ignore[union-attr]

    await start_worker(app)
    await wait_until(lambda: store.number("processed") == 3)
