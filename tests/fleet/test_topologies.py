"""The same handlers, unchanged, on one server, on Sentinel and on a Cluster, with Redis and with Valkey."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx
import pytest

from fleet.conftest import QUEUES, Start
from support.invariants import check_invariants
from support.receiver import receiving
from support.topologies import Topology
from support.waiting import wait_until
from taskflow import (
    BrokerUnavailable,
    DuplicateTask,
    Inspector,
    Retry,
    RetryPolicy,
    ScheduleEntry,
    ScheduleStore,
    SyncClient,
    Task,
    TaskContext,
    TaskFlow,
    TaskInfo,
    TaskOptions,
    TaskState,
    Unique,
)
from taskflow.application.service import TaskService
from taskflow.asgi import serve
from taskflow.config import load_settings
from taskflow.wire.keys import ALL_QUEUES, queue_keys
from taskflow.worker.watches import MOST_WATCHED
from taskflow.worker.webhooks import WebhookOptions

pytestmark = [pytest.mark.stock_redis, pytest.mark.slow]

KEPT = timedelta(hours=1)
BACK_WITHIN = 15.0


@pytest.fixture
def inspector(app: TaskFlow) -> Inspector:
    return Inspector(app.client.broker)


@pytest.fixture
async def service(app: TaskFlow) -> Any:
    async with TaskService(app.client, settings=load_settings(environ={})) as service:
        yield service


async def test_tasks_of_every_queue_run_and_their_results_are_waited_for(
    app: TaskFlow, topology: Topology, admin: Any, start: Start
) -> None:
    @app.task("double")
    async def double(number: int) -> int:
        return 2 * number

    @app.task("half")
    def half(number: int) -> int:
        return number // 2

    await start()
    tasks = [Task("double", {"number": n}, TaskOptions(queue=queue, retention=KEPT)) for n, queue in enumerate(QUEUES)]
    infos = await app.client.enqueue_many(tasks)
    with await asyncio.to_thread(SyncClient, topology.url) as blocking:
        more = [
            Task("half", {"number": 2 * n}, TaskOptions(queue=queue, retention=KEPT)) for n, queue in enumerate(QUEUES)
        ]
        infos += await asyncio.to_thread(blocking.enqueue_many, more)

    stored = [info for info in infos if isinstance(info, TaskInfo)]
    results = [await app.client.result(info, timeout=10) for info in stored]
    assert results == [0, 2, 4, 6, 0, 1, 2, 3]
    check_invariants(admin)


async def test_queues_by_pattern_are_served_wherever_they_lie(
    app: TaskFlow, topology: Topology, admin: Any, start: Start
) -> None:
    """More than have a connection of their own, in slots of all nodes, and one that is made while the worker works."""

    @app.task("where")
    async def where(context: TaskContext) -> str:
        return context.queue

    queues = [f"tenant-{number}" for number in range(MOST_WATCHED + 16)]
    admin.sadd(ALL_QUEUES, *queues)
    worker = await start(queues={"tenant-*": 1})
    await wait_until(lambda: not worker._fetcher._watches.busy)
    infos = await app.client.enqueue_many(
        Task("where", None, TaskOptions(queue=queue, retention=KEPT)) for queue in queues
    )
    with await asyncio.to_thread(SyncClient, topology.url) as blocking:
        infos.append(await asyncio.to_thread(blocking.enqueue, "where", queue="tenant-new", retention=KEPT))

    stored = [info for info in infos if isinstance(info, TaskInfo)]
    assert [await app.client.result(info, timeout=20) for info in stored] == [*queues, "tenant-new"]
    assert set(worker.queues) == {*queues, "tenant-new"}


async def test_failed_and_later_tasks_run_when_they_fall_due(
    app: TaskFlow, inspector: Inspector, admin: Any, start: Start
) -> None:
    @app.task("second try")
    async def second_try(context: TaskContext) -> int:
        if context.retried == 0:
            raise Retry(timedelta(seconds=0.1))
        return context.retried

    await start()
    due = datetime.now(UTC) + timedelta(seconds=0.3)
    infos = [
        await app.client.enqueue("second try", queue=queue, retention=KEPT, process_at=due, max_retries=1)
        for queue in QUEUES
    ]

    assert [await app.client.result(info, timeout=10) for info in infos] == [1] * len(QUEUES)
    assert [len((await inspector.task(info.id)).attempts) for info in infos] == [1] * len(QUEUES)
    check_invariants(admin)


async def test_progress_is_followed_and_a_running_task_is_cancelled(
    app: TaskFlow, inspector: Inspector, service: TaskService, admin: Any, start: Start
) -> None:
    @app.task("endless")
    async def endless(context: TaskContext) -> None:
        await context.progress(50, "waiting", "for the end")
        await asyncio.sleep(60)

    await start()
    infos = [await app.client.enqueue("endless", queue=queue) for queue in QUEUES]
    for info in infos:
        told = []
        async with aclosing(await service.progress.follow(info.id, history=True)) as events:
            async for event in events:
                told.append((event.kind, event.entry.status if event.entry else None))
                if len(told) == 1:
                    assert await inspector.cancel(info.id) is TaskState.ACTIVE
        assert told[-1] == ("done", "cancelled")
        assert {kind for kind, _ in told[:-1]} <= {"history", "progress"}
        assert (await inspector.task(info.id)).cancelled
    check_invariants(admin)


async def test_a_unique_task_is_refused_while_its_twin_lives(
    app: TaskFlow, topology: Topology, admin: Any, start: Start
) -> None:
    @app.task("import")
    async def once(name: str) -> str:
        return name

    twins = [Task("import", {"name": "x"}, TaskOptions(queue=queue, unique=KEPT, retention=KEPT)) for queue in QUEUES]
    first = await app.client.enqueue_many(twins)
    with await asyncio.to_thread(SyncClient, topology.url) as blocking:
        second = await asyncio.to_thread(blocking.enqueue_many, twins)
    assert [type(answer) for answer in second] == [DuplicateTask] * len(QUEUES)

    await start()
    for info in first:
        assert not isinstance(info, Exception)
        assert await app.client.result(info, timeout=10) == "x"
    lock = Unique(KEPT, key="import", on_conflict="replace")
    for queue in QUEUES:
        third = await app.client.enqueue("import", {"name": "y"}, queue=queue, unique=lock, process_in=KEPT)
        fourth = await app.client.enqueue("import", {"name": "z"}, queue=queue, unique=lock, process_in=KEPT)
        assert fourth.replaced == third.id
    assert not any(isinstance(answer, DuplicateTask) for answer in await app.client.enqueue_many(twins)), "all is free"
    check_invariants(admin)


async def test_groups_become_one_task_each(app: TaskFlow, inspector: Inspector, admin: Any, start: Start) -> None:
    @app.aggregate
    def joined(group: str, tasks: list[Task]) -> Task:
        names = sorted(task.payload.decode() for task in tasks)
        return Task("joined", {"names": names}, TaskOptions(task_id=f"{group}-joined", retention=KEPT))

    @app.task("joined")
    async def handle(names: list[str]) -> list[str]:
        return names

    for queue in QUEUES:
        for name in ("1", "2"):
            await app.client.enqueue("name", name.encode(), queue=queue, group="g")
    assert [group.size for queue in QUEUES for group in await inspector.groups(queue)] == [2] * len(QUEUES)
    await start(group_max_size=2)

    for queue in QUEUES:
        await wait_until(partial(admin.exists, f"asynq:{{{queue}}}:t:g-joined"), 10)
        assert await app.client.result("g-joined", queue=queue, timeout=10) == ["1", "2"]
    check_invariants(admin)


async def test_the_end_of_a_task_is_told_wherever_its_queue_lies(
    app: TaskFlow, inspector: Inspector, topology: Topology, admin: Any, start: Start
) -> None:
    """The notice is in the slot of the task's queue, the task that sends the webhook in another."""
    options = WebhookOptions(
        secrets=("a secret of the tests",),
        allow_hosts=("127.0.0.1",),
        allow_private=True,
        sweep_every=timedelta(seconds=0.1),
    )

    app.registry.retries = RetryPolicy(backoff=timedelta(seconds=0.1))

    @app.task("ok")
    async def ok() -> str:
        return "ok"

    @app.task("bad", max_retries=0)
    async def bad() -> None:
        raise ValueError("no luck")

    with receiving() as receiver:
        waiting = [
            await app.client.enqueue("ok", queue=queue, callback_url=receiver.url, process_in=KEPT) for queue in QUEUES
        ]
        await app.client.enqueue_many(
            [
                Task(kind, None, TaskOptions(queue=queue, callback_url=receiver.url, max_retries=0, retention=kept))
                for queue in QUEUES
                for kind, kept in (("ok", timedelta(0)), ("ok", KEPT), ("bad", KEPT))
            ]
        )
        for task in waiting[::2]:
            await inspector.cancel(task.id, task.queue)
        for task in waiting[1::2]:
            await inspector.archive(task.id, task.queue)
        await start(webhooks=options)
        await wait_until(lambda: len({*receiver.bodies}) == 4 * len(QUEUES), 20)

        kinds = Counter(json.loads(body)["type"] for body in {*receiver.bodies})
        assert kinds == {"task.completed": 8, "task.failed": 6, "task.cancelled": 2}
        assert len({json.loads(body)["id"] for body in receiver.bodies}) == 16
        await wait_until(lambda: not any(admin.exists(queue_keys(queue).outbox) for queue in QUEUES))


async def test_queues_are_paused_looked_at_and_resumed(
    app: TaskFlow, inspector: Inspector, admin: Any, start: Start
) -> None:
    go_on = asyncio.Event()

    @app.task("t")
    async def handler() -> None:
        await go_on.wait()

    worker = await start()
    running = [await app.client.enqueue("t", queue=queue) for queue in QUEUES]
    await wait_until(lambda: len(worker._executor.running) == len(running))
    for queue in QUEUES:
        await inspector.pause(queue)
    await asyncio.gather(*(app.client.enqueue("t", queue=queue) for queue in QUEUES))
    later = [await app.client.enqueue("t", queue=queue, process_in=KEPT) for queue in QUEUES]

    infos = await inspector.queue_infos()
    assert [(info.queue, info.active, info.pending, info.scheduled, info.paused) for info in infos] == [
        (queue, 1, 1, 1, True) for queue in QUEUES
    ]
    for queue, info in zip(QUEUES, later, strict=True):
        assert [task.id for task in await inspector.tasks(queue, TaskState.SCHEDULED)] == [info.id]
        await inspector.delete(info.id, queue)

    async def all_seen() -> bool:
        servers = await inspector.servers()
        return [len(server.running) for server in servers] == [len(running)]

    await wait_until(all_seen, 10)
    go_on.set()
    for queue in QUEUES:
        await inspector.resume(queue)

    async def empty() -> bool:
        return not any(info.active + info.pending for info in await inspector.queue_infos())

    await wait_until(empty, 10)
    check_invariants(admin)


async def test_tasks_are_steered_one_by_one_and_all_at_once(
    app: TaskFlow, inspector: Inspector, admin: Any, start: Start
) -> None:
    @app.task("t")
    async def handler(n: int) -> int:
        return n

    for queue in QUEUES:
        tasks = [Task("t", {"n": n}, TaskOptions(queue=queue, task_id=f"{n}", process_in=KEPT)) for n in range(8)]
        await app.client.enqueue_many(tasks)
    for queue in QUEUES:
        assert await inspector.run("0", queue) is TaskState.SCHEDULED
        assert await inspector.archive_many(["1", "2"], queue) == [TaskState.SCHEDULED] * 2
        assert await inspector.cancel_many(["3"], queue) == [TaskState.SCHEDULED]
        edited = await inspector.edit("4", queue, payload={"n": 40}, process_at=datetime.now(UTC))
        assert edited.payload == b'{"n":40}'
        assert await inspector.delete_all(queue, TaskState.ARCHIVED) == 3
        assert await inspector.run_all(queue, TaskState.SCHEDULED) >= 3
        assert await inspector.memory(queue) > 0
    await start()

    async def all_done() -> bool:
        return [day[0].processed for day in [await inspector.history(queue, 1) for queue in QUEUES]] == [5] * len(
            QUEUES
        )

    await wait_until(all_done, 10)
    await app.client.enqueue("t", {"n": 1}, queue="a", process_in=KEPT)
    assert await inspector.remove_queue("a", force=True) == 1
    assert await inspector.queues() == list(QUEUES[1:])
    check_invariants(admin)


async def test_schedules_kept_in_redis_fire_pause_and_go(
    app: TaskFlow, inspector: Inspector, service: TaskService, admin: Any
) -> None:
    """Their keys have no tag in common: on a cluster they lie on several nodes."""
    schedules = service.schedules
    store = ScheduleStore(app.client.broker)
    app.schedules.add(Task("hourly"), "@hourly", id="of the code")
    scheduler = app.scheduler()
    running = asyncio.create_task(scheduler.run())
    await asyncio.wait_for(scheduler.ready.wait(), 10)
    for queue in QUEUES:
        await store.put(ScheduleEntry(id=f"tick {queue}", spec="@every 1s", type="tick", queue=queue))

    async def all_fired() -> bool:
        return all([await store.events(f"tick {queue}") for queue in QUEUES])

    await wait_until(all_fired, 10)
    for queue in QUEUES:
        (event, *_) = await store.events(f"tick {queue}")
        assert (await inspector.task(event.task_id, queue)).state is TaskState.PENDING
        await schedules.pause(f"tick {queue}")
    states = {info.id: (info.origin, info.paused) for info in await schedules.list()}
    assert states == {"of the code": ("code", False)} | {f"tick {queue}": ("redis", True) for queue in QUEUES}
    await schedules.resume("tick a")
    await schedules.run("of the code")
    for queue in QUEUES:
        await schedules.delete(f"tick {queue}")
    assert [info.id for info in await schedules.list()] == ["of the code"]
    scheduler.stop()
    await running
    check_invariants(admin)


async def test_the_http_api_answers(app: TaskFlow, topology: Topology, admin: Any, start: Start) -> None:
    @app.task("double")
    async def double(context: TaskContext, number: int) -> int:
        await context.progress(50, "half")
        return 2 * number

    await start()
    settings = load_settings(environ={}, overrides={"server.http.port": 0})
    server = serve(settings, redis_url=topology.url, handle_signals=False)
    serving = asyncio.create_task(server.serve())
    await wait_until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=10) as http:
        tasks = [{"type": "double", "queue": queue, "payload": {"number": 4}} for queue in QUEUES]
        created = (await http.post("/tasks/batch", json={"tasks": tasks})).json()
        assert created["created"] == len(QUEUES), created
        for result in created["results"]:
            answer = await http.get(f"/tasks/{result['task_id']}/result", params={"wait": "10s"})
            assert (answer.status_code, answer.json()["result"]) == (200, 8)
            entries = (await http.get(f"/tasks/{result['task_id']}/progress/history")).json()
            assert entries["count"] >= 1
        stats = {queue["queue"]: queue["completed"] for queue in (await http.get("/queues/stats")).json()}
        assert stats == dict.fromkeys(QUEUES, 1)
        assert [kind["type"] for kind in (await http.get("/task-types")).json()] == ["double"]
        assert (await http.post("/queues/a/pause")).status_code == httpx.codes.OK
        assert len((await http.get("/servers")).json()) == 1
    server.should_exit = True
    await serving
    check_invariants(admin)


# -- a primary is killed ----------------------------------------------------------------------------------------------


class Producer:
    """Enqueues to one queue as fast as it is answered, and notes what was acknowledged, and the longest silence (s)."""

    def __init__(self, enqueue: Callable[[list[Task]], Awaitable[Sequence[object]]], queue: str) -> None:
        self._enqueue = enqueue
        self._queue = queue
        self.acknowledged: list[str] = []
        self.silence = 0.0
        self.last = time.monotonic()
        self.stopping = False

    async def run(self) -> None:
        while not self.stopping:
            tasks = [Task("note", None, TaskOptions(queue=self._queue)) for _ in range(10)]
            try:
                answers = await self._enqueue(tasks)
            except BrokerUnavailable:
                answers = []
            now = time.monotonic()
            if answers:
                self.acknowledged += [answer.id for answer in answers if isinstance(answer, TaskInfo)]
                self.silence = max(self.silence, now - self.last)
                self.last = now
            await asyncio.sleep(0.01)


async def test_a_primary_is_killed_while_tasks_come_in(
    app: TaskFlow, topology: Topology, start: Start, inspector: Inspector, request: pytest.FixtureRequest
) -> None:
    """It stands last: the set-up has lost a server then. The handler's own count is the truth."""
    runs: Counter[str] = Counter()

    @app.task("note")
    async def note(context: TaskContext) -> None:
        runs[context.id] += 1

    await start()
    blocking = await asyncio.to_thread(SyncClient, topology.url)

    async def enqueue_blocking(tasks: list[Task]) -> Sequence[object]:
        return await asyncio.to_thread(blocking.enqueue_many, tasks)

    producers = [Producer(app.client.enqueue_many, queue) for queue in QUEUES]
    producers += [Producer(enqueue_blocking, queue) for queue in QUEUES]
    at_work = [asyncio.create_task(producer.run()) for producer in producers]
    await wait_until(lambda: all(len(producer.acknowledged) >= 500 for producer in producers), 20)
    await asyncio.to_thread(topology.fail)
    failed_at = time.monotonic()

    def all_answered() -> bool:
        failed = max(producer.silence for producer in producers) > topology.away
        return failed and all(producer.last > failed_at for producer in producers)

    await wait_until(all_answered, BACK_WITHIN)
    for producer in producers:
        producer.stopping = True
    await asyncio.gather(*at_work)
    await asyncio.to_thread(blocking.close)

    async def idle() -> bool:
        return not any(info.pending + info.active for info in await inspector.queue_infos())

    await wait_until(idle, 30)
    acknowledged = [task_id for producer in producers for task_id in producer.acknowledged]
    lost = [task_id for task_id in acknowledged if not runs[task_id]]
    print(  # noqa: T201 - figures to state
        f"{request.node.callspec.id}: away for {max(producer.silence for producer in producers):.1f} s; "
        f"{len(acknowledged)} tasks acknowledged, {len(lost)} of them lost; {sum(runs.values()) - len(runs)} runs more than tasks"
    )
    assert len(lost) <= len(acknowledged) / 100, "asynchronous replication may lose the last writes, not more"
    assert set(await inspector.queues()) == set(QUEUES)
