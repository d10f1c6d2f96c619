"""A client that was written for the TaskFlow service in Go works with this API unchanged. The client is a program in Go."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from interop.go_programs import GoPrograms
from support.api import api_at, settings_with
from taskflow.api import events
from taskflow.broker.embedded import EmbeddedServer
from taskflow.worker.handlers import demo

pytestmark = pytest.mark.go


@pytest.fixture
def client_program(go_programs: GoPrograms) -> Path:
    """The client."""
    return go_programs.build("service_client")


@pytest.fixture
async def url(redis_url: str, start_worker: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """Where an API is, with a worker of the demo handler behind it; its streams beat fast."""
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.05)
    await start_worker(demo.app, queues={"default": 1})
    async with api_at(settings_with(server__http__port=0), redis_url) as (_, url):
        yield url


async def _checks(program: Path, verb: str, url: str, redis_url: str) -> dict[str, str]:
    """What the client says of each check: "" if it holds."""
    process = await asyncio.create_subprocess_exec(
        program, verb, "--url", url, "--redis", redis_url, stdout=PIPE, stderr=PIPE
    )
    out, complaints = await process.communicate()
    assert not complaints, complaints.decode()
    reports = [json.loads(line) for line in out.splitlines()]
    return {report["check"]: report.get("error", "") for report in reports}


async def test_all_that_a_client_of_the_service_in_go_relies_on_holds(
    client_program: Path, url: str, redis_url: str
) -> None:
    checks = await _checks(client_program, "all", url, redis_url)

    assert {check: error for check, error in checks.items() if error} == {}
    assert len(checks) > 60


async def test_an_outage_looks_to_it_as_it_did(client_program: Path) -> None:
    server = EmbeddedServer()
    server.start()
    async with api_at(settings_with(server__http__port=0), server.url) as (_, url):
        server.stop()
        checks = await _checks(client_program, "outage", url, server.url)

    assert {check: error for check, error in checks.items() if error} == {}
    assert len(checks) == 3
