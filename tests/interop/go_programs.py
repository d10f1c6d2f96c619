"""The programs in Go that tests run, each built once a test run, by whichever test process comes first."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

from support import servers

_HERE = Path(__file__).parent
BUILD_SECONDS = 300
"""How long (s) a build may take: the first on a machine compiles Go's own library too."""


class GoPrograms:
    """Builds programs into the folder of the test run.

    Args:
        folder: A temporary folder of this test process; those of one run have the same parent.

    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder

    def build(self, module: str, package: str = ".") -> Path:
        """Build a package of a module, a folder beside this file whose `go.sum` pins all it needs; return the program.

        Without Go, or without the modules it needs, the test is skipped with the reason.
        """
        go = servers.require("go")
        name = module.replace("/", "-")
        program = self._folder / name
        with (self._folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not program.exists():
                _build(go, _HERE / module, package, program)
        return program


def _build(go: str, source: Path, package: str, program: Path) -> None:
    if problem := _run(source, go, "mod", "download"):
        servers.skip(f"the Go modules of {source.name} cannot be downloaded: {problem}")
    if problem := _run(source, go, "build", "-o", str(program), package):
        pytest.fail(f"{source.name} does not build: {problem}")


def _run(folder: Path, *command: str) -> str:
    """Run a command in a folder; return why it failed, '' if it did not."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    return "" if done.returncode == 0 else done.stderr.strip()
