"""The cases of the conformance suite, a module an area."""

from __future__ import annotations

from importlib import import_module

import pytest

MODULES = ("enqueue", "running", "inspecting", "acting", "bulk", "queues")
"""In the order in which the table in the docs has them."""


def load() -> None:
    """Let the modules name their cases."""
    for name in MODULES:
        full = f"{__name__}.{name}"
        pytest.register_assert_rewrite(full)
        import_module(full)
