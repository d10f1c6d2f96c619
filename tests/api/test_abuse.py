"""A server on a network: whatever is sent to it, it goes on, serves others, and keeps to its bounds.

With `TASKFLOW_LONG=1` in the environment there are 10,000 abuses; `-s` shows the figures:
`TASKFLOW_LONG=1 python -m pytest tests/api/test_abuse.py -s`. `TASKFLOW_SEED` makes others of them.
"""

from __future__ import annotations

import json
import os
import re
import socket
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
import redis

from support import honest
from support.abuse.row import KINDS, abuses
from support.abuse.table import FORGED, MARK
from support.api_process import ApiProcess, api_process
from support.attack import Attack
from support.waiting import wait_until, wait_until_sync

LONG = os.environ.get("TASKFLOW_LONG") == "1"
COUNT = 10_000 if LONG else 400
WARM_UP = 2 * len(KINDS)
"""How many abuses come before what the server takes is measured: it loads and keeps something once."""
SEED = int(os.environ.get("TASKFLOW_SEED", "1"))
READ_TIMEOUT = 1.0
PATIENCE = READ_TIMEOUT + 4.0
"""How long (s) a connection may take to be answered or ended, on a machine with other work."""
GROWTH = 32.0
"""How much more memory (MB) the server may take at the end."""
_CONTROL = re.compile(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]")


@contextmanager
def honest_client(port: int) -> Iterator[dict[str, Any]]:
    """Let an honest client work meanwhile, in a process of its own; afterwards, what it has seen."""
    seen: dict[str, Any] = {}
    command = [sys.executable, honest.__file__, str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield seen
        output, _ = process.communicate()
    seen |= json.loads(output)


@pytest.mark.slow
@pytest.mark.timeout(900 if LONG else 120)
async def test_abuses_harm_nobody(redis_url: str, raw: redis.Redis, tmp_path: Path, record_property: Any) -> None:
    timeout = f"{READ_TIMEOUT:g}s"
    with api_process(redis_url, tmp_path, SERVER_HTTP_READ_TIMEOUT=timeout, API_ALLOW_TYPES='["demo"]') as api:
        await Attack(api.port, patience=PATIENCE).send_all(abuses(WARM_UP, SEED + 1))
        before, memory = await _settled(api, raw), api.memory
        attack = Attack(api.port, patience=PATIENCE)
        with honest_client(api.port) as others:
            await attack.send_all(abuses(COUNT, SEED))
        await wait_until(lambda: _descriptors(api, raw) <= before, 15)
        grown = api.memory - memory
        log = api.log.read_bytes()

    took = sorted(others["took"])
    figures = {
        "abuses": f"{attack.sent} of {len(KINDS)} kinds, seed {SEED}; {attack.silent} not answered but ended",
        "statuses": dict(sorted(attack.statuses.items())),
        "honest client": f"{len(took)} requests, median {statistics.median(took) * 1000:.1f} ms, "
        f"p99 {took[int(len(took) * 0.99)] * 1000:.1f} ms, longest {took[-1] * 1000:.1f} ms",
        "memory": f"{memory:.1f} MB, then {grown:+.1f} MB",
        "descriptors": before,
    }
    for name, value in figures.items():
        record_property(name, str(value))
        print(f"{name}: {value}")  # noqa: T201 - `pytest -s` shows what was measured
    assert not attack.wrong, "\n".join([str(len(attack.wrong)), *attack.wrong[:20]])
    assert not others["wrong"], others["wrong"][:20]
    assert took[int(len(took) * 0.99)] < 1
    assert grown < GROWTH
    _check_log(log)


def test_a_server_without_descriptors_left_serves_again_once_they_are_free(redis_url: str, tmp_path: Path) -> None:
    """Connections without a request are closed after the read timeout; until then new ones are turned away, and nothing is logged."""
    with api_process(redis_url, tmp_path, descriptors=100, SERVER_HTTP_READ_TIMEOUT="1s") as api:
        before = api.log.read_bytes()
        with ExitStack() as stack:
            for _ in range(200):
                stack.enter_context(socket.create_connection(("127.0.0.1", api.port)))
            wait_until_sync(lambda: api.descriptors >= 99)
            wait_until_sync(lambda: _serves(api), 15)
        assert api.log.read_bytes() == before


def _serves(api: ApiProcess) -> bool:
    try:
        return api.ask("/health")[0] == 200
    except (OSError, HTTPException):
        return False


def test_the_server_allows_itself_as_many_descriptors_as_it_may_have(redis_url: str, tmp_path: Path) -> None:
    with api_process(redis_url, tmp_path, descriptors=2000) as api:
        limits = Path(f"/proc/{api.pid}/limits").read_text()

    assert re.search(r"Max open files +2000 +2000", limits)


def _descriptors(api: ApiProcess, raw: redis.Redis) -> int:
    """How many descriptors are open but for the connections to Redis, of which there are as many as were needed at once."""
    clients: Any = raw.client_list()
    connections = sum(client["name"].startswith("taskflow") is True for client in clients)
    return api.descriptors - connections


async def _settled(api: ApiProcess, raw: redis.Redis) -> int:
    """How many are open once all connections are closed."""
    seen: Counter[int] = Counter()

    def steady() -> bool:
        seen[_descriptors(api, raw)] += 1
        return seen[min(seen)] >= 20

    await wait_until(steady, 15)
    return min(seen)


def _check_log(log: bytes) -> None:
    """Nobody can write lines of the log, or what a terminal obeys; and no request was carried out that was hidden in another."""
    for line in log.splitlines():
        assert not _CONTROL.search(line), line[:500]
        entry = json.loads(line)
        assert set(entry) >= {"timestamp", "level", "event"}, entry
        assert not entry["event"].startswith(FORGED), entry
        assert not str(entry.get("path", "")).startswith(f"/{MARK}"), entry
        assert entry["level"] not in {"error", "critical"}, entry
        assert "exception" not in entry, entry
