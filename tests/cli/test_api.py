"""`taskflow api --workers N`: several processes behind one port, which come and go without a refused connection."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import urlopen

import pytest

from cli.conftest import Run, Running, Start, descendants, lives
from support.waiting import wait_until_sync


@pytest.fixture
def hears_hangups() -> Iterator[None]:
    """Children inherit what is ignored, and what runs the tests may ignore SIGHUP, as `nohup` does."""
    former = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, former)


@pytest.fixture
def workers(start: Start, redis_url: str, hears_hangups: None) -> tuple[Running, str]:
    """`taskflow api --workers 2`, once it serves, and its URL."""
    running = start(
        "api",
        "--workers",
        "2",
        "--port",
        "0",
        environ={"TASKFLOW_REDIS_URL": redis_url, "TASKFLOW_LOGGING_FORMAT": "json"},
    )
    line = running.wait_for_line("all API processes run", 40)
    port = line.split('"port":')[1].split(",")[0].strip(" }")
    return running, f"http://127.0.0.1:{port}"


@contextmanager
def asked_all_the_time(url: str) -> Iterator[list[str]]:
    """Ask on a connection of its own again and again; what went wrong is in the list at the end."""
    wrong: list[str] = []
    answered = threading.Event()
    enough = threading.Event()

    def ask() -> None:
        while not enough.is_set():
            try:
                with urlopen(f"{url}/live", timeout=30) as answer:  # noqa: S310 - our own server
                    assert answer.status == 200
            except OSError as error:
                wrong.append(repr(error))
            answered.set()

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert answered.wait(10)
    try:
        yield wrong
    finally:
        enough.set()
        for thread in threads:
            thread.join()


def test_a_hangup_replaces_the_processes_and_refuses_no_connection(workers: tuple[Running, str]) -> None:
    running, url = workers
    before = descendants(running.pid)
    assert len(before) == 2

    with asked_all_the_time(url) as wrong:
        running.process.send_signal(signal.SIGHUP)
        running.wait_for_line('"restarted"', 60)

    assert wrong == []
    assert len(descendants(running.pid)) == 2
    assert not any(lives(pid) for pid in before)
    assert running.end(signal.SIGTERM, 20) == 0


def test_a_process_that_dies_is_started_again_and_the_other_serves(workers: tuple[Running, str]) -> None:
    running, url = workers
    victim, other = sorted(descendants(running.pid))

    os.kill(victim, signal.SIGKILL)

    wait_until_sync(lambda: len(set(descendants(running.pid)) - {victim}) == 2, 40)
    assert lives(other)
    with urlopen(f"{url}/live", timeout=30) as answer:  # noqa: S310 - our own server
        assert answer.status == 200
    assert running.end(signal.SIGTERM, 20) == 0


def test_a_public_address_without_keys_is_not_even_listened_on(run: Run) -> None:
    done = run("api", "--host", "0.0.0.0", "--workers", "2", "--port", "0")  # noqa: S104 - it is refused

    assert done.returncode == 1
    assert "taskflow keys new" in done.stderr
