"""What goes wrong is said in plain words, with what to do about it, and an exit code."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.conftest import Run
from taskflow.cli.target import check_handlers, load_target
from taskflow.errors import ConfigError

MODULES = {
    "one.py": "from taskflow import TaskFlow\napp = TaskFlow()\n@app.task('a:b')\nasync def work() -> None: ...\n",
    "two.py": "from taskflow import TaskFlow\nfirst = TaskFlow()\nsecond = TaskFlow()\n",
    "none.py": "x = 1\n",
    "idle.py": "from taskflow import TaskFlow\napp = TaskFlow()\n",
    "broken.py": "import math\n\nmath.no_such_thing\n",
    "unfinished.py": "def f(:\n",
    "lacking.py": "import no_such_package\n",
}
NOWHERE = {"TASKFLOW_REDIS_URL": "redis://:secret@127.0.0.1:1/0"}


@pytest.fixture
def modules(here: Path) -> Path:
    for name, text in MODULES.items():
        (here / name).write_text(text)
    return here


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def fails(run: Run, *arguments: str, code: int = 1, environ: dict[str, str] | None = None) -> str:
    """Run a command that must fail, and return what it says."""
    done = run(*arguments, environ=environ)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("nowhere:app", ["no module 'nowhere'", "right directory"]),
        ("one:other", ["one:other does not exist", "there is one:app"]),
        ("one:work", ["one:work is no TaskFlow object", "one:app"]),
        ("two", ["several applications", "two:first, two:second"]),
        ("none:app", ["no TaskFlow object in module 'none'", "app = TaskFlow()"]),
        ("idle:app", ["idle:app has no handlers", "@app.task"]),
        ("broken:app", ["'broken' cannot be imported", "AttributeError", "broken.py, line 3"]),
        ("unfinished:app", ["'unfinished' cannot be imported", "SyntaxError", "unfinished.py, line 1"]),
        ("lacking:app", ["'lacking' cannot be imported", "No module named 'no_such_package'"]),
        ("one.py:app", ["no module's name", "one:app"]),
    ],
)
def test_a_worker_without_its_application(
    modules: Path, monkeypatch: pytest.MonkeyPatch, target: str, says: list[str]
) -> None:
    monkeypatch.chdir(modules)
    monkeypatch.syspath_prepend(str(modules))
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
    with pytest.raises(ConfigError) as caught:
        check_handlers(load_target(target), target)
    for text in says:
        assert text in str(caught.value)


def test_the_message_is_all_there_is_to_see(run: Run, modules: Path) -> None:
    assert fails(run, "worker", "one:other") == "error: one:other does not exist; there is one:app\n"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--queues", "critical=lots"], ["server.worker.queues.critical", "got 'lots'"]),
        (["--queues", "a b=1"], ["server.worker.queues", "no braces, spaces"]),
        (["--queues", "low=0"], ["server.worker.queues.low", "greater than or equal to 1"]),
        (["--shutdown-timeout", "8"], ["server.worker.shutdown_timeout", "numbers with units"]),
        (["--concurrency", "0"], ["server.worker.concurrency"]),
        (["--log-level", "loud"], ["logging.level", "'debug'"]),
        (["--redis-url", "mysql://h"], ["redis.url", "redis://"]),
    ],
)
def test_an_option_of_the_worker_that_cannot_be_used(
    run_inside: Run, modules: Path, options: list[str], says: list[str]
) -> None:
    message = fails(run_inside, "worker", "one:app", *options)
    for text in says:
        assert text in message


def test_an_option_that_is_no_number_is_a_usage_error(run_inside: Run, modules: Path) -> None:
    assert "--concurrency" in fails(run_inside, "worker", "one:app", "--concurrency", "many", code=2)


def test_no_redis(run: Run, modules: Path) -> None:
    for arguments in (["queues", "ls"], ["worker", "one:app", "--health-port", "0"]):
        message = fails(run, *arguments, environ=NOWHERE)
        assert "--redis-url" in message
        assert "taskflow dev" in message


def test_worker_processes_that_cannot_start_end_their_supervisor(run: Run, modules: Path) -> None:
    message = fails(run, "worker", "nowhere:app", "--processes", "2")
    assert "no module 'nowhere'" in message
    assert "could not start" in message


def test_an_unknown_setting(run_inside: Run, here: Path) -> None:
    (here / "taskflow.yaml").write_text("server:\n  http:\n    prot: 8080\n")
    assert "did you mean server.http.port?" in fails(run_inside, "config", "show")
    message = fails(run_inside, "config", "show", environ={"TASKFLOW_SERVER_HTTP_PROT": "1"})
    assert "did you mean TASKFLOW_SERVER_HTTP_PORT?" in message


def test_a_settings_file_that_is_not_there(run_inside: Run) -> None:
    assert "missing.yaml: cannot be read" in fails(run_inside, "--config", "missing.yaml", "config", "show")


def test_a_port_that_is_taken(run: Run, modules: Path, taken_port: int) -> None:
    port = str(taken_port)
    assert f"port {port} of 127.0.0.1 is taken" in fails(run, "api", "--port", port)
    assert f"port {port} of 127.0.0.1 is taken" in fails(run, "dev", "--port", port)
    assert "--health-port" in fails(run, "worker", "one:app", "--health-port", port)


def test_an_api_for_the_world_without_keys(run: Run) -> None:
    assert "api.auth.disabled" in fails(run, "api", "--host", "0.0.0.0", "--port", "0")  # noqa: S104 - it refuses


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{nope"], "is not JSON"),
        (["{}", "--process-in", "soon"], "is not a duration"),
        (["--process-at", "tomorrow"], "2030-01-31T09:00:00+01:00"),
        (["--deadline", "2030-01-31T09:00:00"], "time zone"),
        (["--metadata", "nothing"], "NAME=TEXT"),
        (["{}", "--payload-file", "taskflow.yaml"], "not both"),
    ],
)
def test_an_enqueue_that_was_not_understood(run_inside: Run, here: Path, arguments: list[str], says: str) -> None:
    (here / "taskflow.yaml").touch()
    assert says in fails(run_inside, "enqueue", "a:b", *arguments, code=2)
