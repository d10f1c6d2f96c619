"""The API within the test's loop, without a socket (`http`), and behind a real uvicorn (`live`)."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
import uvicorn

from support.api import api_at, http_client, settings_with
from support.contract import Contract
from taskflow.broker.catalog import TaskCatalog, TaskType
from taskflow.client import Client
from taskflow.config import Settings
from taskflow.observability.logs import configure_logging
from taskflow.worker.handler import Handler

Publish = Callable[..., Awaitable[None]]
HttpWith = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
Serving = Callable[..., AbstractAsyncContextManager[tuple[uvicorn.Server, str]]]


async def demo(message: str, count: int = 3) -> str:
    """Say something."""
    return message * count


@asynccontextmanager
async def _http_client(settings: Settings, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an API of its own, which is started and shut down as a server would do it."""
    async with http_client(settings, redis_url) as client:
        await _hold_to_contract(client)
        yield client


_CONTRACTS: list[Contract] = []


async def _hold_to_contract(client: httpx.AsyncClient) -> None:
    """Check each answer from now on; all APIs have the same document, so it is read once."""
    if not _CONTRACTS:
        _CONTRACTS.append(Contract((await client.get("/openapi.json")).json()))
    client.event_hooks["response"].append(_CONTRACTS[0].check)


@pytest.fixture
def http_with(redis_url: str) -> HttpWith:
    """Makes APIs with other settings (`tasks__payload_limit=100`), or with another `url` of Redis, to enter with `async with`."""

    def http_with(url: str = redis_url, **overrides: Any) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        return _http_client(settings_with(**overrides), url)

    return http_with


@pytest.fixture
def serving(redis_url: str) -> Serving:
    """Makes real servers in the loop of the test, to enter with `async with`: the server and its URL."""

    def serving(**overrides: Any) -> AbstractAsyncContextManager[tuple[uvicorn.Server, str]]:
        return api_at(settings_with(server__http__port=0, **overrides), redis_url)

    return serving


@pytest.fixture
async def http(http_with: HttpWith) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API with the default settings."""
    async with http_with() as client:
        yield client


@pytest.fixture
async def live(serving: Serving) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an API behind a real server."""
    async with serving() as (_, url), httpx.AsyncClient(base_url=url, timeout=10) as client:
        await _hold_to_contract(client)
        yield client


@pytest.fixture
def publish(client: Client) -> Publish:
    """Lets the catalog say that a worker serves a type: a name, a function, and fields of `TaskType`."""

    async def publish(task_type: str = "demo", function: Callable[..., Any] = demo, **fields: Any) -> None:
        handler = Handler(function)
        await TaskCatalog(client.broker).publish(
            [TaskType(type=task_type, schema=handler.schema, doc=handler.doc, **fields)]
        )

    return publish


@pytest.fixture
def log_lines(tmp_path: Path) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """`log_lines()`: the lines of JSON logged so far."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with (tmp_path / "log").open("w+") as stream:
        configure_logging("info", "json", stream)
        yield lambda: [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
        structlog.reset_defaults()
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.captureWarnings(capture=False)
