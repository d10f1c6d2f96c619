"""The table in docs/wire-format.md is what the tests of this folder show, no more and no less."""

from __future__ import annotations

import pytest

from interop import features


def test_the_documented_table_has_each_feature_as_a_passing_run_shows_it(pytestconfig: pytest.Config) -> None:
    if pytestconfig.getoption("--write-table", default=False):
        pytest.skip("the table is about to be written")
    features.load()

    documented, expected = features.documented().splitlines(), features.table().splitlines()

    assert sorted(documented) == sorted(expected), "run `make interop ARGS=--write-table`"
