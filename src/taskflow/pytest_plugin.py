"""The pytest plugin: fixtures with a private server, for the tests of programs that use TaskFlow.

pytest loads it by itself (entry point `pytest11`), in every run, so it imports nothing but pytest until a fixture is used.
The fixtures are no coroutines: they work without a plugin for coroutine tests, and with any.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from taskflow.app import TaskFlow
    from taskflow.broker.embedded import EmbeddedServer


@pytest.fixture(scope="session")
def taskflow_server() -> Iterator[EmbeddedServer]:
    """A private Valkey or Redis server, one for each process of a test run; the tests that need it are skipped if there is none."""
    from taskflow.broker.embedded import INSTALL_HINT, EmbeddedServer, find_server  # noqa: PLC0415 - see above

    if find_server() is None:
        pytest.skip(INSTALL_HINT)
    with EmbeddedServer() as server:
        yield server


@pytest.fixture
def taskflow_redis_url(taskflow_server: EmbeddedServer) -> str:
    """URL of the private server, which is empty at the start of the test."""
    from taskflow.broker import connection, scripts  # noqa: PLC0415 - see above

    client = connection.connect_sync(taskflow_server.url)
    try:
        scripts.execute_sync(client, [("FLUSHALL",)])
    finally:
        client.close()
    return taskflow_server.url


@pytest.fixture
def taskflow_connect(
    taskflow_redis_url: str, request: pytest.FixtureRequest
) -> Iterator[Callable[[TaskFlow], TaskFlow]]:
    """Give a function that lets an app use the private server until the end of the test; it returns the app.

    At the end the app's clients are closed, and it has its own server again.
    """
    apps: list[TaskFlow] = []
    own_urls: list[str | None] = []

    def connect(app: TaskFlow) -> TaskFlow:
        if app not in apps:
            apps.append(app)
            own_urls.append(app._redis_url)  # noqa: SLF001 - None stands for the settings, which need not be read
            _forget_clients(app)
            app.redis_url = taskflow_redis_url
        return app

    with _closing_in_its_loop(request.node, apps):
        yield connect
    for app, own_url in zip(apps, own_urls, strict=True):
        _forget_clients(app)
        app._redis_url = own_url  # noqa: SLF001 - as above


def _forget_clients(app: TaskFlow) -> None:
    """Let go of the clients; an asyncio client that is still there belongs to a loop that is not ours to close it in."""
    parts = vars(app)
    parts.pop("client", None)
    if "sync_client" in parts:
        parts.pop("sync_client").close()


@contextmanager
def _closing_in_its_loop(test: pytest.Item, apps: Sequence[TaskFlow]) -> Iterator[None]:
    """Let a coroutine test be followed by the end of the apps' connections, which only its own event loop can close."""
    function: Any = getattr(test, "obj", None)
    if not inspect.iscoroutinefunction(function):
        yield
        return

    @functools.wraps(function)
    async def closing(*args: Any, **kwargs: Any) -> None:
        try:
            await function(*args, **kwargs)
        finally:
            for app in apps:
                await app.close()

    test.obj = closing  # type: ignore[attr-defined]  # it is a pytest.Function
    try:
        yield
    finally:
        test.obj = function  # type: ignore[attr-defined]  # as above
