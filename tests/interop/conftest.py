"""Fixtures of the tests with Go: the programs, built once a run, and what drives them; and the table of what they show."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from interop import features, two_queues
from interop.asynq_cli import AsynqCli
from interop.asynqmon import Asynqmon, serving
from interop.features import MARK, Direction
from interop.go_peer import Console, GoPeer
from interop.go_programs import BUILD_SECONDS, GoPrograms
from interop.go_side import GoSide
from interop.python_side import PythonSide
from interop.runners import GoWorkers, PythonWorkers, Workers
from interop.scene import Scene, a_system_at_work
from interop.sides import Side
from interop.stage import Stage
from support.invariants import violations
from support.store import Store
from taskflow import Client, Inspector, ScheduleStore, TaskFlow
from taskflow.worker import fetcher

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from conftest import StartWorker
    from support.browser import Window


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give each test in here time for a build besides its own: any may be the first that needs a program."""
    own = float(config.getini("timeout"))
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(own + BUILD_SECONDS))


@pytest.fixture(scope="session")
def go_programs(tmp_path_factory: pytest.TempPathFactory) -> GoPrograms:
    """The programs in Go. Without Go, or without the modules they need, a test that asks for one is skipped."""
    return GoPrograms(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def peer_program(go_programs: GoPrograms) -> Path:
    """The peer's program."""
    return go_programs.build("peer")


@pytest.fixture(scope="session")
def consoles() -> Iterator[dict[str, Console]]:
    """Asynq's inspector and client on each server that was asked for."""
    running: dict[str, Console] = {}
    yield running
    for console in running.values():
        console.close()


@pytest.fixture
async def go(peer_program: Path, redis_url: str, consoles: dict[str, Console]) -> AsyncIterator[GoPeer]:
    """The Go peer on the test's server."""
    if redis_url not in consoles:
        consoles[redis_url] = Console(peer_program, redis_url)
    peer = GoPeer(peer_program, redis_url, consoles[redis_url])
    await peer.ask("new_client")
    yield peer
    await peer.close()


@pytest.fixture
def asynq(go_programs: GoPrograms, redis_url: str, tmp_path: Path) -> AsynqCli:
    """Asynq's command line tool on the test's server."""
    return AsynqCli(go_programs.build("tools/asynq", "github.com/hibiken/asynq/tools/asynq"), redis_url, tmp_path)


@pytest.fixture
async def asynqmon(go_programs: GoPrograms, redis_url: str) -> AsyncIterator[Asynqmon]:
    """Asynq's web interface on the test's server."""
    async with serving(go_programs.build("tools/asynqmon"), redis_url) as running:
        yield running


@pytest.fixture
async def web(asynqmon: Asynqmon, browser: Browser) -> AsyncIterator[Window]:
    """A browser's window on it; nothing may go wrong in there."""
    from support.browser import window

    async with window(browser, asynqmon.url) as opened:
        yield opened
        assert not opened.complaints
        assert all("fonts.googleapis.com" in url for url in opened.outside)


@pytest.fixture
async def scene(app: TaskFlow, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """A TaskFlow system at work on the test's server, for tools to look at."""
    monkeypatch.setattr(fetcher, "ARMED_SECONDS", 0.02)  # a quiet queue keeps one of the two slots that long
    async with a_system_at_work(app, start_worker) as running:
        yield running


@pytest.fixture
async def filled(go: GoPeer, client: Client, inspector: Inspector, app: TaskFlow, start_worker: StartWorker) -> None:
    """The queues `two_queues.QUEUES` with two tasks in each state, one by each client."""
    await two_queues.fill(go, client, inspector, app, start_worker)


@pytest.fixture
def consistent(raw: redis.Redis) -> Iterator[None]:
    """Checks at the end of the test that every queue is consistent, but for three things that asynq's tools leave as they were.

    These are when a task became pending, the lock of a task that is archived, and our exact due times, which count only
    beside the same second in asynq's set.
    """
    yield
    reader: Any = raw
    queues = [name.decode() for name in reader.smembers("asynq:queues")]
    found = [f"{queue}: {violation}" for queue in queues for violation in violations(raw, queue)]
    left = ("and pending_since is", "the lock", "has the exact due time")
    assert not [violation for violation in found if not any(text in violation for text in left)]


@pytest.fixture
def stage_for(
    go: GoPeer, client: Client, inspector: Inspector, start_worker: StartWorker, store: Store
) -> Callable[[Direction], Stage]:
    """A function that sets the stage for a direction."""
    sides: dict[str, Side] = {"go": GoSide(go), "python": PythonSide(client, inspector, ScheduleStore(client.broker))}
    workers: dict[str, Workers] = {"go": GoWorkers(go), "python": PythonWorkers(start_worker)}
    return lambda direction: Stage(direction, sides, workers, store)


@pytest.fixture
def both(stage_for: Callable[[Direction], Stage]) -> Stage:
    """What both inspectors say, where it does not matter who acts."""
    return stage_for(Direction.PYTHON_GO)


# -- the table in docs/wire-format.md ---------------------------------------------------------------------------------

_WRITE = "--write-table"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `make interop ARGS=--write-table` write the table."""
    parser.addoption(_WRITE, action="store_true", help="write the table of docs/wire-format.md from this run's results")


def pytest_configure(config: pytest.Config) -> None:
    """Name the mark of the table's rows; gather results if they are wanted."""
    config.addinivalue_line(
        "markers", f"{MARK}(key, direction): the row and the column of the table in docs/wire-format.md"
    )
    if config.getoption(_WRITE, default=False) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Results())


def pytest_itemcollected(item: pytest.Item) -> None:
    """Send a test's places in the table along with its result, over the border of a process too."""
    for mark in item.iter_markers(MARK):
        (area, name), direction = mark.args
        item.user_properties.append((MARK, [area, name, str(direction)]))


class _Results:
    """Whether all tests of a place in the table have passed."""

    def __init__(self) -> None:
        self._outcomes: dict[tuple[features.Key, Direction], bool] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.outcome == "passed":
            return
        for name, value in report.user_properties:
            if name == MARK and isinstance(value, list):
                area, feature, direction = value
                place = ((area, feature), Direction(direction))
                self._outcomes[place] = report.outcome == "passed" and self._outcomes.get(place, True)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        features.load()
        missing = features.places() - self._outcomes.keys()
        if missing:
            terminalreporter.write_line(
                f"{_WRITE}: the table needs a whole run; {len(missing)} places were not tested", red=True
            )
            return
        features.write(self._outcomes)
        terminalreporter.write_line(f"{_WRITE}: written to {features.PAGE}")
