"""Shared fixtures: a private server, brokers and clients on it, workers in the test's own loop, and a leak checker.

Everything talks to a real server, one a test process, empty at the start of each test.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import redis

from support import servers, waiting
from support.clock import MovableClock
from support.invariants import check_invariants
from support.servers import Servers
from support.store import Store
from taskflow import Broker, Client, Inspector, Registry, TaskFlow, Worker, WorkerOptions
from taskflow.broker.embedded import EmbeddedServer

if TYPE_CHECKING:
    from playwright.async_api import Browser

WaitUntil = Callable[..., Awaitable[None]]


class StartWorker(Protocol):
    """Starts a worker in the test's loop and returns it once it takes tasks; it is stopped at the end of the test."""

    async def __call__(self, app: TaskFlow | Registry, url: str | None = None, **options: Any) -> Worker: ...


# -- the server -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def all_servers() -> Iterator[Servers]:
    """The servers of this test process."""
    running = Servers()
    yield running
    running.stop()


@pytest.fixture
def server(all_servers: Servers) -> EmbeddedServer:
    """The server that the test runs on; a module may override it."""
    return all_servers.default()


@pytest.fixture
def redis_url(server: EmbeddedServer) -> Iterator[str]:
    """URL of the private server, empty now; at the end no connection of TaskFlow's may be left on it."""
    with redis.Redis.from_url(server.url) as admin:
        admin.flushall()
        yield server.url
        waiting.wait_until_sync(lambda: not _connections(admin), 10)


def _connections(admin: redis.Redis) -> list[str]:
    clients: Any = admin.client_list()
    return [client["name"] for client in clients if client["name"].startswith("taskflow")]


@pytest.fixture
def raw(redis_url: str) -> Iterator[redis.Redis]:
    """A plain Redis client, to look at keys without TaskFlow."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def store(raw: redis.Redis) -> Store:
    """The queue `default`, key by key."""
    return Store(raw)


@pytest.fixture
def fixed_locks() -> set[str]:
    """Keys of the unique locks that the test lets last for their time, for `invariants_hold` to know."""
    return set()


@pytest.fixture
def invariants_hold(raw: redis.Redis, fixed_locks: set[str]) -> Iterator[None]:
    """Checks at the end of the test that every queue is consistent."""
    yield
    check_invariants(raw, fixed_locks=fixed_locks)


# -- TaskFlow on it ---------------------------------------------------------------------------------------------------


@pytest.fixture
def clock() -> MovableClock:
    """The broker's clock: `clock.advance(seconds)` lets time pass."""
    return MovableClock()


@pytest.fixture
async def broker(redis_url: str, clock: MovableClock) -> AsyncIterator[Broker]:
    """A broker whose clock the test moves."""
    broker = Broker(redis_url, clock=clock)
    await broker.open()
    yield broker
    await broker.close()


@pytest.fixture
def inspector(broker: Broker) -> Inspector:
    """Looks into the broker's queues."""
    return Inspector(broker)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    """A client with a broker, and so a clock, of its own."""
    async with Client(redis_url) as client:
        yield client


@pytest.fixture
async def app(redis_url: str) -> AsyncIterator[TaskFlow]:
    """An app without handlers."""
    app = TaskFlow(redis_url)
    yield app
    await app.close()


@pytest.fixture
async def start_worker(redis_url: str) -> AsyncIterator[StartWorker]:
    """Starts workers with short intervals; see `StartWorker`. Options are `WorkerOptions`'s, spans in seconds too."""
    running: list[tuple[Worker, asyncio.Task[None]]] = []

    async def start(app: TaskFlow | Registry, url: str | None = None, **options: Any) -> Worker:
        chosen = {"heartbeat": 0.25, "recover_every": 0.1, "concurrency": 10, "log_tasks": False} | options
        for name in (
            "shutdown_timeout",
            "cleanup_timeout",
            "lease",
            "heartbeat",
            "grace",
            "recover_every",
            "group_grace",
        ):
            if isinstance(chosen.get(name), int | float):
                chosen[name] = timedelta(seconds=chosen[name])
        registry = app if isinstance(app, Registry) else app.registry
        worker = Worker(registry, url or redis_url, WorkerOptions(**chosen))
        task = asyncio.create_task(worker.run(), name="worker of the test")
        running.append((worker, task))
        ready = asyncio.create_task(worker.ready.wait())
        await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if task.done():
            running.pop()
            task.result()
        return worker

    yield start
    for worker, _ in running:
        worker.stop()
        worker.stop()
    async with asyncio.timeout(20):
        await asyncio.gather(*(task for _, task in running))


# -- pages ------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """A real browser; `support.browser.window` opens a window in it."""
    from support.browser import chromium

    async with chromium() as running:
        yield running


# -- helpers ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def wait_until() -> WaitUntil:
    """Give the function that waits until a condition, plain or `async`, is true; it takes a `timeout` in seconds."""
    return waiting.wait_until


@pytest.fixture
def require() -> Callable[[str], str]:
    """A function that finds a program of the system: it skips where that is missing, and fails if TASKFLOW_TEST_REQUIRE=1."""
    return servers.require


# -- leaks ------------------------------------------------------------------------------------------------------------


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let every coroutine test be followed by a look for leftover tasks; first in, so last out."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.fixturenames.insert(0, "no_leftover_tasks")


@pytest.fixture
async def no_leftover_tasks() -> AsyncIterator[None]:
    """No asyncio task outlives a test."""
    yield
    own = asyncio.current_task()
    await waiting.wait_until(lambda: asyncio.all_tasks() == {own}, 10)


@pytest.fixture(autouse=True)
def no_leftover_threads() -> Iterator[None]:
    """No thread of TaskFlow's outlives a test."""
    yield
    waiting.wait_until_sync(lambda: not _threads(), 10)


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("taskflow")]
