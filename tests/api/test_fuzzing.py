"""The API under schemathesis: requests made from the OpenAPI document, good and bad, alone and in sequences.

All its checks hold: no server error, no answer that the document does not know, none that does not fit its schema, nothing
accepted that the document rules out nor refused that it allows, no way past the keys.

`TASKFLOW_LONG=1` sends more than 10,000 requests, with each kind of key; otherwise some hundreds with two of them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path
from typing import Annotated, Any

import pytest
from msgspec import Meta

from support.api import api_at, settings_with
from support.schemathesis_hooks import TYPES
from taskflow import Client, SkipRetry, TaskContext, TaskFlow
from taskflow.api.keys import digest_of

Number = Annotated[int, Meta(ge=0, le=100)]
_LOG = logging.getLogger(__name__)
LONG = os.environ.get("TASKFLOW_LONG") == "1"
_TESTS = Path(__file__).parent.parent
_SCOPES: dict[str, list[str]] = {
    "read": ["read"],
    "write": ["write"],
    "admin": ["admin"],
    "limited": ["admin"],
}
_EXAMPLES = (
    {"open": 55, "no key": 5, "read": 35, "write": 35, "admin": 60, "limited": 45}
    if LONG
    else {"open": 3, "limited": 3}
)
"""How many requests are made for each operation, by the key with which they are."""
_PHASES = (
    [
        ("--phases", "examples,coverage,fuzzing", "--generation-deterministic"),
        ("--phases", "stateful", "--seed", "1", "--max-time", "40"),
    ]
    if LONG
    else [("--phases", "fuzzing,stateful", "--generation-deterministic")]
)
"""What is done: alone, then in sequences along the links of the document, for so many seconds."""
_LEAST = 1_700
"""How many requests are made at least, with each of the six kinds of key: more than 10,000 together."""
_CONFIG = """
request-timeout = 10
request-retries = 2
max-stream-events = 1
[[operations]]
include-operation-id = ["followProgress", "followManyProgress", "followQueues"]
request-timeout = 1
[cache]
enabled = false
[warnings]
enabled = false
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", 401, 403, 404, 409, 412]
{auth}
"""
_AUTH = """
[auth.openapi.key]
api_key = "{key}"
"""


@pytest.fixture
async def workers(app: TaskFlow, client: Client, start_worker: Any) -> None:
    """A worker, and some of what is asked for."""

    @app.task(TYPES[0])
    async def quick(text: str = "", number: Number = 0) -> str:
        return text * number

    @app.task(TYPES[1], max_retries=1)
    async def failing(text: str = "", number: Number = 0) -> None:
        raise SkipRetry(text) if number % 2 else ValueError(text)

    @app.task(TYPES[2])
    async def telling(ctx: TaskContext, text: str = "", number: Number = 0) -> None:
        await ctx.progress(number, "stage", text, metadata={"number": number})
        if number % 2:
            await asyncio.sleep(1)

    await start_worker(app, queues={"default": 1, "low": 1})
    for task_id in ("one", "two"):
        await client.enqueue(TYPES[2], {"text": "one", "number": 4}, task_id=task_id)


@pytest.mark.timeout(1800 if LONG else 120)
@pytest.mark.parametrize("key", _EXAMPLES)
async def test_the_api_is_as_its_document_says(key: str, redis_url: str, workers: None, tmp_path: Path) -> None:
    records = [
        {"name": name, "digest": digest_of(name), "scopes": scopes} | ({"queues": ["d*"]} if name == "limited" else {})
        for name, scopes in _SCOPES.items()
    ]
    overrides: dict[str, Any] = {} if key == "open" else {"api__auth__keys": records}
    settings = settings_with(server__http__port=0, api__rate_limit__failures="", **overrides)
    config = tmp_path / "schemathesis.toml"
    config.write_text(_CONFIG.format(auth=_AUTH.format(key=key) if key in _SCOPES else ""))
    async with api_at(settings, redis_url) as (_, url):
        cases = [
            await _requests(config, f"{url}/openapi.json", "--max-examples", str(_EXAMPLES[key]), *phases)
            for phases in _PHASES
        ]

    _LOG.info("with the key %r: %s requests", key, cases)
    assert sum(cases) > (_LEAST if LONG else 100)


async def _requests(config: Path, *arguments: str) -> int:
    """Let schemathesis make requests; return how many it has made. None may find anything."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", *arguments),
        *("--checks", "all", "--continue-on-failure", "--no-color", "--suppress-health-check", "all"),
        stdout=PIPE,
        stderr=STDOUT,
        cwd=config.parent,
        env=os.environ | {"PYTHONPATH": str(_TESTS), "SCHEMATHESIS_HOOKS": "support.schemathesis_hooks"},
    )
    out, _ = await process.communicate()
    text = out.decode()
    made = re.search(r"(\d+) generated", text)
    assert process.returncode == 0, text[-20_000:]
    assert made is not None, text[-2_000:]
    return int(made[1])
