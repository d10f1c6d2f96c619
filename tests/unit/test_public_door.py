"""The public door: what `from taskflow import …` offers, and how soon."""

from __future__ import annotations

import subprocess
import sys

import taskflow


def test_every_public_name_can_be_imported_and_is_listed() -> None:
    for name in taskflow.__all__:
        assert getattr(taskflow, name) is not None
    assert set(taskflow.__all__) == set(taskflow._HOMES)
    assert sorted(taskflow.__all__) == taskflow.__all__
    assert set(taskflow.__all__) <= set(dir(taskflow))


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(taskflow, "Manager")


def test_importing_the_package_imports_no_client_library() -> None:
    """`taskflow --help` must not wait for Redis, protobuf or pydantic."""
    program = "import taskflow, sys; print([m for m in ('redis', 'google.protobuf', 'pydantic', 'asyncio') if m in sys.modules])"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_an_error_knows_its_status_code_and_data() -> None:
    error = taskflow.TaskNotFound("42", "low")

    assert (error.status, error.code, error.details) == (404, "TASK_NOT_FOUND", {"task_id": "42", "queue": "low"})
