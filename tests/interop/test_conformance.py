"""The conformance suite: each feature of asynq's, whoever makes the tasks and whoever acts on them.

After each step both inspectors are asked, and must say the same, field by field. The cases are in `conformance/`.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from interop import conformance, features
from interop.features import MARK, Case, Direction
from interop.stage import Stage

pytestmark = pytest.mark.go
conformance.load()


def _parameters() -> list[object]:
    mark = getattr(pytest.mark, MARK)
    return [pytest.param(case, id=case.id, marks=mark(case.key, case.direction)) for case in features.CASES.values()]


@pytest.mark.parametrize("case", _parameters())
async def test_both_sides_agree(case: Case, stage_for: Callable[[Direction], Stage]) -> None:
    await case.run(stage_for(case.direction))
