"""The API process of a benchmark: `taskflow api` as people run it, bare or with all there is turned on."""

from __future__ import annotations

import http.client
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct
from pydantic import SecretStr

from bench import processes
from taskflow.api.keys import append_key, digest_of, new_key
from taskflow.cli.ports import free_port
from taskflow.config.keys import KeyRecord

HOST = "127.0.0.1"
ROOT = "/queue"
"""The path that the proxy takes away, where there is one."""
_START_SECONDS = 20.0
_KEYS = 20
"""How many keys are in the key file."""


class Api(Struct, frozen=True):
    """A running API.

    Attributes:
        port: Its port.
        pid: Its process.
        headers: What each request needs.

    """

    port: int
    pid: int
    headers: dict[str, str] = {}


@contextmanager
def bare(url: str, settings: Mapping[str, str] | None = None) -> Iterator[Api]:
    """Run the API in a folder without settings, but for those given as in the environment."""
    with tempfile.TemporaryDirectory() as folder:
        yield from _run(url, Path(folder), settings or {}, {})


@contextmanager
def guarded(url: str) -> Iterator[Api]:
    """Run the API with all that stands before it turned on.

    Keys with scopes from a key file, a rate limit (that nobody reaches), CORS, a trusted proxy that names the client, a path that it
    takes away; request log, audit log, metrics and bounds are on anyway.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keys = [new_key() for _ in range(_KEYS)]
        for number, key in enumerate(keys):
            record = KeyRecord(name=f"key-{number}", digest=SecretStr(digest_of(key)), scopes=("read", "write"))
            append_key(folder / "keys.yaml", record)
        settings = {
            "API_AUTH_KEY_FILE": str(folder / "keys.yaml"),
            "API_RATE_LIMIT_RATE": "1000000/s",
            "API_CORS_ALLOW_ORIGINS": '["https://app.example.org"]',
            "SERVER_HTTP_TRUSTED_PROXIES": f'["{HOST}"]',
            "SERVER_HTTP_ROOT_PATH": ROOT,
        }
        headers = {
            "Authorization": f"Bearer {keys[-1]}",
            "Origin": "https://app.example.org",
            "X-Forwarded-For": "203.0.113.7",
            "X-Forwarded-Proto": "https",
            "X-Request-ID": "bench-1",
        }
        yield from _run(url, folder, settings, headers)


def _run(url: str, folder: Path, settings: Mapping[str, str], headers: dict[str, str]) -> Iterator[Api]:
    port = free_port(HOST)
    command = [sys.executable, "-m", "taskflow", "api", "--redis-url", url, "--host", HOST, "--port", str(port)]
    environment = processes.environment() | {f"TASKFLOW_{name}": value for name, value in settings.items()}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        _wait_until(lambda: process.poll() is not None or _ready(port))
        if process.poll() is not None:
            raise processes.ChildFailed(f"the API ended: {(folder / 'log').read_text()[-2000:]}")
        yield Api(port, process.pid, headers)
    finally:
        process.terminate()
        process.wait(_START_SECONDS)


def _wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + _START_SECONDS
    while not condition():
        if time.monotonic() > until:
            raise processes.ChildFailed(f"the API was not ready within {_START_SECONDS:g} s")
        time.sleep(0.05)


def _ready(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()
