"""The documentation keeps its word: the Python of each page is one program (or test file) that runs, its links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
_PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
_ASYNCIO = [
    "-p",
    "pytest_asyncio.plugin",
    "-o",
    "asyncio_mode=auto",
    "-o",
    "asyncio_default_fixture_loop_scope=function",
]
_PYTEST = ["-m", "pytest", "-p", "no:cacheprovider", "-p", "taskflow.pytest_plugin", *_ASYNCIO]
_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def _program(page: Path) -> str:
    return "\n".join(_PYTHON.findall(page.read_text()))


@pytest.mark.parametrize("page", [page for page in PAGES if _program(page)], ids=lambda page: page.name)
def test_the_python_of_a_page_runs(page: Path, redis_url: str, tmp_path: Path) -> None:
    program = tmp_path / "page.py"
    program.write_text(text := _program(page))
    runner = _PYTEST if "def test_" in text else []

    done = subprocess.run(
        [sys.executable, "-W", "error", *runner, program],
        env=os.environ | {"TASKFLOW_REDIS_URL": redis_url, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    missing = [link for link in _LINK.findall(page.read_text()) if not (page.parent / link).exists()]

    assert not missing
