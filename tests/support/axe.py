"""axe-core: looks for what keeps people from using a page. It is a program in JavaScript, which `.ci/run` fetches by npm.

It is looked for as `axe.min.js` in `TASKFLOW_TEST_AXE`, or in `.cache/axe-core` of the working copy; by hand:

    npm pack axe-core && tar -xzf axe-core-*.tgz && mkdir -p .cache/axe-core && cp package/axe.min.js .cache/axe-core/
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

from playwright.async_api import Page

from support import servers

_HERE = Path(__file__).parents[2] / ".cache" / "axe-core"
_GRAVE = {"serious", "critical"}
_RUN = """() => axe.run(document, {resultTypes: ["violations"]}).then(found => found.violations.map(rule => ({
    id: rule.id, impact: rule.impact, help: rule.help,
    nodes: rule.nodes.slice(0, 5).map(node => node.html.slice(0, 200) + " :: " + (node.any[0]?.message ?? "")),
})))"""


@cache
def script() -> str:
    """Return axe-core; where it is missing, skip the test, or fail it if everything must be there."""
    path = Path(os.environ.get("TASKFLOW_TEST_AXE") or _HERE) / "axe.min.js"
    if not path.exists():
        servers.skip("axe-core is not there; .ci/run fetches it by npm")
    return path.read_text(encoding="utf-8")


async def findings(page: Page) -> list[dict[str, Any]]:
    """Return what is serious or critical on the page as it is shown now."""
    await page.evaluate(script())
    found: list[dict[str, Any]] = await page.evaluate(_RUN)
    return [each for each in found if each["impact"] in _GRAVE]
